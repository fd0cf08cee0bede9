"""Latency of a bundle on this machine."""
