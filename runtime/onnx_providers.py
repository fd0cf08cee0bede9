"""ONNX Runtime's execution providers for NVIDIA GPUs: what each needs to be here, and how it is set up for a model."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import buckets
from .errors import BackendError, line
from .onnx_backend import session_options
from .onnxruntime_library import onnxruntime
from .tensorrt_library import cache_folder

_LOG = logging.getLogger("trimf")


class Provider(NamedTuple):
    """An execution provider and how to use it.

    Attributes:
        name: ONNX Runtime's name of it.
        ready: raises BackendError where it cannot run; gives the devices of a provider that is a plugin.
        options: its options for the bytes of an ONNX file.
        after: providers for what it leaves over.
        place: kind, number and (of a plugin) vendor of the device, as ``OrtValue`` takes them.
        graphs: whether runs are captured as CUDA graphs.
        limits: axis -> largest size it takes.
    """

    name: str
    ready: Callable[[], list[Any]]
    options: Callable[[bytes], dict[str, str]]
    after: tuple[str, ...] = ()
    place: tuple[str | int, ...] = ("cuda", 0)
    graphs: bool = False
    limits: Mapping[str, int] = {}


def _built_in(name: str, provider: str) -> list[Any]:
    if provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"backend {name!r} needs {provider}, which this ONNX Runtime {onnxruntime.__version__} lacks; "
            'pip install "trimf[gpu]"; where plain onnxruntime is installed too, pip uninstall it and onnxruntime-gpu '
            "and pip install onnxruntime-gpu again"
        )
    with contextlib.redirect_stdout(io.StringIO()) as said:
        onnxruntime.preload_dlls()  # CUDA and cuDNN out of NVIDIA's wheels
    if said.getvalue():
        _LOG.info("%s", " ".join(said.getvalue().split()))
    return []


@functools.cache
def _rtx_plugin() -> list[Any]:
    try:
        plugin = importlib.import_module("onnxruntime_ep_nv_tensorrt_rtx")
    except ImportError as error:
        raise BackendError(
            "backend 'tensorrt-rtx-ep' needs a package that is not installed; "
            "pip install onnxruntime-ep-nv-tensorrt-rtx-cu12"
        ) from error
    name, library = plugin.get_ep_name(), plugin.get_library_path()
    needs = "it needs an NVIDIA driver and a GPU of compute capability 8.6, 8.9, 12.0 or later; or use backend 'cpu'"
    try:
        for runtime in sorted(Path(library).parent.glob("libcudart.so.*")):  # it lies beside, where nobody looks for it
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
        onnxruntime.register_execution_provider_library(name, library)
    except Exception as error:
        raise BackendError(
            f"backend 'tensorrt-rtx-ep' cannot run here: {line(error).rpartition('with error: ')[2]}; {needs}"
        ) from error
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise BackendError(f"backend 'tensorrt-rtx-ep' cannot run here: no device; {needs}")
    return devices[:1]


def _cuda_options(model: bytes) -> dict[str, str]:
    return {"use_tf32": "0"}  # a product in fp32 is one in fp32; who wants a faster one exports with --fp16


def _tensorrt_options(model: bytes) -> dict[str, str]:
    # ONNX Runtime knows the inputs of a file that is loaded and not yet compiled.
    from onnxruntime.capi import _pybind_state

    loaded = _pybind_state.InferenceSession(session_options(1), model, False, False)
    shapes = []
    for place in range(3):
        sizes = {axis: sizes[place] for axis, sizes in buckets.RANGES.items()}
        dims = {entry.name: buckets.shape(entry.name, sizes, entry.shape) for entry in loaded.inputs_meta}
        shapes.append(",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in dims.items()))
    folder = _cache("tensorrt-ep", model)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_profile_min_shapes": shapes[0],
        "trt_profile_opt_shapes": shapes[1],
        "trt_profile_max_shapes": shapes[2],
    }


def _rtx_options(model: bytes) -> dict[str, str]:
    return {"nv_runtime_cache_path": _cache("tensorrt-rtx-ep", model)}


def _cache(name: str, model: bytes) -> str:
    """The folder of what was compiled from a model, which only its owner may write: it holds machine code."""
    try:
        folder = cache_folder() / name / hashlib.sha256(model).hexdigest()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise BackendError(f"backend {name!r} needs a cache folder: {line(error)}; set XDG_CACHE_HOME") from error
    return str(folder)


PROVIDERS = {
    "cuda": Provider(
        "CUDAExecutionProvider",
        functools.partial(_built_in, "cuda", "CUDAExecutionProvider"),
        _cuda_options,
        graphs=True,
    ),
    "tensorrt-ep": Provider(
        "TensorrtExecutionProvider",
        functools.partial(_built_in, "tensorrt-ep", "TensorrtExecutionProvider"),
        _tensorrt_options,
        after=("CUDAExecutionProvider",),
        limits={axis: largest for axis, (_, _, largest) in buckets.RANGES.items()},
    ),
    "tensorrt-rtx-ep": Provider("NvTensorRTRTXExecutionProvider", _rtx_plugin, _rtx_options, place=("gpu", 0, 0x10DE)),
}
