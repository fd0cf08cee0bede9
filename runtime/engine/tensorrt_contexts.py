"""Run TensorRT engines in execution contexts, with CUDA graphs that the library captures or that TriMF captures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import BackendError
from .cuda_memory import Workspace
from .tensorrt_engine import TensorRtEngine
from .tensorrt_kernel_cache import KernelCache

_LOG = logging.getLogger("trimf.tensorrt")


class ExecutionContext:
    """Execution context of one thread and one profile, for a library that captures CUDA graphs itself."""

    def __init__(
        self, engine: TensorRtEngine, kernel_cache: KernelCache | None, workspace: Workspace, profile: int
    ) -> None:
        """Create a context.

        Args:
            engine: The engine to run.
            kernel_cache: Cache of compiled kernels; None if the library has no such cache.
            workspace: Workspace of the thread.
            profile: Index of the optimization profile.

        Raises:
            BackendError: If the library reports an error.
        """
        self._engine = engine
        self._context: Any = self._create_context(kernel_cache)
        engine.check_call(self._context is not None, "create_execution_context")
        succeeded = self._context.set_optimization_profile_async(profile, workspace.stream)
        engine.check_call(succeeded, "set_optimization_profile_async")

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Enqueue one batch on the thread's stream.

        Args:
            workspace: Workspace of the calling thread.
            shapes: Name of an input or output -> padded shape.
            addresses: Name of an input or output -> device address.
        """
        self._bind_tensors(shapes, addresses)
        self._enqueue_batch(workspace)

    def close(self) -> None:
        """Free the context."""
        self._context = None

    def _create_context(self, kernel_cache: KernelCache | None) -> Any:
        strategy = self._engine.library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.handle.create_execution_context(self._create_config(kernel_cache, strategy))

    def _create_config(self, kernel_cache: KernelCache | None, cuda_graph_strategy: Any) -> Any:
        """Return the configuration of a context, for a library that captures CUDA graphs itself."""
        engine = self._engine
        config = engine.handle.create_runtime_config()
        engine.check_call(config is not None, "create_runtime_config")
        config.cuda_graph_strategy = cuda_graph_strategy
        if kernel_cache:
            engine.check_call(config.set_runtime_cache(kernel_cache.handle), "set_runtime_cache")
        return config

    def _bind_tensors(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        context, check = self._context, self._engine.check_call
        for name in self._engine.inputs:
            check(context.set_input_shape(name, shapes[name]), "set_input_shape", name)
        for name, address in addresses.items():
            check(context.set_tensor_address(name, address), "set_tensor_address", name)
        for name in self._engine.outputs:  # the library would write past the end of a buffer that is too small
            actual = tuple(context.get_tensor_shape(name))
            check(actual == shapes[name], f"get_tensor_shape (got {actual}, expected {shapes[name]})", name)

    def _enqueue_batch(self, workspace: Workspace) -> None:
        self._engine.check_call(self._context.execute_async_v3(workspace.stream), "execute_async_v3")


class CapturingContext(ExecutionContext):
    """Execution context of one thread and one bucket; the first run is captured as a CUDA graph, which is replayed."""

    def __init__(
        self, engine: TensorRtEngine, kernel_cache: KernelCache | None, workspace: Workspace, profile: int
    ) -> None:
        super().__init__(engine, kernel_cache, workspace, profile)
        self._scratch_size = int(engine.handle.get_device_memory_size_for_profile_v2(profile))
        self._graph: int | None = None
        self._captured_addresses: dict[str, int] = {}

    def run(self, workspace: Workspace, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """Enqueue one batch on the thread's stream, by launching the captured graph if its addresses match."""
        device, stream = workspace.device, workspace.stream
        scratch = workspace.reserve_buffer("scratch", self._scratch_size).address
        used_addresses = {"scratch": scratch, **addresses}
        if self._graph is not None and self._captured_addresses == used_addresses:
            device.launch_graph(self._graph, stream)
            return
        self._free_graph()  # a buffer has grown and moved since the capture
        self._context.set_device_memory(scratch, self._scratch_size)
        self._bind_tensors(shapes, addresses)
        self._enqueue_batch(workspace)  # warm-up: for new shapes, the library does work that cannot be captured
        if self._engine.uses_cuda_graphs:
            self._capture_graph(workspace)
            self._captured_addresses = used_addresses

    def close(self) -> None:
        """Free the context and its graph."""
        self._free_graph()
        super().close()

    def _create_context(self, kernel_cache: KernelCache | None) -> Any:
        # The contexts of a thread never run at the same time, so they share the memory for intermediate results.
        strategy = self._engine.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        return self._engine.handle.create_execution_context(strategy)

    def _capture_graph(self, workspace: Workspace) -> None:
        device, stream = workspace.device, workspace.stream
        try:
            device.begin_capture(stream)
            try:
                self._enqueue_batch(workspace)
            finally:
                graph = device.end_capture(stream)
        except BackendError as error:
            self._engine.uses_cuda_graphs = False
            _LOG.warning("%s runs without CUDA graphs, which is slower: %s", self._engine.file, error)
        else:
            self._graph = graph

    def _free_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._engine.device.free_graph(graph)
