"""Import ONNX Runtime, here and nowhere else: with its telemetry off, and with a clear error where it is missing.

Official builds of ONNX Runtime since 1.29 write a device identifier and an event store into the user's home folder and
send events to their maker, unless ``ORT_DISABLE_TELEMETRY`` is set before they are imported. The package sets it (see
``trimf/__init__.py``) and keeps a value that the user has set.

ONNX Runtime comes as one of two distributions, ``onnxruntime`` and ``onnxruntime-gpu``. Both write the same package
folder, so only one of them works in an environment.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from ..errors import BackendError, one_line

_LOG = logging.getLogger("trimf")

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")

#: Lowest version that has the operators of all graphs, as pyproject.toml states it.
LOWEST_VERSION = (1, 21)

#: Commands that leave exactly one distribution installed, whatever was there before.
INSTALL_GPU = 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "trimf[gpu]"'
INSTALL_CPU = 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "trimf[cpu]"'


def installed_distributions() -> list[str]:
    """Return which of ``DISTRIBUTIONS`` are installed, as ``name version``."""
    from importlib.metadata import PackageNotFoundError, version

    names = []
    for name in DISTRIBUTIONS:
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return names


def conflict_warning(names: list[str]) -> str | None:
    """Return a line that says how to mend an environment with both distributions, or None where there is no conflict.

    Args:
        names: what ``installed_distributions`` returned.
    """
    if len(names) < 2:
        return None
    return (
        f"{' and '.join(names)} are both installed and overwrite each other; keep one: "
        f"{INSTALL_GPU} for an NVIDIA GPU, or {INSTALL_CPU}"
    )


def check_version(version: str) -> None:
    """Refuse a version of ONNX Runtime that is too old for the graphs of bundles.

    Args:
        version: the version, such as 1.21.0.

    Raises:
        BackendError: it is older than ``LOWEST_VERSION``.
    """
    found = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if found < LOWEST_VERSION:
        lowest = ".".join(map(str, LOWEST_VERSION))
        raise BackendError(
            f"ONNX Runtime {version} is too old: the graphs of a bundle need {lowest} or later; {INSTALL_CPU}, or "
            f"{INSTALL_GPU} for an NVIDIA GPU"
        )


def missing_error(error: ImportError, names: list[str]) -> BackendError:
    """Return the error for an environment in which ONNX Runtime cannot be imported.

    Args:
        error: what the import raised.
        names: what ``installed_distributions`` returned.
    """
    if names:
        reason = f"{' and '.join(names)} cannot be imported ({one_line(error)}); reinstall: {INSTALL_CPU}"
        return BackendError(f"{reason}, or {INSTALL_GPU} for an NVIDIA GPU")
    return BackendError(
        'ONNX Runtime is not installed; pip install "trimf[cpu]", or pip install "trimf[gpu]" for an NVIDIA GPU'
    )


try:
    import onnxruntime
except ImportError as _error:
    raise missing_error(_error, installed_distributions()) from _error

check_version(onnxruntime.__version__)

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
    # The application may have imported ONNX Runtime before TriMF could set the variable.
    onnxruntime.disable_telemetry_events()

# Reading the metadata of distributions takes 10 ms: they are read only where several share the folder of ONNX Runtime.
if len(list(Path(onnxruntime.__file__).parents[1].glob("onnxruntime*-info"))) > 1 and (
    _warning := conflict_warning(installed_distributions())
):
    _LOG.warning("%s", _warning)

__all__ = ["DISTRIBUTIONS", "INSTALL_CPU", "INSTALL_GPU", "conflict_warning", "installed_distributions", "onnxruntime"]
