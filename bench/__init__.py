"""Benchmarks of bundles and checkpoints on this machine: latency, throughput, memory and F1."""
