"""Open the subgraphs of a bundle with ONNX Runtime on a GPU, and check that they run there."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from ..errors import BackendError, one_line
from .backend import BundleFiles, resolve_thread_count
from .contract import FUSED_FILES, FUSED_WEIGHTS, list_subgraphs
from .onnx_cpu import make_session_options, share_weights
from .onnx_device import OnnxGpuSubgraph
from .onnx_device_memory import DEVICE_LOCK
from .onnx_profiler import OnnxProfiler
from .onnx_providers import PROVIDERS
from .onnxruntime_library import onnxruntime
from .profiling import ProfiledSubgraph

_LOG = logging.getLogger("trimf")

#: First ONNX Runtime version whose GatherND and batched MatMul replay correctly from a CUDA graph. Earlier versions
#: read host memory that was freed after the capture (pull requests 32120 and 32121 of microsoft/onnxruntime). The
#: environment variable TRIMF_CUDA_GRAPHS=0 disables CUDA graphs.
CUDA_GRAPHS_SINCE = (1, 32)

#: The same for fused graphs, which have no such operators.
FUSED_CUDA_GRAPHS_SINCE = (1, 31)


class OnnxGpuBackend:
    """ONNX Runtime on a GPU, with one of the execution providers in ``PROVIDERS``.

    Args:
        name: Name of the backend, a key of ``PROVIDERS``.
        reason: Why this backend was selected, for display.
        threads: Number of intra-op threads for nodes that run on the CPU; 1 by default.

    Raises:
        BackendError: If the provider is not installed or has no device, or if ``threads`` is not positive.
    """

    def __init__(self, name: str, reason: str = "requested", threads: int | None = None) -> None:
        self.name, self.reason = name, reason
        self.threads = resolve_thread_count(threads, 1)
        self._provider = PROVIDERS[name]
        self._devices = self._provider.prepare()

    def choose_subgraphs(self, files: BundleFiles, uses_model_parser: bool) -> tuple[str, ...]:
        """Return the names of the graphs to open: the fused ones where the provider runs them and the bundle has them.

        Args:
            files: The bundle.
            uses_model_parser: Whether sentences are parsed by the model itself.
        """
        relations = files.manifest.labels.has_relations
        joined = list_subgraphs(relations=relations, joined=True)
        has_fused = files.manifest.files.keys() >= {FUSED_FILES[name] for name in joined}
        fused = self._provider.fuses and uses_model_parser and has_fused
        return joined if fused else list_subgraphs(relations=relations)

    def name_file(self, name: str, files: BundleFiles) -> str:
        """Return the name of the ONNX file of a subgraph: the fused one where the provider runs it and it exists.

        Args:
            name: Name of the subgraph.
            files: The bundle.
        """
        file = FUSED_FILES.get(name)
        if file is not None and self._provider.fuses and file in files.manifest.files:
            return file
        return f"{name}.onnx"

    def open(self, name: str, files: BundleFiles) -> OnnxGpuSubgraph:
        """Load a subgraph of a bundle.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: See ``load``.
            BundleError: If the file is missing or damaged.
        """
        return self._open(name, files, None)

    def open_profiled(self, name: str, files: BundleFiles) -> ProfiledSubgraph:
        """Load a subgraph of a bundle together with a profiler of its nodes.

        The process needs the variables of ``list_profiling_variables`` from its start.

        Args:
            name: Name of the subgraph.
            files: The bundle.

        Raises:
            BackendError: See ``load``.
            BundleError: If the file is missing or damaged.
        """
        profiler = OnnxProfiler(name)
        return ProfiledSubgraph(self._open(name, files, profiler), profiler)

    def _open(self, name: str, files: BundleFiles, profiler: OnnxProfiler | None) -> OnnxGpuSubgraph:
        file = self.name_file(name, files)
        weights = FUSED_WEIGHTS[name] if file == FUSED_FILES.get(name) else ()
        return self.load(name, files.read(file), {other: files.read(other) for other in weights}, profiler)

    def load(
        self,
        name: str,
        model: bytes,
        weights: Mapping[str, bytes] | None = None,
        profiler: OnnxProfiler | None = None,
    ) -> OnnxGpuSubgraph:
        """Load a subgraph from the bytes of its ONNX file.

        Args:
            name: Name of the subgraph.
            model: Content of the ONNX file; weights outside the file are refused.
            weights: Content of the other files of the bundle that it may take weights from, by name.
            profiler: Profiler of the session, if it is to be profiled; then no CUDA graphs are captured, because nodes
                have no time of their own in them.

        Raises:
            BackendError: If ONNX Runtime cannot load it, falls back to another provider, or assigns one of its matrix
                products to another provider.
        """
        with DEVICE_LOCK:
            since = FUSED_CUDA_GRAPHS_SINCE if weights else CUDA_GRAPHS_SINCE
            use_cuda_graphs = profiler is None and self._provider.uses_cuda_graphs and _supports_cuda_graphs(since)
            session, uses_cuda_graphs = self._create_session(name, model, weights or {}, use_cuda_graphs, profiler)
        self._check_assignment(name, session)
        if profiler:
            profiler.attach(session)
        return OnnxGpuSubgraph(session, name, self.name, self._provider, uses_cuda_graphs)

    def _create_session(
        self,
        name: str,
        model: bytes,
        weights: Mapping[str, bytes],
        use_cuda_graphs: bool,
        profiler: OnnxProfiler | None,
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        """Create a session, without CUDA graphs if it cannot capture them; also return whether it captures them."""
        provider = self._provider
        options = make_session_options(self.threads)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if profiler:
            profiler.configure(options)
        share_weights(options, weights)
        try:
            settings = provider.make_options(model) | ({"enable_cuda_graph": "1"} if use_cuda_graphs else {})
            providers: list[Any] | None = [(provider.name, settings), *provider.fallback_providers]
            if self._devices:
                options.add_provider_for_devices(self._devices, settings)
                providers = None
            session = onnxruntime.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except BackendError:
            raise
        except Exception as error:
            if use_cuda_graphs:
                _LOG.info("%s.onnx runs on backend %r without CUDA graphs: %s", name, self.name, one_line(error))
                return self._create_session(name, model, weights, False, profiler)
            version = onnxruntime.__version__
            raise BackendError(
                f"ONNX Runtime {version} cannot load {name}.onnx on backend {self.name!r}: {one_line(error)}"
            ) from error
        return session, use_cuda_graphs

    def _check_assignment(self, name: str, session: onnxruntime.InferenceSession) -> None:
        """Check that the session uses the requested provider, and for all of its matrix products."""
        expected, actual = self._provider.name, session.get_providers()[0]
        if actual != expected:
            raise BackendError(
                f"ONNX Runtime {onnxruntime.__version__} could not start {expected} for {name}.onnx and fell back to "
                f"{actual}: no NVIDIA device or driver, or incompatible CUDA, cuDNN or TensorRT libraries; "
                "check nvidia-smi, or use the cpu backend"
            )
        if not hasattr(session, "get_provider_graph_assignment_info"):
            _LOG.warning(
                "ONNX Runtime %s does not report which provider runs which node of %s.onnx",
                onnxruntime.__version__,
                name,
            )
            return
        misplaced = sorted(
            {
                f"{node.op_type} on {part.ep_name}"
                for part in session.get_provider_graph_assignment_info()
                for node in part.get_nodes()
                if part.ep_name != expected and ("MatMul" in node.op_type or node.op_type == "Gemm")
            }
        )
        if misplaced:
            raise BackendError(
                f"{expected} does not run all matrix products of {name}.onnx ({', '.join(misplaced)}); "
                "use the cpu backend, or a bundle exported for GPUs (--fp16 or fp32)"
            )


def _supports_cuda_graphs(since: tuple[int, int]) -> bool:
    """Return True if this ONNX Runtime replays CUDA graphs correctly and the user did not disable them."""
    if os.environ.get("TRIMF_CUDA_GRAPHS") == "0":
        return False
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < since:
        _LOG.info("CUDA graphs are disabled: they need ONNX Runtime %d.%d or later, got %d.%d", *since, *version)
    return version >= since
