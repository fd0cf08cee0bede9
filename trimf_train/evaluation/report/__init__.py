"""Report on a model: scores with intervals, errors, reliability of scores, thresholds, two models side by side."""
