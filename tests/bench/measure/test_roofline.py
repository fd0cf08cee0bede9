"""Operations and bytes counted in a graph, and the peaks that they are held against."""

import math

import onnx
import pytest

from trimf.bench.measure import device_peaks as peaks
from trimf.bench.measure.encoder_baseline import cut_transformer
from trimf.bench.measure.jobs import DevicePeaks, EncoderWork
from trimf.bench.measure.roofline import (
    compute_floor_ms,
    compute_operation_seconds,
    count_encoder_work,
    count_matmuls_by_dtype,
)
from trimf.export.rewriting.cpu_graph import rewrite_for_cpu
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend

LAYERS, WIDTH, INNER = 6, 384, 1536


@pytest.fixture(scope="module")
def plain():
    return cut_transformer(Bundle("default").read("encoder.onnx"))


@pytest.mark.parametrize(("batch", "subwords"), [(1, 16), (1, 33), (8, 33)])
def test_operations_are_those_of_a_transformer(plain, batch, subwords):
    found = count_encoder_work(plain, batch, subwords)
    bundle = Bundle("default")
    graph = onnx.load_from_string(bundle.read("encoder.onnx")).graph
    sizes = {one.name: math.prod(one.dims) for one in graph.initializer}
    kept = [f"encoder.{node.name}" in bundle.manifest.quantization.kept for node in graph.node]
    single = sum(sizes[node.input[1]] for node, left in zip(graph.node, kept, strict=True) if left)
    weights = LAYERS * 2 * subwords * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    attention = LAYERS * 2 * 2 * subwords**2 * WIDTH
    assert sum(found.operations.values()) == batch * (weights + attention)
    assert found.operations["fp32"] == batch * (attention + 2 * subwords * single)


def test_bytes_hold_every_weight_once_and_few_rows_of_the_tables(plain):
    one, more = count_encoder_work(plain, 1, 32), count_encoder_work(plain, 8, 32)
    assert LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER) < one.bytes < len(plain)
    assert one.bytes < more.bytes < 8 * one.bytes


def test_fused_operators_have_the_operations_of_those_they_replace(plain):
    rewritten = rewrite_for_cpu(onnx.load_from_string(Bundle("default").read("encoder.onnx")))
    fused = cut_transformer(rewritten.SerializeToString())
    assert {"MultiHeadAttention", "Gelu"} <= {node.op_type for node in onnx.load_from_string(fused).graph.node}
    assert count_matmuls_by_dtype(fused) == count_matmuls_by_dtype(plain)
    for batch, subwords in ((1, 16), (8, 33)):
        found, expected = (count_encoder_work(one, batch, subwords) for one in (fused, plain))
        assert found.operations == expected.operations
        assert found.bytes == pytest.approx(expected.bytes, rel=0.02)
    OnnxCpuBackend(1).load("plain encoder", fused).close()


def test_products_are_counted_by_type(plain):
    assert count_matmuls_by_dtype(Bundle("default").read("relations.onnx")).keys() == {"fp32"}
    assert count_matmuls_by_dtype(plain).keys() == {"int8", "fp32"}


def test_the_floor_is_the_longer_of_computing_and_reading():
    given = EncoderWork(operations={"fp32": 2e9, "int8": 4e9}, bytes=1e6)
    device = DevicePeaks(operations={"fp32": 1e12, "int8": 4e12}, bytes=1e9)
    assert compute_operation_seconds(given, device) == pytest.approx(3e-3)
    assert compute_floor_ms(given, device) == pytest.approx(3)
    assert compute_floor_ms(given, DevicePeaks(operations=device.operations, bytes=1e8)) == pytest.approx(10)


def test_peaks_are_measured(monkeypatch):
    monkeypatch.setattr(peaks, "CPU_SIZES", (2, 8, 64, 2))
    monkeypatch.setattr(peaks, "READ_MATRIX_SHAPE", (256, 256))
    monkeypatch.setattr(peaks, "SECONDS_PER_PEAK", 0.02)
    found = peaks.measure_peaks(OnnxCpuBackend(1), ("fp32", "int8", "fp16"))
    assert found.operations.keys() == {"fp32", "int8", "fp16"}
    assert min(found.operations.values()) > 1e6
    assert found.bytes > 1e6
