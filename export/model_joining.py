"""Join encoder, fusion and entities to one ONNX model: the joined graph for CPUs, and the source of such an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..runtime.engine.contract import EXTRA, JOINED_OUTPUTS, JOINED_PARTS
from ..runtime.errors import BundleError
from .protobuf_fields import Field, encode_bytes, encode_number, read_fields

#: Encoded messages in pieces.
Pieces = list[bytes | memoryview]

# Numbers of the fields of ONNX messages (onnx.proto), which never change.
_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 1, 7, 8, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER = 1, 2, 5
_GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE_INITIALIZER = 11, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_ATTRIBUTE = 1, 2, 3, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT = 1, 2, 1, 1

#: ONNX's number of an element type -> its name, for messages.
_ELEMENTS = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16"}


class _Part:
    """A model to join: its graph, and the names that the parts share."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        model = list(read_fields(memoryview(content)))
        self.ir_version = max((field.value for field in model if field.number == _MODEL_IR_VERSION), default=0)
        self.opsets = dict(_read_opset(field.content) for field in model if field.number == _MODEL_OPSET)
        graphs = [field.content for field in model if field.number == _MODEL_GRAPH]
        if len(graphs) != 1 or any(field.number == _MODEL_FUNCTION for field in model):
            raise BundleError("expected a model of one graph without functions")
        self.graph = list(read_fields(graphs[0]))
        if any(field.number == _GRAPH_SPARSE_INITIALIZER for field in self.graph):
            raise BundleError("sparse weights cannot be joined")
        self.inputs = {_read_text(field, _VALUE_NAME): field for field in self.graph if field.number == _GRAPH_INPUT}
        self.outputs = {_read_text(field, _VALUE_NAME): field for field in self.graph if field.number == _GRAPH_OUTPUT}


def join_models(models: Mapping[str, bytes], *, extra: bool = False) -> bytes:
    """Join the ONNX models of encoder, fusion and entities.

    An output of one model becomes the input of the same name of the next. The inputs and outputs of the models keep
    their names; all other names get the name of their subgraph as a prefix, so that no two are the same.

    Args:
        models: Contents of the ONNX files by name of the subgraph; others are ignored.
        extra: Keep those outputs of ``EXTRA`` that the models have, too.

    Returns:
        Content of the joined model, with the inputs of the three that no other computes, and ``JOINED_OUTPUTS``.

    Raises:
        BundleError: A file is no ONNX model or has what cannot be joined, the model has no in-model parser, or the
            files disagree on the version of an operator set or the type of a tensor.
    """
    parts: dict[str, _Part] = {}
    nodes, initializers = Pieces(), Pieces()
    opsets: dict[str, int] = {}
    computed: dict[str, Field] = {}
    inputs: dict[str, Field] = {}
    for name in JOINED_PARTS:
        file = f"{name}.onnx"
        try:
            part = parts[name] = _Part(file, models[name])
            rename = _make_renaming(name, part)
            for field in part.graph:
                if field.number == _GRAPH_NODE:
                    nodes += encode_bytes(_GRAPH_NODE, _rename_node(field.content, rename))
                elif field.number == _GRAPH_INITIALIZER:
                    initializers += encode_bytes(_GRAPH_INITIALIZER, _rename(field.content, {_TENSOR_NAME: rename}))
            for domain, version in part.opsets.items():
                if opsets.setdefault(domain, version) != version:
                    raise BundleError(f"has opset {version}, but another subgraph has {opsets[domain]}")
            for tensor, value in part.inputs.items():
                _check_type(tensor, value, computed.get(tensor) or inputs.get(tensor))
                if tensor not in computed:
                    inputs[tensor] = value
            if again := sorted(part.outputs.keys() & computed.keys()):
                raise BundleError(f"computes {again[0]}, which an earlier subgraph computes, too")
            computed |= part.outputs
        except BundleError as error:
            raise BundleError(f"{file}: {error}; export the bundle again") from error
    if missing := [name for name in JOINED_OUTPUTS if name not in computed]:
        raise BundleError(
            f"{', '.join(part.file for part in parts.values())} have no output {missing[0]}; export the bundle again"
        )
    outputs = [*JOINED_OUTPUTS, *(name for name in EXTRA if extra and name in computed)]
    graph = [
        *nodes,
        *encode_bytes(_GRAPH_NAME, [b"trimf"]),
        *initializers,
        *(field.encoded for field in inputs.values()),
        *(computed[name].encoded for name in outputs),
    ]
    return b"".join(
        [
            encode_number(_MODEL_IR_VERSION, max(part.ir_version for part in parts.values())),
            *(piece for opset in opsets.items() for piece in encode_bytes(_MODEL_OPSET, _encode_opset(*opset))),
            *encode_bytes(_MODEL_GRAPH, graph),
        ]
    )


def _make_renaming(name: str, part: _Part) -> Callable[[bytes], bytes]:
    """Return the function that gives a tensor or node of a subgraph its name in the joined model."""
    kept = {tensor.encode() for tensor in (*part.inputs, *part.outputs)}
    # An empty name marks an optional input or output that is absent.
    return lambda old: old if not old or old in kept else f"{name}/".encode() + old


def _rename_node(node: memoryview, rename: Callable[[bytes], bytes]) -> Pieces:
    """Rename a node, its inputs and its outputs."""
    for attribute in (field for field in read_fields(node) if field.number == _NODE_ATTRIBUTE):
        if any(field.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS) for field in read_fields(attribute.content)):
            raise BundleError("an operator with a graph of its own cannot be joined")
    return _rename(node, dict.fromkeys((_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME), rename))


def _rename(message: memoryview, renames: Mapping[int, Callable[[bytes], bytes]]) -> Pieces:
    """Replace the names in fields of a message."""
    pieces = Pieces()
    for field in read_fields(message):
        if field.number in renames:
            pieces += encode_bytes(field.number, [renames[field.number](bytes(field.content))])
        else:
            pieces.append(field.encoded)
    return pieces


def _check_type(name: str, value: Field, other: Field | None) -> None:
    """Check that a tensor has the same element type in two subgraphs."""
    if other is None:
        return
    here, there = (_read_element_type(field) for field in (value, other))
    if here != there:
        raise BundleError(
            f"takes {name} as {_ELEMENTS.get(here, f'type {here}')}, but an earlier subgraph has it as "
            f"{_ELEMENTS.get(there, f'type {there}')}"
        )


def _read_element_type(value: Field) -> int:
    message = value.content
    for number in (_VALUE_TYPE, _TYPE_TENSOR):
        message = next((field.content for field in read_fields(message) if field.number == number), message[:0])
    return next((field.value for field in read_fields(message) if field.number == _TENSOR_ELEMENT), 0)


def _read_text(message: Field, number: int) -> str:
    """Return a string in a message; empty if the message lacks it."""
    return next((_decode(field.content) for field in read_fields(message.content) if field.number == number), "")


def _decode(text: memoryview) -> str:
    try:
        return bytes(text).decode()
    except UnicodeDecodeError as error:
        raise BundleError("not an ONNX model: a name is not UTF-8") from error


def _read_opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field in read_fields(message):
        if field.number == _OPSET_DOMAIN:
            domain = _decode(field.content)
        elif field.number == _OPSET_VERSION:
            version = field.value
    return domain, version


def _encode_opset(domain: str, version: int) -> Pieces:
    return [*encode_bytes(_OPSET_DOMAIN, [domain.encode()]), encode_number(_OPSET_VERSION, version)]
