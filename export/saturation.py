"""Choose int8 weights whose products with unsigned bytes cannot saturate on an x86 CPU without VNNI.

Such a CPU multiplies bytes with ``vpmaddubsw``, which adds two neighbouring products,
``a[2k] w[2k] + a[2k+1] w[2k+1]``, in 16 bits: 255 (127 + 127) does not fit. ONNX Runtime has an exact mode for such
CPUs, which multiplies 16-bit numbers and is slower. If the weights of a pair with the same sign add up to at most
``MAX_PAIR_SUM``, the fast product is exact.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .activation_ranges import find_matmul_nodes

#: Largest sum of two neighbouring weights with the same sign: 255 * 128 and -255 * 128 fit into 16 bits.
MAX_PAIR_SUM = 128


def limit_pair_sums(quantized: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Enlarge the quantization steps of the columns of weights in which a pair may saturate, in place.

    Args:
        quantized: Graph with QuantizeLinear and DequantizeLinear nodes. Weights with two axes have a step per column;
            others are left as they are.
        model: The fp32 graph from which it was made, with the same names of matrix products.

    Returns:
        The quantized graph.
    """
    exact = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {node.name: node.input[1] for node in find_matmul_nodes(model, weights_only=True)}
    tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
    for node, codes, scale in _find_int8_weights(quantized):
        if codes not in tensors or len(tensors[codes].dims) != 2:
            continue
        weight = numpy_helper.to_array(exact[names[node.name]]).astype(np.float64)
        step = numpy_helper.to_array(tensors[scale])
        # Rounding adds at most half a step to either weight of a pair.
        limited = np.maximum(step, measure_pair_sums(weight) / (MAX_PAIR_SUM - 1)).astype(np.float32)
        changed = limited > step
        rounded = np.clip(np.rint(weight / limited), -127, 127).astype(np.int8)
        rounded = np.where(changed, rounded, numpy_helper.to_array(tensors[codes]))
        tensors[codes].CopyFrom(numpy_helper.from_array(rounded, codes))
        tensors[scale].CopyFrom(numpy_helper.from_array(limited, scale))
    return quantized


def can_saturate(quantized: onnx.ModelProto) -> bool:
    """Return True if a product of unsigned activations with int8 weights may saturate on an x86 CPU without VNNI.

    Args:
        quantized: Graph with QuantizeLinear and DequantizeLinear nodes.
    """
    tensors = {tensor.name: tensor for tensor in quantized.graph.initializer}
    return any(
        len(tensors[codes].dims) < 2
        or (measure_pair_sums(numpy_helper.to_array(tensors[codes]).astype(np.float64)) > MAX_PAIR_SUM).any()
        for _, codes, _ in _find_int8_weights(quantized)
    )


def measure_pair_sums(weight: np.ndarray) -> np.ndarray:
    """Return the largest magnitude of a sum of two neighbouring weights with the same sign.

    Args:
        weight: Weights ``[..., K, N]``; neighbours are rows 2k and 2k + 1.

    Returns:
        The largest sum of each column, ``[..., N]``.
    """
    missing = weight.shape[-2] % 2
    padded = np.concatenate([weight, np.zeros_like(weight[..., :missing, :])], axis=-2)
    sums = [part[..., 0::2, :] + part[..., 1::2, :] for part in (np.maximum(padded, 0), np.maximum(-padded, 0))]
    largest: np.ndarray = np.maximum(*sums).max(axis=-2)
    return largest


def _find_int8_weights(quantized: onnx.ModelProto) -> list[tuple[onnx.NodeProto, str, str]]:
    """Return each matrix product with int8 weights, and the names of their codes and of their scale."""
    types = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    producers = {node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in quantized.graph.node:
        source = producers.get(node.input[1]) if node.op_type == "MatMul" else None
        if source is not None and types.get(source.input[0]) == TensorProto.INT8:
            found.append((node, source.input[0], source.input[1]))
    return found
