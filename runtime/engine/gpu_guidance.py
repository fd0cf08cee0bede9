"""Say all that a GPU backend needs and that is missing, at once, so that nobody mends one thing to meet the next."""

from __future__ import annotations

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
#: Jetsons that no version of TensorRT which TriMF supports runs on.
_OLD_JETSONS = {"sm_53": "Jetson Nano", "sm_62": "Jetson TX2", "sm_72": "Jetson Xavier"}
#: Jetsons for which engines are built on the device.
_JETSONS = {"sm_87": "Jetson Orin", "sm_110": "Jetson Thor"}


def explain_int8(path: str | Path, backend: str) -> str:
    """Say how to get a bundle for a GPU instead of one that is int8 for CPUs.

    Args:
        path: Folder of the bundle, or ``default``.
        backend: Name of the backend that was requested, or the library that compiles.
    """
    precision = "" if backend == "cuda" else " --fp16` or `--int8-qdq"
    steps = [
        f"export a checkpoint for GPUs (`trimf export CHECKPOINT --output my-gpu-model{precision}`, extra export)",
        f'on the device, pip install "trimf[{_EXTRAS.get(backend, backend)}]"',
    ]
    if backend in ("tensorrt", "tensorrt-rtx"):
        steps.append(f"`trimf compile my-gpu-model --backend {backend}`")
    if reason := cuda.explain_missing_device():
        steps[-1] += f" (this machine has {reason})"
    return f"{path} is int8 for CPUs and cannot run on {backend}; {'; then '.join(steps)}; or use --backend cpu"


def explain_missing_engines(path: str | Path) -> str:
    """Say how to get engines for a bundle that has none, with what is missing on this machine.

    Args:
        path: Folder of the bundle.
    """
    missing = []
    if reason := cuda.explain_missing_device():
        missing.append(f"this machine has {reason}")
    if not any(map(find_spec, ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"))):
        missing.append('TensorRT is not installed; pip install "trimf[tensorrt]"')
    first = f" ({'; '.join(missing)})" if missing else ""
    return f"{path} has no engines; run `trimf compile {path}` or use the cuda backend{first}"


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
