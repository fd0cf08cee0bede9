"""Evaluation of checkpoints and bundles: scores and the protocols of data sets."""
