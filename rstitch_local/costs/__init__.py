"""The cost model: evaluations, fit, calibration and its store, expected speed-up."""
