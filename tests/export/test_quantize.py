"""Eight bits: what smoothing, choosing and quantising keep, and what comes out."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from trimf.export import quantize as quantizing
from trimf.export.activation_ranges import find_matmul_nodes, open_session
from trimf.export.half_precision import QUANTIZATION_OPERATORS, count_matmuls_by_dtype
from trimf.export.precision import ConvertedGraphs, convert_precision
from trimf.export.quantize import choose_unquantized, quantize_embedding_tables, quantize_matmuls, smooth_activations
from trimf.runtime.engine.contract import SUBGRAPHS

Models = dict[str, onnx.ModelProto]


def mlp(seed: int, outliers: float) -> onnx.ModelProto:
    """``words = relu(x a + x b) c``, with channels of x and rows of weights of any size, some of them zero."""
    random = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        rows = np.exp(outliers * random.standard_normal((shape[0], 1))) * (random.random((shape[0], 1)) > 0.1)
        return (rows * random.standard_normal(shape)).astype(np.float32)

    made = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "sizes"], ["scaled"], "scale"),
            helper.make_node("MatMul", ["scaled", "a"], ["of_a"], "by a"),
            helper.make_node("MatMul", ["scaled", "b"], ["of_b"], "by b"),
            helper.make_node("Add", ["of_a", "of_b"], ["sum"], "add"),
            helper.make_node("Relu", ["sum"], ["positive"], "relu"),
            helper.make_node("MatMul", ["positive", "c"], ["words"], "by c"),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["n", 5])],
        [
            numpy_helper.from_array(weight(6, 1)[:, 0], "sizes"),
            numpy_helper.from_array(weight(6, 8), "a"),
            numpy_helper.from_array(weight(6, 8), "b"),
            numpy_helper.from_array(weight(8, 5), "c"),
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def batches(seed: int, count: int = 4) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [{"x": random.standard_normal((1 + place, 6)).astype(np.float32)} for place in range(count)]


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), outliers=st.floats(0, 3))
def test_smoothing_keeps_the_function(seed: int, outliers: float) -> None:
    model = mlp(seed, outliers)
    smoothed = smooth_activations(model, batches(seed))
    onnx.checker.check_model(smoothed, full_check=True)
    for arrays in batches(seed + 1):
        (expected,) = open_session(model).run(["words"], arrays)
        (actual,) = open_session(smoothed).run(["words"], arrays)
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5 * (1 + np.abs(expected).max()))


def test_smoothing_shares_a_factor_among_the_readers_of_a_tensor() -> None:
    model = mlp(1, 1.0)
    before = model.SerializeToString(deterministic=True)
    smoothed = smooth_activations(model, batches(1))
    assert model.SerializeToString(deterministic=True) == before
    inputs = {node.name: node.input[0] for node in find_matmul_nodes(smoothed)}
    assert inputs == {"by a": "scaled.smooth", "by b": "scaled.smooth", "by c": "positive.smooth"}
    assert sum(node.op_type == "Mul" for node in smoothed.graph.node) == 1 + 2
    assert initializers(smoothed).keys() == {
        "sizes",
        *("scaled.factor", "positive.factor"),
        *(f"{name}.smooth_weight" for name in ("by a", "by b", "by c")),
    }


def test_smoothing_makes_channels_alike() -> None:
    model, inputs = mlp(3, 3.0), batches(3, 20)
    spread = []
    for one, name in ((model, "scaled"), (smooth_activations(model, inputs), "scaled.smooth")):
        largest = quantizing.measure_ranges(one, [name], inputs, per_channel=True)[name].max_abs
        spread.append(largest[largest > 1e-3].max() / largest[largest > 1e-3].min())
    assert spread[1] < spread[0] / 10


counts = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 12), max_size=6)


@given(sensitivity=counts, budget=st.integers(0, 20))
def test_the_kept_are_the_fewest_and_the_most_sensitive(sensitivity: dict[str, int], budget: int) -> None:
    def fits(kept: Any) -> bool:
        return sum(value**2 for name, value in sensitivity.items() if name not in kept) <= budget**2

    found = choose_unquantized(sensitivity, budget)
    assert fits(found)
    assert not any(fits(fewer) for size in range(len(found)) for fewer in itertools.combinations(sensitivity, size))
    assert found == sorted(sensitivity, key=lambda name: (-sensitivity[name], name))[: len(found)]


def test_what_cannot_be_measured_is_kept() -> None:
    assert set(choose_unquantized({"a": 0.1, "b": float("nan")}, 1.0)) == {"a", "b"}


@pytest.fixture(scope="module")
def inputs(traced: Any, chain: Any, sentence_arrays: Any) -> dict[str, list[dict[str, np.ndarray]]]:
    """What the subgraphs read on a few sentences of random subwords."""
    calls = [chain(traced("bert"), sentence_arrays(1, 3 + 4 * place, 30, seed=place))[1] for place in range(6)]
    return {name: [one[name] for one in calls] for name in SUBGRAPHS}


@pytest.fixture(scope="module")
def converted(traced: Any, inputs: Any) -> dict[str, ConvertedGraphs]:
    return {
        precision: convert_precision(traced("bert"), precision, inputs, inputs, "tiny/train.jsonl", lambda _: None)
        for precision in ("int8", "int8-qdq")
    }


every_int8 = pytest.mark.parametrize("precision", ["int8", "int8-qdq"])


@every_int8
def test_every_product_with_a_constant_is_quantised_alike(
    traced: Any, inputs: Any, converted: dict[str, ConvertedGraphs], precision: Any
) -> None:
    shipped = model = converted[precision].shipped["encoder"]
    if precision == "int8":  # before it is rewritten for CPUs
        model, _ = quantize_matmuls(traced("bert")["encoder"], inputs["encoder"], precision=precision, data="x")
    onnx.checker.check_model(model, full_check=True)
    makers = {output: node for node in model.graph.node for output in node.output}
    values = initializers(model)
    count = 0
    for node in find_matmul_nodes(model):
        left, right = (makers.get(name) for name in node.input)
        if right is None or right.op_type != "DequantizeLinear":
            continue
        count += 1
        codes, scale, zero = (values[name] for name in right.input)
        assert codes.dtype == zero.dtype == np.int8
        assert scale.shape == zero.shape == codes.shape[1:]
        assert [one.i for one in right.attribute if one.name == "axis"] == [1]
        assert not zero.any()
        assert (scale > 0).all()
        largest = np.abs(codes.astype(int)).max()
        assert largest == 127 if precision == "int8-qdq" else 63 <= largest <= 127
        assert left is not None
        assert left.op_type == "DequantizeLinear"
        quantizer = makers[left.input[0]]
        assert quantizer.op_type == "QuantizeLinear"
        assert list(quantizer.input[1:]) == list(left.input[1:])
        scale, zero = (values[name] for name in left.input[1:])
        assert scale.shape == zero.shape == ()
        assert scale > 0
        assert zero.dtype == (np.int8 if precision == "int8-qdq" else np.uint8)
        assert precision == "int8" or zero == 0
    assert count == len(find_matmul_nodes(traced("bert")["encoder"], weights_only=True))
    assert count == count_matmuls_by_dtype(model).int8 == count_matmuls_by_dtype(shipped).int8


@every_int8
def test_the_report_is_complete(traced: Any, converted: dict[str, ConvertedGraphs], precision: str) -> None:
    report = converted[precision].quantization
    assert report is not None
    graphs = ("encoder", "fusion") if precision == "int8" else ("encoder",)
    names = [
        f"{graph}.{node.name}"
        for graph in graphs
        for node in find_matmul_nodes(traced("bert")[graph], weights_only=True)
    ]
    assert sorted(report.sensitivity) == sorted(names)
    assert all(0 < value < 1 for value in report.sensitivity.values())
    assert (report.data, report.sentences, report.kept) == ("tiny/train.jsonl", 6, [])
    assert report.quantized == len(names)
    assert report.method.startswith("static symmetric" if precision == "int8-qdq" else "static asymmetric")
    assert report.saturates == (precision == "int8-qdq")


@every_int8
def test_a_product_is_measured_as_if_it_alone_were_quantised(
    traced: Any, inputs: Any, converted: dict[str, ConvertedGraphs], precision: str
) -> None:
    """The slow way: a graph for each."""
    given = inputs["encoder"]

    def words(model: onnx.ModelProto) -> np.ndarray:
        session = open_session(model)
        return np.concatenate([session.run(["words"], one)[0].ravel() for one in given])

    smoothed = smooth_activations(traced("bert")["encoder"], given)
    nodes = find_matmul_nodes(smoothed, weights_only=True)
    found = quantizing.measure_ranges(
        smoothed, {name for node in nodes for name in (node.input[0], node.output[0])}, given
    )
    report, expected = converted[precision].quantization, words(smoothed)
    assert report is not None
    for node in nodes:
        alone = quantizing._insert_qdq(smoothed, [node.name], found, precision == "int8-qdq")
        error = np.linalg.norm(words(alone) - expected) / np.linalg.norm(expected)
        assert report.sensitivity[f"encoder.{node.name}"] == pytest.approx(error, rel=0.1, abs=1e-5), node.name


@every_int8
def test_products_beyond_the_budget_stay_as_they_were(
    traced: Any, inputs: Any, monkeypatch: pytest.MonkeyPatch, precision: Any
) -> None:
    heard: list[str] = []
    encoder, given = traced("bert")["encoder"], inputs["encoder"]
    monkeypatch.setitem(quantizing.ERROR_BUDGETS, precision, 0.001)
    model, report = quantize_matmuls(encoder, given, precision=precision, data="x", log=heard.append)
    names = [node.name for node in find_matmul_nodes(encoder, weights_only=True)]
    assert 0 < len(report.kept) < len(names)
    assert report.quantized + len(report.kept) == len(names) == len(report.sensitivity)
    assert {node.name for node in find_matmul_nodes(model, weights_only=True)} == set(report.kept)
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    for node in find_matmul_nodes(model):
        both = node.name not in report.kept and node.name in names
        assert all((makers.get(name) == "DequantizeLinear") == both for name in node.input)
    assert heard == [f"measuring the int8 error of {len(names)} matrix products"]
    monkeypatch.setitem(quantizing.ERROR_BUDGETS, precision, 0.0)
    model, report = quantize_matmuls(encoder, given, precision=precision, data="x")
    assert report.quantized == 0
    assert not any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_qdq_is_fp16_all_round(traced: Any, converted: dict[str, ConvertedGraphs]) -> None:
    model = converted["int8-qdq"].shipped["encoder"]
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 19)]
    values = initializers(model)
    scales = {node.input[1] for node in model.graph.node if node.op_type in QUANTIZATION_OPERATORS}
    assert scales
    assert {values[name].dtype for name in scales} == {np.dtype(np.float16)}
    attention = count_matmuls_by_dtype(traced("bert")["encoder"]).total - count_matmuls_by_dtype(model).int8
    assert (count_matmuls_by_dtype(model).half, count_matmuls_by_dtype(model).single) == (attention, 0)
    for name in SUBGRAPHS[1:]:
        assert (
            count_matmuls_by_dtype(converted["int8-qdq"].shipped[name]).half
            == count_matmuls_by_dtype(traced("bert")[name]).total
        )


@every_int8
def test_it_runs_here_and_is_near(
    traced: Any, converted: dict[str, ConvertedGraphs], chain: Any, sentence_arrays: Callable[..., Any], precision: str
) -> None:
    arrays = sentence_arrays(3, 12, 30, empty=[1], seed=7)
    expected = chain(traced("bert"), arrays)[0]
    for models in (converted[precision].shipped, converted[precision].comparable):
        for name, value in chain(models, arrays)[0].items():
            exact = expected[name]
            error = np.linalg.norm(value.astype(np.float64) - exact) / np.linalg.norm(exact)
            assert error < 0.1, (name, error)


@pytest.mark.slow
@every_int8
def test_a_sentence_does_not_depend_on_its_batch(
    converted: dict[str, ConvertedGraphs], run: Any, random_arrays: Callable[..., Any], precision: str
) -> None:
    model = converted[precision].comparable["encoder"]
    arrays = random_arrays(16, 6, 20, 9, 1, 1)
    together = run(model, arrays)
    for row in range(6):
        alone = run(model, {name: value[row : row + 1] for name, value in arrays.items()})
        for name, value in alone.items():
            assert np.linalg.norm(value[0] - together[name][row]) < 0.01 * np.linalg.norm(value[0]), name


def test_tables_keep_their_rows_within_a_step_of_their_scale() -> None:
    random = np.random.default_rng(0)
    table = (random.normal(size=(3000, 96)) * random.uniform(0, 50, (3000, 1))).astype(np.float32)
    table[7] = 0
    made = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["rows"], "gather")],
        "tables",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 96])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    before = model.ByteSize()
    quantize_embedding_tables(model)
    assert model.ByteSize() < 0.3 * before
    ids = random.integers(0, 3000, 500)
    (rows,) = open_session(model).run(None, {"ids": ids})
    step = np.abs(table[ids]).max(-1, keepdims=True) / 127
    assert (np.abs(rows - table[ids]) <= 0.5001 * step + 1e-9).all()


def test_only_int8_for_cpus_has_tables_of_bytes(traced: Any, inputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "MIN_TABLE_BYTES", 256)
    for precision, expected in (("int8", True), ("int8-qdq", False)):
        model = convert_precision(traced("bert"), precision, inputs, inputs, "x", lambda _: None).shipped["encoder"]
        bytes_gathered = [
            node for node in model.graph.node if node.op_type == "Gather" and node.input[0].endswith(".int8")
        ]
        assert bool(bytes_gathered) == expected


_AGAIN = """
import pickle, sys
from pathlib import Path
import onnx
from trimf.export.precision import convert_precision
models, inputs = pickle.loads(Path(sys.argv[1]).read_bytes())
models = {name: onnx.ModelProto.FromString(model) for name, model in models.items()}
made = convert_precision(models, sys.argv[2], inputs, inputs, "tiny/train.jsonl", lambda _: None).shipped
Path(sys.argv[1]).write_bytes(pickle.dumps([made[name].SerializeToString(deterministic=True) for name in made]))
"""


def test_another_process_makes_the_same_bytes(
    traced: Any, inputs: Any, converted: dict[str, ConvertedGraphs], tmp_path: Path
) -> None:
    """Python hashes strings differently in every process."""
    models = {name: model.SerializeToString() for name, model in traced("bert").items()}
    (tmp_path / "made").write_bytes(pickle.dumps((models, inputs)))
    command = [sys.executable, "-c", _AGAIN, str(tmp_path / "made"), "int8-qdq"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    expected = [model.SerializeToString(deterministic=True) for model in converted["int8-qdq"].shipped.values()]
    assert pickle.loads((tmp_path / "made").read_bytes()) == expected
