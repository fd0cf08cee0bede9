"""Rewrite int8 graphs to the operators that ONNX Runtime runs fastest on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import helper

from .attention import fuse_attention
from .gelu import find_gelus
from .graph_editor import FUSED_DOMAIN, GraphEditor, infer_tensors
from .integer_products import fold_factors, fuse_integer_products


def rewrite_for_cpu(model: onnx.ModelProto, log: Callable[[str], None] = lambda _: None) -> onnx.ModelProto:
    """Rewrite a copy of a graph with quantized products for ONNX Runtime on a CPU.

    Quantized products take their bias along, attention and GELU become one node each, and SmoothQuant's factors go into
    the weights where they can. Layer normalisation and the addition before it stay two nodes: the operator that joins
    them is slower on CPUs. What does not match stays as it is. Inputs, outputs, and the names of products are kept; the
    results are the same but for rounding.

    Args:
        model: Graph with QuantizeLinear and DequantizeLinear nodes; one without them is returned unchanged.
        log: Called with a line that says how much was rewritten.

    Returns:
        The rewritten graph.
    """
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = infer_tensors(model)
    editor = GraphEditor(copy)
    gelus = sum(node.op_type == "Erf" for node in editor.nodes)
    counts = {
        "int8 products": fuse_integer_products(editor),
        "attentions": fuse_attention(editor, model, tensors),
        "GELUs": (_fuse_gelus(editor), gelus),
    }
    editor.remove_unused()  # what still reads a tensor would keep its factors from being folded
    folded = fold_factors(editor, tensors)
    editor.finish()
    del copy.graph.value_info[:]
    written = {name for node in copy.graph.node if node.domain == FUSED_DOMAIN for name in node.output}
    # ONNX cannot infer what operators of another domain compute.
    outputs = {value.name for value in copy.graph.output}
    copy.graph.value_info.extend(tensors[name] for name in sorted(written - outputs) if name in tensors)
    onnx.checker.check_model(copy)
    parts = [f"{done} of {total} {kind}" for kind, (done, total) in counts.items() if total]
    log(f"rewritten for CPUs: {', '.join(parts)}; {folded} factors folded into weights")
    return copy


def _fuse_gelus(editor: GraphEditor) -> int:
    """Replace every GELU that is written with ``Erf`` by one node, and return their number."""
    found = find_gelus(editor)
    for gelu in found:
        output = gelu.last.output[0]
        editor.replace(
            gelu.last, helper.make_node("Gelu", [gelu.source], [output], gelu.last.name, domain=FUSED_DOMAIN)
        )
    return len(found)
