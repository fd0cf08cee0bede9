"""Open a backend by name; ``auto`` chooses the best one that can run a bundle on this machine.

No module of this folder imports this one.
"""

from __future__ import annotations

from ..errors import BackendArgumentError, BackendError
from .backend import BACKENDS, Backend, BundleFiles, resolve_thread_count
from .gpu_guidance import explain_int8


def open_backend(name: str, threads: int | None, files: BundleFiles, *, has_external_parser: bool = False) -> Backend:
    """Open the backend of that name for a bundle.

    Args:
        name: one of ``BACKENDS``; ``auto`` chooses the best one that can run the bundle.
        threads: intra-op threads of the CPU. Default: all cores.
        files: the bundle.
        has_external_parser: whether a parser of the caller parses the sentences, rather than the model.

    Returns:
        The backend. A backend requested by name is never replaced by another one.

    Raises:
        BackendArgumentError: the name is unknown, or ``threads`` is not a positive integer.
        BackendError: the backend cannot run here or this bundle.
    """
    if name not in BACKENDS:
        raise BackendArgumentError(f"unknown backend {name!r}; choose from {', '.join(BACKENDS)}")
    resolve_thread_count(threads, 1)  # check the value for backends that do not use it, too
    if name == "auto":
        return _open_best(threads, files, has_external_parser)
    if name == "cpu":
        return _open_cpu(threads, files, "requested")
    if files.manifest.precision == "int8":
        raise BackendError(explain_int8(files.path, name))
    if name == "tensorrt":
        from .tensorrt_backend import open_tensorrt

        return open_tensorrt(files, "requested", has_external_parser=has_external_parser)
    from .onnx_gpu_backend import OnnxGpuBackend

    return OnnxGpuBackend(name, "requested", threads)


def _open_best(threads: int | None, files: BundleFiles, has_external_parser: bool) -> Backend:
    """Open the backend for the bundle's engines, else CUDA, else the CPU; without a GPU, import no package for one."""
    from . import cuda

    if files.manifest.precision == "int8":
        return _open_cpu(threads, files, "this bundle is int8 for CPUs")
    if reason := cuda.explain_missing_device():
        return _open_cpu(threads, files, reason)
    reason = "this bundle has no engines"
    if files.manifest.engines:
        from .tensorrt_backend import open_tensorrt

        try:
            return open_tensorrt(files, has_external_parser=has_external_parser)
        except BackendError as error:
            reason = str(error)
    from .onnxruntime_library import INSTALL_GPU, onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        from .onnx_gpu_backend import OnnxGpuBackend

        return OnnxGpuBackend("cuda", reason, threads)
    return _open_cpu(threads, files, f"{reason}; and the installed ONNX Runtime has no CUDA: run {INSTALL_GPU}")


def _open_cpu(threads: int | None, files: BundleFiles, reason: str) -> Backend:
    """Open the CPU backend; refuse a precision that it lacks, and add to the reason if another would be faster."""
    precision = files.manifest.precision
    if precision == "bf16":
        raise BackendError(
            f"{files.path} is bf16, which runs only on a GPU, but the CPU was chosen: {reason};"
            f" re-export it as fp32, or use the cuda or tensorrt backend on a GPU"
        )
    if precision in ("fp16", "int8-qdq"):
        reason += f"; {precision} is meant for GPUs, and a CPU runs fp32 or int8 faster"
    from .onnx_cpu import OnnxCpuBackend

    return OnnxCpuBackend(threads, reason)
