"""Bundles on disk: manifest, labels, reading and checking."""
