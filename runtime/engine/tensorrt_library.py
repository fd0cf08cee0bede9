"""Find and import TensorRT or TensorRT for RTX, the libraries that build and run engines, and list their features."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

from ..bundle.manifest import Builder
from ..errors import BackendError, one_line

_LOG = logging.getLogger("trimf.tensorrt")
_LOG.addHandler(logging.NullHandler())  # silent until the application configures logging; errors are raised as well

#: Severity of the library -> level of ``logging``.
_LOG_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "INFO": logging.INFO,
    "VERBOSE": logging.DEBUG,
}

#: Parts of warnings that appear in every build although nothing is wrong; they are logged at level DEBUG.
_HARMLESS_WARNINGS = ("Int64 binding",)


@dataclass(frozen=True)
class LibraryTraits:
    """What is known of a library before it is imported.

    Attributes:
        name: Name of the library in manifests, and of the extra that installs it.
        title: Display name.
        modules: Names under which it may be importable.
        oldest_version: Oldest supported version.
        ahead_of_time: True if it builds for a compute capability without a GPU; the device compiles the kernels when it
            loads the engine.
        timing_cache: True if it can store measured kernel times of this GPU between builds.
        runtime_cache: True if it can store the kernels that the device compiled, so that the next start is fast.
        captures_cuda_graphs: True if it captures CUDA graphs itself (``IRuntimeConfig.cuda_graph_strategy``).
        engine_validity: True if it can explain why this device cannot run an engine
            (``Runtime.get_engine_validity``).
    """

    name: Builder
    title: str
    modules: tuple[str, ...]
    oldest_version: tuple[int, int]
    ahead_of_time: bool
    timing_cache: bool
    runtime_cache: bool
    captures_cuda_graphs: bool
    engine_validity: bool


TENSORRT = LibraryTraits(
    name="tensorrt",
    title="TensorRT",
    modules=("tensorrt",),
    oldest_version=(10, 1),  # caller-provided device memory by profile
    ahead_of_time=False,
    timing_cache=True,
    runtime_cache=False,
    captures_cuda_graphs=False,
    engine_validity=False,
)

TENSORRT_RTX = LibraryTraits(
    name="tensorrt-rtx",
    title="TensorRT for RTX",
    modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),  # the PyPI wheels only have the second
    oldest_version=(1, 2),  # built-in CUDA graphs
    ahead_of_time=True,
    # It has one, but according to its release notes that does not change the engine and makes a build need a GPU.
    timing_cache=False,
    runtime_cache=True,
    captures_cuda_graphs=True,
    engine_validity=True,
)

_TRAITS: dict[Builder, LibraryTraits] = {traits.name: traits for traits in (TENSORRT, TENSORRT_RTX)}


@dataclass(frozen=True)
class TensorRtLibrary:
    """TensorRT or TensorRT for RTX, imported.

    Attributes:
        traits: What distinguishes it from the other library.
        module: Its Python module.
        version: Its full version, such as ``1.7.1.116``.
        logger: Logger for its builders and runtimes; writes to the Python logger ``trimf.tensorrt``.
    """

    traits: LibraryTraits
    module: Any
    version: str
    logger: Any

    @property
    def name(self) -> Builder:
        """Name of the library in manifests."""
        return self.traits.name

    @property
    def title(self) -> str:
        """Display name and version of the library."""
        return f"{self.traits.title} {self.version}"

    def pop_last_error(self) -> str:
        """Return the last error logged since the previous call, as one line, and forget it; empty if there was none."""
        message: str = self.logger.last_error
        self.logger.last_error = ""
        return message

    def create_strongly_typed_network(self, builder: Any) -> Any:
        """Create an empty network whose tensor types are those of the ONNX graph.

        TensorRT 10 needs a flag for this; TensorRT 11 and TensorRT for RTX always do it and ignore the flag.

        Args:
            builder: Builder of the library.
        """
        return builder.create_network(1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))


@functools.cache
def import_library(builder: Builder) -> TensorRtLibrary:
    """Import a library.

    Args:
        builder: Name of the library.

    Raises:
        BackendError: If it is not installed, cannot be imported, or is too old.
    """
    traits = _TRAITS[builder]
    hint = f'pip install "trimf[{builder}]"'
    name = next((name for name in traits.modules if importlib.util.find_spec(name)), None)
    if name is None:
        raise BackendError(f"{traits.title} is not installed; {hint}")
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        reason = one_line(error)
        raise BackendError(f"{traits.title} is installed but cannot be imported: {reason}; {hint}") from error
    return describe_library(builder, module)


def describe_library(builder: Builder, module: Any) -> TensorRtLibrary:
    """Build the description of a library from its imported module.

    Args:
        builder: Name of the library.
        module: Its Python module.

    Raises:
        BackendError: If it is too old.
    """
    version = str(module.__version__)
    traits = _TRAITS[builder]
    oldest = traits.oldest_version
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        raise BackendError(
            f"{traits.title} {version} is too old (need {oldest[0]}.{oldest[1]} or later);"
            f' pip install --upgrade "trimf[{builder}]"'
        )
    return TensorRtLibrary(traits, module, version, _make_logger(module))


def _make_logger(module: Any) -> Any:
    """Return a logger for the library that forwards its messages to ``logging``."""

    class Logger(module.ILogger):  # type: ignore[misc]
        """Forward messages to ``logging``. Called from any thread, even at interpreter exit; must never raise."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.last_error = ""

        def log(self, severity: Any, message: str) -> None:
            level = _LOG_LEVELS.get(severity.name, logging.WARNING)
            if level >= logging.ERROR:
                self.last_error = " ".join(message.split())
            if level == logging.WARNING and any(part in message for part in _HARMLESS_WARNINGS):
                level = logging.DEBUG
            _LOG.log(level, "%s", message)

    return Logger()
