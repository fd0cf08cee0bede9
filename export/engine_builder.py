"""Build a TensorRT engine from the ONNX file of a subgraph, and check the types its matrix products compute in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..runtime.bundle.manifest import MatmulCounts, Precision, Profile
from ..runtime.engine.cache import CACHE_WAIT_SECONDS
from ..runtime.engine.contract import EXTRA, JOINED, JOINED_PARTS
from ..runtime.engine.tensorrt_library import TensorRtLibrary
from ..runtime.errors import BackendError, BundleError, ConfigError, InputError
from ..runtime.files.atomic import atomic_path
from .profiles import input_shapes

#: Called with the progress of a build: name of the phase, completed steps, steps in total.
Progress = Callable[[str, int, int], None]

#: Minimum share of the matrix products that must be half precision or int8, in a bundle for GPUs that is not fp32.
MIN_REDUCED_SHARE = 0.9

#: Types of layers that multiply matrices.
_MATMUL_LAYERS = frozenset({"MATRIX_MULTIPLY", "EINSUM", "CONVOLUTION", "DECONVOLUTION", "ATTENTION_INPUT"})

#: Types of layers that move values without changing them.
_MOVE_LAYERS = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY"})

#: Field of ``MatmulCounts`` (in the manifest) that counts a matrix product, by the type of its first input.
_COUNTERS = {"HALF": "half", "BF16": "half", "FLOAT": "single"}

#: Path of the model as told to the ONNX parser, so that it looks for external weights where no file can exist.
_NO_SUCH_PATH = f"{os.devnull}/model.onnx"


def supported_targets(library: TensorRtLibrary) -> dict[str, Any]:
    """Return the compute capabilities that an ahead-of-time library can build for, by name (``sm_89``)."""
    members = library.module.ComputeCapability.__members__
    return {f"sm_{match[1]}": members[name] for name in members if (match := re.fullmatch(r"SM(\d+)", name))}


class NetworkSummary(NamedTuple):
    """Summary of a parsed network: its matrix products by type, and the names of the network's inputs."""

    products: MatmulCounts
    inputs: tuple[str, ...]


def summarize_network(library: TensorRtLibrary, subgraph: str, model: bytes) -> NetworkSummary:
    """Parse a subgraph with a library and count the network's matrix products by type.

    A matrix product is int8 if both inputs come from a dequantization; products of integers (shape computations) are
    not counted. Networks are strongly typed, so an engine has the types of its network.

    Args:
        library: TensorRT or TensorRT for RTX.
        subgraph: Name of the subgraph, for error messages.
        model: Contents of the ONNX file.

    Returns:
        The counts, and the names of the inputs.

    Raises:
        BackendError: The library cannot read the model.
    """
    network, _parser = _parse_network(library, subgraph, model, library.module.Builder(library.logger))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    counts = {"half": 0, "single": 0, "int8": 0}
    for layer in layers:
        if layer.type.name not in _MATMUL_LAYERS:
            continue
        inputs = [layer.get_input(index) for index in range(min(layer.num_inputs, 2))]
        counter = _COUNTERS.get(inputs[0].dtype.name)
        if counter is not None:
            counts["int8" if all(_is_dequantized(tensor, producers) for tensor in inputs) else counter] += 1
    names = tuple(network.get_input(index).name for index in range(network.num_inputs))
    return NetworkSummary(MatmulCounts(**counts), names)


def check_precision(products: Mapping[str, MatmulCounts], precision: Precision) -> list[str]:
    """Check that the subgraphs of a bundle compute in the bundle's precision.

    The minimum share applies to all subgraphs together: a small subgraph may have good reasons to stay in fp32, but is
    reported.

    Args:
        products: Matrix products of each subgraph, by type.
        precision: Precision of the bundle. fp32 always passes, and so does int8 for CPUs, which keeps in fp32 whatever
            is faster or more accurate there.

    Returns:
        A warning for each subgraph below the minimum share.

    Raises:
        BundleError: Too few matrix products are half precision or int8.
    """
    if precision in ("fp32", "int8"):
        return []
    kind = "half precision or int8" if precision == "int8-qdq" else "half precision"
    counts = {name: (_count_reduced(counted), counted.total) for name, counted in products.items()}
    all_reduced, all_products = (sum(column) for column in zip(*counts.values(), strict=True))
    if all_reduced < MIN_REDUCED_SHARE * all_products:
        parts = ", ".join(f"{name} {reduced} of {total}" for name, (reduced, total) in counts.items())
        raise BundleError(
            f"only {all_reduced / all_products:.0%} of the matrix products are {kind} ({all_reduced} of {all_products}:"
            f" {parts}), but at least {MIN_REDUCED_SHARE:.0%} must be; re-export the bundle as {precision}"
        )
    if precision == "int8-qdq" and not any(counted.int8 for counted in products.values()):
        raise BundleError(
            f"none of the {all_products} matrix products is int8, but the bundle is marked {precision}; re-export it"
        )
    return [
        f"{name}: {reduced} of {total} matrix products are {kind}"
        for name, (reduced, total) in counts.items()
        if reduced < MIN_REDUCED_SHARE * total
    ]


def build_engine(
    library: TensorRtLibrary,
    subgraph: str,
    model: bytes,
    profiles: Sequence[Profile],
    *,
    target: str,
    workspace_mb: int | None = None,
    timing_cache: Path | None = None,
    on_progress: Progress = lambda *_: None,
) -> bytes:
    """Build an engine of a subgraph.

    A keyboard interrupt stops the build.

    Args:
        library: TensorRT or TensorRT for RTX.
        subgraph: Name of the subgraph, for error messages.
        model: Contents of the ONNX file.
        profiles: Optimization profiles: the minimum, tuned and maximum size of every dynamic axis.
        target: Compute capability, such as ``sm_89``. Only an ahead-of-time library can build for any target; others
            build for the GPU in this machine.
        workspace_mb: Limit on the device memory that a single layer may use, in MiB; by default the library's.
        timing_cache: File of kernel timings, read before and updated after the build if the library has such a cache.
        on_progress: Called with the progress of the build, from other threads.

    Returns:
        The serialized engine.

    Raises:
        BackendError: The library cannot read the model or build the engine, or the timing cache cannot be used.
        ConfigError: The library cannot build for the target.
    """
    trt = library.module
    builder = trt.Builder(library.logger)
    network, _parser = _parse_network(library, subgraph, model, builder)
    config = builder.create_builder_config()
    # fp32 must be true single precision: TF32 has only the mantissa of fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    # The engine inspector reports the types of each layer only at this verbosity.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    if library.traits.ahead_of_time:
        _set_target(library, config, target)
    for profile in profiles:
        _add_profile(library, subgraph, builder, network, config, profile)
    cache_path = timing_cache if library.traits.timing_cache else None
    if cache_path is not None:
        _read_timing_cache(config, cache_path)
    monitor = _create_monitor(trt, on_progress)
    config.progress_monitor = monitor
    library.pop_last_error()
    memory = _run_interruptibly(lambda: builder.build_serialized_network(network, config), monitor)
    if memory is None:
        reason = library.pop_last_error() or "no reason given"
        raise BackendError(f"{library.title} cannot build {subgraph} for {target}: {reason}")
    if cache_path is not None:
        with _translate_cache_errors(cache_path), atomic_path(cache_path, wait=CACHE_WAIT_SECONDS) as path:
            path.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(memory)


def _parse_network(library: TensorRtLibrary, subgraph: str, model: bytes, builder: Any) -> tuple[Any, Any]:
    """Return the network of a model and its parser, which must stay alive until the network is built."""
    network = library.create_strongly_typed_network(builder)
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse(model, _NO_SUCH_PATH):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(" ".join(f"{error.node_operator()} {error.desc()}".split()) for error in errors)
        raise BackendError(f"{library.title} cannot read {_name_model(subgraph)}: {reasons}")
    for output in [network.get_output(index) for index in range(network.num_outputs)]:
        if output.name in EXTRA:
            network.unmark_output(output)
    return network, parser


def _name_model(subgraph: str) -> str:
    """Return the name of a model for messages: its file, or the files that it was joined from."""
    if subgraph != JOINED:
        return f"{subgraph}.onnx"
    return f"the graph of {', '.join(f'{part}.onnx' for part in JOINED_PARTS)}"


def _count_reduced(products: MatmulCounts) -> int:
    """Count the matrix products in half precision or int8."""
    return products.half + products.int8


def _is_dequantized(tensor: Any, producers: Mapping[str, Any]) -> bool:
    """Check whether a tensor comes from a dequantization of int8, possibly reshaped or transposed on the way."""
    layer = producers.get(tensor.name)
    while layer is not None and layer.type.name in _MOVE_LAYERS:
        layer = producers.get(layer.get_input(0).name)
    return layer is not None and layer.type.name == "DEQUANTIZE" and layer.get_input(0).dtype.name == "INT8"


def _set_target(library: TensorRtLibrary, config: Any, target: str) -> None:
    """Set the compute capability that an ahead-of-time library builds for."""
    supported = supported_targets(library)
    if target not in supported:
        raise ConfigError(f"{library.title} cannot build engines for {target}; choose from {', '.join(supported)}")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(supported[target], 0):
        raise BackendError(f"{library.title} rejected target {target}: {library.pop_last_error()}")


def _add_profile(
    library: TensorRtLibrary, subgraph: str, builder: Any, network: Any, config: Any, profile: Profile
) -> None:
    """Add an optimization profile with the shapes of every input of the network."""
    optimization = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        optimization.set_shape(tensor.name, *input_shapes(profile, tensor.name, tuple(tensor.shape)))
    if config.add_optimization_profile(optimization) < 0:
        raise BackendError(f"{library.title} rejected profile {profile.name} of {subgraph}: {library.pop_last_error()}")


def _read_timing_cache(config: Any, path: Path) -> None:
    """Load the timing cache; start with an empty one if the file is missing or from another device or version."""
    with _translate_cache_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


@contextmanager
def _translate_cache_errors(path: Path) -> Iterator[None]:
    """Raise a BackendError instead of an OSError of the timing cache."""
    try:
        yield
    except InputError as error:
        raise BackendError(f"timing cache {error}; set XDG_CACHE_HOME to a writable folder") from error
    except OSError as error:
        raise BackendError(f"timing cache {path}: {error.strerror}; set XDG_CACHE_HOME to a writable folder") from error


def _create_monitor(trt: Any, on_progress: Progress) -> Any:
    """Create the progress monitor of a build.

    An exception inside the builder's callbacks would end the process. The monitor therefore stores it and stops the
    build; ``_run_interruptibly`` raises it.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.stopped = False
            self.error: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self.report(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.report(phase_name, step + 1)
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            self.report(phase_name, self.steps.get(phase_name, 0))

        def report(self, phase: str, completed: int) -> None:
            try:
                on_progress(phase, completed, self.steps.get(phase, completed))
            except BaseException as error:
                self.error = error
                self.stopped = True

    return Monitor()


def _run_interruptibly(work: Callable[[], Any], monitor: Any) -> Any:
    """Run a build in a worker thread, so that the calling thread can react to a keyboard interrupt."""
    with ThreadPoolExecutor(1, "trimf-build") as pool:
        future = pool.submit(work)
        try:
            result = future.result()
        except BaseException:
            monitor.stopped = True
            raise
    if monitor.error is not None:
        raise monitor.error
    return result
