"""Say all that a GPU backend needs and that is missing, at once, so that nobody mends one thing to meet the next."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from . import cuda

#: Backend -> extra that installs it.
_EXTRAS = {
    "cuda": "gpu",
    "tensorrt": "tensorrt",
    "tensorrt-ep": "tensorrt",
    "tensorrt-rtx": "tensorrt-rtx",
    "tensorrt-rtx-ep": "tensorrt-rtx-ep",
}
#: Library that builds engines -> modules of which one is there if it is installed.
_MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
#: Jetsons that no version of TensorRT which TriMF supports runs on.
_OLD_JETSONS = {"sm_53": "Jetson Nano", "sm_62": "Jetson TX2", "sm_72": "Jetson Xavier"}
#: Jetsons for which engines are built on the device.
_JETSONS = {"sm_87": "Jetson Orin", "sm_110": "Jetson Thor"}


def explain_int8(path: str | Path, backend: str, *, compiling: bool = False) -> str:
    """Say how to get a bundle for a GPU instead of one that is int8 for CPUs.

    Args:
        path: Folder of the bundle, or ``default``.
        backend: Name of the backend that was requested, or the library that compiles.
        compiling: The user wants engines, not results, so another backend is no way out.
    """
    precision = "" if backend == "cuda" else " --fp16` or `--int8-qdq --calibration-data FILE"
    steps = [
        "export a checkpoint of `trimf train` for GPUs"
        f" (`trimf export CHECKPOINT --output my-gpu-model{precision}`, extra export)",
        f"on the device, {_install(backend)}",
    ]
    if backend in ("tensorrt", "tensorrt-rtx"):
        steps.append(f"`trimf compile my-gpu-model --backend {backend}`")
    if reason := cuda.explain_missing_device():
        steps[-1] += f" (this machine has {reason})"
    instead = "" if compiling else "; or use --backend cpu"
    return f"{path} is int8 for CPUs and cannot run on {backend}; {'; then '.join(steps)}{instead}"


def explain_missing_provider(backend: str, provider: str) -> str:
    """Say how to get a backend whose execution provider is not installed, or that there is no GPU for it.

    Args:
        backend: Name of the backend that was requested.
        provider: What it needs, such as "CUDAExecutionProvider, which the installed ONNX Runtime lacks".
    """
    if reason := cuda.explain_missing_device():
        return (
            f"backend {backend!r} needs an NVIDIA GPU, and this machine has {reason}; use --backend cpu here (it runs"
            f" all but bf16 bundles); a machine with a GPU also needs {provider}: run {_install(backend)}"
        )
    return f"backend {backend!r} needs {provider}; run {_install(backend)}"


def explain_missing_engines(path: str | Path, precision: str) -> str:
    """Say how to get engines for a bundle that has none, with what is missing on this machine.

    Args:
        path: Folder of the bundle.
        precision: Precision of the bundle.
    """
    if reason := cuda.explain_missing_device():
        here = "" if precision == "bf16" else "; use --backend cpu here"
        return (
            f"{path} has no engines, and this machine has {reason}{here}; on a machine with a GPU,"
            f" {_install('tensorrt')}, then `trimf compile {path}`; or build engines here:"
            f" {_compile_for_others(path, ['sm_89'])}"
        )
    builder = next(filter(is_installed, _MODULES), None)
    first = "" if builder else f"{_install('tensorrt')}, then "
    return f"{path} has no engines; {first}run `trimf compile {path} --backend {builder or 'tensorrt'}`"


def explain_missing_builder(path: str | Path, builder: str, targets: Sequence[str]) -> str:
    """Say how to get engines where the library that builds them is not installed.

    Args:
        path: Folder of the bundle, or ``default``.
        builder: Name of the library.
        targets: Compute capabilities that were requested.
    """
    reason = cuda.explain_missing_device()
    if builder == "tensorrt" and (reason or targets):
        found = f", but this machine has {reason}" if reason else ""
        return (
            f"TensorRT is not installed, and it builds only for the GPU in the machine{found}; compile on the machine"
            f" that has the GPU ({_install(builder)}), or build here: {_compile_for_others(path, targets or ['sm_89'])}"
        )
    name = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}[builder]
    target = f", and give --target, such as sm_89, because this machine has {reason}" if reason and not targets else ""
    return f"{name} is not installed; {_install(builder)}{target}"


def _compile_for_others(path: str | Path, targets: Sequence[str]) -> str:
    """Return the command that builds engines without a GPU, with the installation that it needs."""
    first = "" if is_installed("tensorrt-rtx") else f"{_install('tensorrt-rtx')}, then "
    output = " --output my-gpu-model" if str(path) == "default" else ""
    options = " ".join(f"--target {target}" for target in targets)
    return f"{first}`trimf compile {path} --backend tensorrt-rtx {options}{output}`"


def _install(backend: str) -> str:
    """Return the command that installs a backend; pip must not leave two ONNX Runtimes side by side."""
    extra = _EXTRAS.get(backend, backend)
    first = "pip uninstall -y onnxruntime onnxruntime-gpu && " if extra in ("gpu", "tensorrt") else ""
    return f'{first}pip install "trimf[{extra}]"'


def is_installed(builder: str) -> bool:
    """Return True if the library that builds engines is installed.

    Args:
        builder: Name of the library.
    """
    return any(map(find_spec, _MODULES[builder]))


def explain_jetson_target(target: str) -> str:
    """Say what to do for the GPU of a Jetson, for which TensorRT for RTX builds no engine; empty for other targets.

    Args:
        target: Compute capability, such as ``sm_87``.
    """
    if target in _JETSONS:
        return (
            f"; {target} is {_JETSONS[target]}: copy the bundle there and run `trimf compile my-gpu-model` with"
            " JetPack's TensorRT (docs/jetson.md)"
        )
    if target in _OLD_JETSONS:
        board = _OLD_JETSONS[target]
        return f"; {target} is {board}, whose JetPack is too old for TriMF: use the cpu backend there (docs/jetson.md)"
    return ""
