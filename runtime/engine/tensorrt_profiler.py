"""Profile the layers of a TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .cuda_memory import Workspace
from .profiling import NodeCall, NodeTimes, summarize_runs
from .tensorrt_contexts import ExecutionContext
from .tensorrt_engine import TensorRtEngine
from .tensorrt_kernel_cache import KernelCache


class LayerProfiler:
    """Profiler of one engine, for contexts that one thread runs.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: TensorRtEngine) -> None:
        self._engine = engine
        self._runs: list[list[tuple[str, float]]] = []
        self._receiver = _create_receiver(engine.library.module, self._record_layer)

    def attach(self, context: Any) -> None:
        """Take the times of the runs of a context.

        Args:
            context: Context of the library.
        """
        context.profiler = self._receiver
        context.enqueue_emits_profile = False

    def record_run(self, context: Any) -> None:
        """Take the times of the run that a context has finished.

        Args:
            context: Context of the library.

        Raises:
            BackendError: The library has no times.
        """
        self._runs.append([])
        self._engine.check_call(context.report_to_profiler(), "report_to_profiler")

    def read(self, skip: int = 0) -> NodeTimes:
        """Return the times, and forget them.

        Args:
            skip: Number of runs to leave out, counted from the first.

        Raises:
            BackendError: There was no run after those.
        """
        runs, self._runs = self._runs, []
        library, kinds = self._engine.library, _read_layer_types(self._engine)
        times = [
            [
                NodeCall(name, kinds.get(name, ""), library.traits.title, 1000 * milliseconds)
                for name, milliseconds in run
            ]
            for run in runs
        ]
        return summarize_runs(times, skip, f"{self._engine.file} in {library.title}")

    def _record_layer(self, name: str, milliseconds: float) -> None:
        self._runs[-1].append((name, milliseconds))


class ProfiledContext(ExecutionContext):
    """Execution context that takes the time of every layer, without CUDA graphs, and waits for each run."""

    def __init__(
        self,
        engine: TensorRtEngine,
        kernel_cache: KernelCache | None,
        workspace: Workspace,
        profile: int,
        profiler: LayerProfiler,
    ) -> None:
        """Create a context.

        Args:
            engine: The engine to run.
            kernel_cache: Cache of compiled kernels; None if the library has no such cache.
            workspace: Workspace of the thread.
            profile: Index of the optimization profile.
            profiler: Receives the times.

        Raises:
            BackendError: If the library reports an error.
        """
        super().__init__(engine, kernel_cache, workspace, profile)
        self._profiler = profiler
        profiler.attach(self._context)

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Run one batch on the thread's stream, wait for it and take the times of its layers."""
        super().run(workspace, shapes, addresses)
        workspace.synchronize()
        self._profiler.record_run(self._context)

    def _create_context(self, kernel_cache: KernelCache | None) -> Any:
        engine = self._engine
        if not engine.library.traits.captures_cuda_graphs:
            return engine.handle.create_execution_context(
                engine.library.module.ExecutionContextAllocationStrategy.STATIC
            )
        return engine.handle.create_execution_context(
            self._create_config(kernel_cache, engine.library.module.CudaGraphStrategy.DISABLED)
        )


def _create_receiver(module: Any, record: Callable[[str, float], None]) -> Any:
    """Return a profiler of the library that passes the name and the milliseconds of each layer on."""

    class Receiver(module.IProfiler):  # type: ignore[misc]
        """Called once for each layer of a run; must never raise."""

        def __init__(self) -> None:
            module.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            record(layer_name, ms)

    return Receiver()


def _read_layer_types(engine: TensorRtEngine) -> dict[str, str]:
    """Return the type of each layer by its name; empty if the engine was built without a description of its layers."""
    inspector = engine.handle.create_engine_inspector()
    text = inspector.get_engine_information(engine.library.module.LayerInformationFormat.JSON)
    try:
        layers = msgspec.json.decode(text).get("Layers", ())
    except (msgspec.DecodeError, AttributeError):
        return {}
    described = [layer for layer in layers if isinstance(layer, dict)]  # without a description, a layer is its name
    return {str(layer.get("Name", "")): str(layer.get("LayerType", "")) for layer in described}
