"""Experiments on a pair: comparing and choosing routers (bench, tune), and the studies of the paper's figures."""
