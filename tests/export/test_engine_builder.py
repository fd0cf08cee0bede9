"""Single engines: real builds with TensorRT for RTX, which needs no GPU for it, and the types they compute in."""

import _thread
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trimf.export import engine_builder as engines
from trimf.export.half_precision import convert_to_half
from trimf.export.profiles import DEFAULT_PROFILES
from trimf.runtime.bundle.manifest import MatmulCounts
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.tensorrt_library import TensorRtLibrary
from trimf.runtime.errors import BackendError, BundleError


def model(*nodes: onnx.NodeProto, inputs: list[Any], outputs: list[Any], weights: list[onnx.TensorProto]) -> bytes:
    graph = helper.make_graph(list(nodes), "graph", inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(made.SerializeToString())


def product(weight: onnx.TensorProto) -> bytes:
    """``nodes`` times a weight."""
    return model(
        helper.make_node("MatMul", ["nodes", "W"], ["out"]),
        inputs=[helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["b", "n", 8])],
        outputs=[helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "n", 8])],
        weights=[weight],
    )


PRODUCT = product(numpy_helper.from_array(np.eye(8, dtype=np.float32), "W"))


def test_half_precision_is_proved(exported: Path, rtx: TensorRtLibrary) -> None:
    for name in SUBGRAPHS:
        content = convert_to_half(onnx.load(exported / f"{name}.onnx"), "fp16").SerializeToString()
        single = engines.summarize_network(rtx, name, (exported / f"{name}.onnx").read_bytes()).products
        assert engines.summarize_network(rtx, name, content).products == MatmulCounts(half=single.single)
        assert engines.build_engine(rtx, name, content, DEFAULT_PROFILES[:1], target="sm_75")


def test_the_share_is_of_all_products() -> None:
    products = {"encoder": MatmulCounts(half=90, single=2), "fusion": MatmulCounts(half=1, single=7)}
    assert engines.check_precision(products, "fp16") == ["fusion: 1 of 8 matrix products are half precision"]
    assert engines.check_precision(products, "fp32") == []
    products["relations"] = MatmulCounts(single=2)
    with pytest.raises(BundleError) as error:
        engines.check_precision(products, "bf16")
    assert str(error.value) == (
        "only 89% of the matrix products are half precision (91 of 102: encoder 90 of 92, fusion 1 of 8, relations 0"
        " of 2), but at least 90% must be; re-export the bundle as bf16"
    )


def test_int8_must_be_there() -> None:
    assert engines.check_precision({"encoder": MatmulCounts(half=10, int8=40)}, "int8-qdq") == []
    with pytest.raises(BundleError, match="none of the 10 matrix products is int8, but the bundle is marked int8-qdq"):
        engines.check_precision({"encoder": MatmulCounts(half=10)}, "int8-qdq")


@pytest.mark.parametrize(("both", "expected"), [(True, MatmulCounts(int8=1)), (False, MatmulCounts(single=1))])
def test_int8_is_int8_on_both_sides(rtx: TensorRtLibrary, both: bool, expected: MatmulCounts) -> None:
    weight = np.arange(64, dtype=np.int8).reshape(8, 8)
    nodes = [
        helper.make_node("QuantizeLinear", ["nodes", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        helper.make_node("DequantizeLinear", ["W", "s", "z"], ["w"]),
        helper.make_node("MatMul", ["dq" if both else "nodes", "w"], ["out"]),
    ]
    content = model(
        *nodes,
        inputs=[helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["b", "n", 8])],
        outputs=[helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", "n", 8])],
        weights=[
            numpy_helper.from_array(weight, "W"),
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.int8(0), "z"),
        ],
    )
    assert engines.summarize_network(rtx, "entities", content) == (expected, ("nodes",))


def test_a_model_that_cannot_be_read(rtx: TensorRtLibrary) -> None:
    with pytest.raises(BackendError, match=r"RTX [\d.]+ cannot read encoder.onnx: .*Failed to parse the ONNX model"):
        engines.summarize_network(rtx, "encoder", b"rubbish")


def test_an_operator_that_is_not_known(rtx: TensorRtLibrary) -> None:
    node = helper.make_node("Sheep", ["nodes"], ["out"], domain="farm")
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "n", 8]) for name in ("nodes", "out")]
    with pytest.raises(BackendError, match="Sheep") as error:
        engines.build_engine(
            rtx, "fusion", model(node, inputs=info[:1], outputs=info[1:], weights=[]), DEFAULT_PROFILES, target="sm_89"
        )
    assert "\n" not in str(error.value)


def test_weights_outside_the_file_cannot_be_reached(
    rtx: TensorRtLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.bin").write_bytes(np.eye(8, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    for location in ("w.bin", str(tmp_path / "w.bin"), f"../../..{tmp_path}/w.bin"):
        weight = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[8, 8], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=location)
        with pytest.raises(BackendError, match=r"cannot read entities\.onnx"):
            engines.summarize_network(rtx, "entities", product(weight))


def test_progress(rtx: TensorRtLibrary) -> None:
    heard: list[tuple[str, int, int]] = []
    engines.build_engine(
        rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", on_progress=lambda *step: heard.append(step)
    )
    assert heard
    assert all(0 <= done <= steps for _, done, steps in heard)


def test_an_error_in_the_progress_stops_the_build(rtx: TensorRtLibrary) -> None:
    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", on_progress=fails)


def test_the_keyboard_stops_a_build(rtx: TensorRtLibrary, exported: Path, request: pytest.FixtureRequest) -> None:
    # A shell that starts this in the background has interrupts ignored.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    content = (exported / "relations.onnx").read_bytes()
    once = iter([True])  # a second interrupt might come after the build has ended
    with pytest.raises(KeyboardInterrupt):
        engines.build_engine(
            rtx,
            "relations",
            content,
            DEFAULT_PROFILES,
            target="sm_89",
            on_progress=lambda *_: _thread.interrupt_main() if next(once, False) else None,
        )


def test_a_profile_that_the_library_refuses(rtx: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "input_shapes", lambda *_: ((2, 2, 8), (1, 1, 8), (4, 4, 8)))
    with pytest.raises(BackendError, match="rejected profile latency of entities"):
        engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89")


def test_workspace(rtx: TensorRtLibrary) -> None:
    assert engines.build_engine(rtx, "entities", PRODUCT, DEFAULT_PROFILES, target="sm_89", workspace_mb=64)
