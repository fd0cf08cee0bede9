"""The libraries that build and run engines, TensorRT and TensorRT for RTX: finding them, and what each can do."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BackendError, line
from .manifest import Builder

_LOG = logging.getLogger("trimf.tensorrt")
_LOG.addHandler(logging.NullHandler())  # silent until the application sets logging up; errors are raised as well

_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}

#: What a library says at this level on every build, though nothing is amiss.
_HARMLESS = ("Int64 binding",)

#: What each can do. TensorRT for RTX has a timing cache too, which changes no engine but makes a build need a GPU (so
#: its release notes).
_FEATURES: dict[Builder, dict[str, bool]] = {
    "tensorrt": {
        "ahead_of_time": False,
        "timing_cache": True,
        "runtime_cache": False,
        "own_cuda_graphs": False,
        "engine_validity": False,
    },
    "tensorrt-rtx": {
        "ahead_of_time": True,
        "timing_cache": False,
        "runtime_cache": True,
        "own_cuda_graphs": True,
        "engine_validity": True,
    },
}

#: Modules by the name they may have; the wheels on PyPI lack the one that the SDK's wheel has.
_MODULES: dict[Builder, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}

#: Oldest releases with all that is used: device memory of the caller, by profile (10.1); CUDA graphs of its own (1.2).
_OLDEST: dict[Builder, tuple[int, int]] = {"tensorrt": (10, 1), "tensorrt-rtx": (1, 2)}

_TITLES: dict[Builder, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}


@dataclass(frozen=True)
class Library:
    """One of the two libraries, imported.

    Attributes:
        name: which, as manifests call it.
        module: its Python module.
        version: its full version, as in ``1.7.1.116``.
        logger: what its builders and runtimes take; writes to the logger ``trimf.tensorrt``.
        ahead_of_time: builds for a compute capability without a GPU; the device compiles the kernels when it loads.
        timing_cache: remembers between builds how fast each kernel was on this GPU.
        runtime_cache: keeps the kernels that the device compiled, so that the next start is fast.
        own_cuda_graphs: captures CUDA graphs by itself (``IRuntimeConfig.cuda_graph_strategy``).
        engine_validity: says of an engine's bytes why this device cannot run them (``Runtime.get_engine_validity``).
    """

    name: Builder
    module: Any
    version: str
    logger: Any
    ahead_of_time: bool
    timing_cache: bool
    runtime_cache: bool
    own_cuda_graphs: bool
    engine_validity: bool

    @property
    def title(self) -> str:
        """Its name and version for people."""
        return f"{_TITLES[self.name]} {self.version}"

    def last_error(self) -> str:
        """The last error that the library logged since this was last asked, on one line; empty if there was none."""
        message: str = self.logger.last_error
        self.logger.last_error = ""
        return message

    def strongly_typed_network(self, builder: Any) -> Any:
        """A new network of a builder, whose types are those of its graph.

        TensorRT 10 must be told to; TensorRT 11 and TensorRT for RTX do it always and ignore the flag.
        """
        return builder.create_network(1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


def cache_folder() -> Path:
    """Where this user's caches of TriMF lie: ``trimf`` in ``$XDG_CACHE_HOME``, if that is absolute, or ``~/.cache``."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "trimf"


@functools.cache
def find(builder: Builder) -> Library:
    """Import a library.

    Raises:
        BackendError: it is not installed, cannot be imported, or is too old.
    """
    way_out = f'pip install "trimf[{builder}]"'
    name = next((name for name in _MODULES[builder] if importlib.util.find_spec(name)), None)
    if name is None:
        raise BackendError(f"{_TITLES[builder]} is not installed; {way_out}")
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        reason = line(error)
        raise BackendError(f"{_TITLES[builder]} is installed but cannot be imported: {reason}; {way_out}") from error
    return describe(builder, module)


def describe(builder: Builder, module: Any) -> Library:
    """A library from its imported module.

    Raises:
        BackendError: it is too old.
    """
    version = str(module.__version__)
    oldest = _OLDEST[builder]
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        raise BackendError(
            f"{_TITLES[builder]} {version} is too old, {oldest[0]}.{oldest[1]} or later is needed;"
            f' pip install --upgrade "trimf[{builder}]"'
        )
    return Library(builder, module, version, _logger(module), **_FEATURES[builder])


def _logger(module: Any) -> Any:
    """A logger of the library that hands its messages to :mod:`logging`."""

    class Logger(module.ILogger):  # type: ignore[misc]
        """Called from any thread, also while the interpreter shuts down; must never raise."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            level = _LEVELS.get(severity.name, logging.WARNING)
            if level >= logging.ERROR:
                self.last_error = " ".join(message.split())
            if level == logging.WARNING and any(part in message for part in _HARMLESS):
                level = logging.DEBUG
            _LOG.log(level, "%s", message)

    return Logger()
