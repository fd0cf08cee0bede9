"""Measurements in child processes: latency, throughput, memory and device peaks."""
