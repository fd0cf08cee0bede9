"""Bundles on disk: manifest, labels, reading, checking and atomic writes."""
