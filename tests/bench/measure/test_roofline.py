"""Operations and bytes counted in a graph, and the peaks that they are held against."""

import math

import onnx
import pytest

from trimf.bench.measure import device_peaks as peaks
from trimf.bench.measure.encoder_baseline import cut
from trimf.bench.measure.jobs import Peaks, Work
from trimf.bench.measure.roofline import computing, least, products, work
from trimf.runtime.bundle.reader import Bundle
from trimf.runtime.engine.onnx_cpu import OnnxRuntimeBackend

LAYERS, WIDTH, INNER = 6, 384, 1536


@pytest.fixture(scope="module")
def plain():
    return cut(Bundle("default").read("encoder.onnx"))


@pytest.mark.parametrize(("batch", "subwords"), [(1, 16), (1, 33), (8, 33)])
def test_operations_are_those_of_a_transformer(plain, batch, subwords):
    found = work(plain, batch, subwords)
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
    one, more = work(plain, 1, 32), work(plain, 8, 32)
    assert LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER) < one.bytes < len(plain)
    assert one.bytes < more.bytes < 8 * one.bytes


def test_products_are_counted_by_type(plain):
    assert products(Bundle("default").read("relations.onnx")).keys() == {"fp32"}
    assert products(plain).keys() == {"int8", "fp32"}


def test_the_floor_is_the_longer_of_computing_and_reading():
    given = Work(operations={"fp32": 2e9, "int8": 4e9}, bytes=1e6)
    device = Peaks(operations={"fp32": 1e12, "int8": 4e12}, bytes=1e9)
    assert computing(given, device) == pytest.approx(3e-3)
    assert least(given, device) == pytest.approx(3)
    assert least(given, Peaks(operations=device.operations, bytes=1e8)) == pytest.approx(10)


def test_peaks_are_measured(monkeypatch):
    monkeypatch.setattr(peaks, "CPU", (2, 8, 64, 2))
    monkeypatch.setattr(peaks, "READ", (256, 256))
    monkeypatch.setattr(peaks, "SECONDS", 0.02)
    found = peaks.measure(OnnxRuntimeBackend(1), ("fp32", "int8", "fp16"))
    assert found.operations.keys() == {"fp32", "int8", "fp16"}
    assert min(found.operations.values()) > 1e6
    assert found.bytes > 1e6
