"""Training in two stages: examples, losses, optimizers, run folders and calibration."""
