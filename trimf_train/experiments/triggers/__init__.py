"""Measure whether the trigger words of relations are the words without which the model would not find them."""
