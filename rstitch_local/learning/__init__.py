"""Training of the learned router of R-Stitch+ (arXiv 2507.17307): rollouts, reward, DAPO, the training loop."""
