"""Export of a checkpoint as a bundle: ONNX subgraphs, reduced precision, TensorRT engines and parity checks."""
