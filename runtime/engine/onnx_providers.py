"""ONNX Runtime's execution providers for NVIDIA GPUs: their requirements and their options."""

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

from ..errors import BackendError, one_line
from . import buckets, cuda
from .cache import user_cache_folder
from .gpu_guidance import explain_missing_provider
from .onnx_cpu import make_session_options
from .onnxruntime_library import onnxruntime

_LOG = logging.getLogger("trimf")


class Provider(NamedTuple):
    """Execution provider and how to set it up.

    Attributes:
        name: ONNX Runtime's name of the provider.
        prepare: raises BackendError if the provider cannot run here; returns the devices of a plug-in provider.
        make_options: returns the provider's options for the bytes of an ONNX file.
        fallback_providers: providers that run the nodes which this one does not support.
        device: kind, index and (for a plug-in) vendor of the device, as ``OrtValue`` expects them.
        uses_cuda_graphs: whether runs are captured as CUDA graphs.
        fuses: whether the fused graphs of a bundle run on it.
        limits: largest size of each limited axis.
    """

    name: str
    prepare: Callable[[], list[Any]]
    make_options: Callable[[bytes], dict[str, str]]
    fallback_providers: tuple[str, ...] = ()
    device: tuple[str | int, ...] = ("cuda", 0)
    uses_cuda_graphs: bool = False
    fuses: bool = False
    limits: Mapping[str, int] = {}


def _prepare_built_in(name: str, provider: str) -> list[Any]:
    if provider not in onnxruntime.get_available_providers():
        lacking = f"{provider}, which the installed ONNX Runtime {onnxruntime.__version__} lacks"
        raise BackendError(explain_missing_provider(name, lacking))
    if reason := cuda.explain_missing_device():
        raise BackendError(f"backend {name!r} needs an NVIDIA GPU: {reason}; use the cpu backend")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        onnxruntime.preload_dlls()  # loads CUDA and cuDNN from NVIDIA's wheels
    if output.getvalue():
        _LOG.info("%s", " ".join(output.getvalue().split()))
    return []


@functools.cache
def _register_rtx_plugin() -> list[Any]:
    try:
        plugin = importlib.import_module("onnxruntime_ep_nv_tensorrt_rtx")
    except ImportError as error:
        lacking = "onnxruntime-ep-nv-tensorrt-rtx, which is not installed"
        raise BackendError(explain_missing_provider("tensorrt-rtx-ep", lacking)) from error
    name, library = plugin.get_ep_name(), plugin.get_library_path()
    needs = "it needs an NVIDIA driver and a GPU of compute capability 8.6, 8.9, 12.0 or later; or use the cpu backend"
    try:
        for runtime in sorted(
            Path(library).parent.glob("libcudart.so.*")
        ):  # it lies beside the plug-in, outside the loader's search path
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
        onnxruntime.register_execution_provider_library(name, library)
    except Exception as error:
        raise BackendError(
            f"backend 'tensorrt-rtx-ep' cannot run here: {one_line(error).rpartition('with error: ')[2]}; {needs}"
        ) from error
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    if not devices:
        raise BackendError(f"backend 'tensorrt-rtx-ep' cannot run here: no device; {needs}")
    return devices[:1]


def _cuda_options(model: bytes) -> dict[str, str]:
    return {
        "use_tf32": "0",  # an fp32 bundle computes in fp32; for speed, export with --fp16
        "enable_skip_layer_norm_strict_mode": "1",  # sums in fp32
        "arena_extend_strategy": "kSameAsRequested",  # by default, memory doubles
    }


def _tensorrt_options(model: bytes) -> dict[str, str]:
    # A session that is loaded but not yet initialized already knows the inputs of the file.
    from onnxruntime.capi import _pybind_state

    loaded = _pybind_state.InferenceSession(make_session_options(1), model, False, False)
    shapes = []
    for bound in range(3):
        sizes = {axis: sizes[bound] for axis, sizes in buckets.SHAPE_LIMITS.items()}
        dims = {entry.name: buckets.resolve_shape(entry.name, sizes, entry.shape) for entry in loaded.inputs_meta}
        shapes.append(",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in dims.items()))
    folder = _cache_path("tensorrt-ep", model)
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
    return {"nv_runtime_cache_path": _cache_path("tensorrt-rtx-ep", model)}


def _cache_path(name: str, model: bytes) -> str:
    """Create the cache folder of a compiled model. It holds machine code, so only its owner may write to it."""
    try:
        folder = user_cache_folder() / name / hashlib.sha256(model).hexdigest()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise BackendError(f"backend {name!r} needs a cache folder: {one_line(error)}; set XDG_CACHE_HOME") from error
    return str(folder)


PROVIDERS = {
    "cuda": Provider(
        "CUDAExecutionProvider",
        functools.partial(_prepare_built_in, "cuda", "CUDAExecutionProvider"),
        _cuda_options,
        uses_cuda_graphs=True,
        fuses=True,
    ),
    "tensorrt-ep": Provider(
        "TensorrtExecutionProvider",
        functools.partial(_prepare_built_in, "tensorrt-ep", "TensorrtExecutionProvider"),
        _tensorrt_options,
        fallback_providers=("CUDAExecutionProvider",),
        limits={axis: largest for axis, (_, _, largest) in buckets.SHAPE_LIMITS.items()},
    ),
    "tensorrt-rtx-ep": Provider(
        "NvTensorRTRTXExecutionProvider", _register_rtx_plugin, _rtx_options, device=("gpu", 0, 0x10DE)
    ),
}
