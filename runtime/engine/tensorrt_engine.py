"""Load a TensorRT engine, and check that it is what the runtime and the manifest of its bundle expect."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..bundle.manifest import Engine
from ..errors import BackendError
from .contract import AXES
from .cuda import CudaDevice
from .tensorrt_library import TensorRtLibrary

_LOG = logging.getLogger("trimf.tensorrt")

#: TensorRT's name of an element type -> numpy type; None for bfloat16, which numpy lacks.
_DTYPES: dict[str, type[np.generic] | None] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": None,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


class TensorRtEngine:
    """A loaded engine with its tensors and profiles.

    Attributes:
        manifest_entry: The engine's entry in the manifest.
        file: Name of the engine file.
        library: Library that runs the engine.
        device: Device that runs the engine.
        handle: The engine as an object of the library.
        inputs: Names of the inputs.
        shapes: Name of an input or output -> shape, with -1 for axes whose size depends on the inputs.
        element_types: Name of an input or output -> TensorRT's name of its element type.
        types: Name of an input or output -> numpy type; None for bfloat16.
        outputs: Name of an output -> shape, with None for axes whose size depends on the inputs.
        uses_cuda_graphs: True if runs are captured as CUDA graphs; set to False, with a warning, when a capture fails.
    """

    def __init__(self, library: TensorRtLibrary, device: CudaDevice, manifest_entry: Engine, content: bytes) -> None:
        """Load an engine.

        Args:
            library: Library that runs the engine.
            device: Device that runs the engine.
            manifest_entry: The engine's entry in the manifest.
            content: Content of the engine file.

        Raises:
            BackendError: If the library rejects the engine, or it differs from its entry.
        """
        self.library, self.device = library, device
        self.manifest_entry, self.file = manifest_entry, manifest_entry.file
        self.uses_cuda_graphs = True
        # The library requires that the runtime of an engine outlives the engine.
        self._runtime: Any = library.module.Runtime(library.logger)
        self.handle: Any = self._deserialize_engine(content)
        names = [self.handle.get_tensor_name(index) for index in range(self.handle.num_io_tensors)]
        modes = {name: self.handle.get_tensor_mode(name).name for name in names}
        self.inputs = tuple(name for name in names if modes[name] == "INPUT")
        self.shapes = {name: tuple(self.handle.get_tensor_shape(name)) for name in names}
        self.element_types: dict[str, str] = {name: self.handle.get_tensor_dtype(name).name for name in names}
        self._verify_engine()
        self.types = {name: _DTYPES[element_type] for name, element_type in self.element_types.items()}
        self.outputs = {
            name: tuple(None if size < 0 else size for size in self.shapes[name])
            for name in names
            if modes[name] == "OUTPUT"
        }

    def close(self) -> None:
        """Free the engine; nothing may use it afterwards."""
        self.handle = self._runtime = None

    def check_call(self, succeeded: bool, call: str, tensor: str = "") -> None:
        """Raise an error if a call of the library failed.

        Args:
            succeeded: True if the call succeeded.
            call: Name of the called function.
            tensor: Tensor that the call was about, if any.

        Raises:
            BackendError: If the call failed; the message contains the reason that the library logged.
        """
        if not succeeded:
            of_tensor = f" of {tensor}" if tensor else ""
            reason = self._last_error()
            raise BackendError(f"{self.library.title}: {call}{of_tensor} failed for {self.file}: {reason}")

    def _last_error(self) -> str:
        return self.library.pop_last_error() or "no reason given"

    def _deserialize_engine(self, content: bytes) -> Any:
        """Create the engine from its file's content, asking the library first whether this device can run it."""
        if self.library.traits.engine_validity:
            validity, diagnostics = self._runtime.get_engine_validity(content)
            causes = [
                name
                for name, cause in self.library.module.EngineInvalidityDiagnostics.__members__.items()
                if int(diagnostics) & int(cause.value)
            ]
            if validity.name == "INVALID":
                reason = ", ".join(causes) or self._last_error()
                raise BackendError(
                    f"{self.library.title} rejects {self.file}: {reason}; "
                    "run `trimf compile` on this machine or use the cuda backend"
                )
            if validity.name == "SUBOPTIMAL":
                _LOG.warning(
                    "%s is not optimal for this device and may run slowly: %s",
                    self.file,
                    ", ".join(causes),
                )
        engine = self._runtime.deserialize_cuda_engine(content)
        self.check_call(engine is not None, "deserialize_cuda_engine")
        return engine

    def _verify_engine(self) -> None:
        """Check that the tensors and profiles of the engine are those that the runtime and the manifest expect."""
        engine, profiles = self.handle, self.manifest_entry.profiles
        self._expect_equal("number of profiles", engine.num_optimization_profiles, len(profiles))
        for name, shape in self.shapes.items():
            if name not in AXES or self.element_types[name] not in _DTYPES:
                raise BackendError(
                    f"{self.file}: unknown tensor {name} of type {self.element_types[name]}; run `trimf compile` again"
                )
            self._expect_equal(f"location of {name}", engine.get_tensor_location(name).name, "DEVICE")
            named = tuple(axis is not None for axis in AXES[name])
            self._expect_equal(f"dynamic axes of {name}", tuple(size < 0 for size in shape), named)
            for index, profile in enumerate(profiles if name in self.inputs else ()):
                actual = zip(*engine.get_tensor_profile_shape(name, index), strict=True)
                for axis, limits in zip(AXES[name], actual, strict=True):
                    if axis is not None:
                        self._expect_equal(
                            f"{axis} of {name} in profile {profile.name}", limits, profile.axes.get(axis)
                        )

    def _expect_equal(self, subject: str, actual: Any, expected: Any) -> None:
        if actual != expected:
            raise BackendError(f"{self.file}: {subject} is {actual}, expected {expected}; run `trimf compile` again")
