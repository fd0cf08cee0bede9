"""Checkpoint to bundle: subgraphs, ONNX, precision and parity."""
