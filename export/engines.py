"""One subgraph, from the bytes of its ONNX file to the bytes of an engine; and the proof of its types."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..runtime.backend import EXTRA
from ..runtime.errors import BackendError, BundleError, ConfigError
from ..runtime.files import atomic_path
from ..runtime.manifest import Precision, Products, Profile
from ..runtime.tensorrt_library import Library
from . import profiles as ranges

#: Hears of a build's progress: the phase, the steps of it that are done, and how many it has.
Progress = Callable[[str, int, int], None]

#: Of the matrix products of a bundle for GPUs that is not fp32, how many must take numbers smaller than that.
LEAST_SHARE = 0.9

#: Layers that multiply matrices.
_MULTIPLY = frozenset({"MATRIX_MULTIPLY", "EINSUM", "CONVOLUTION", "DECONVOLUTION", "ATTENTION_INPUT"})

#: Layers that move numbers without changing them.
_MOVE = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY"})

_TYPES = {"HALF": "half", "BF16": "half", "FLOAT": "single"}

#: A parser given this path looks for weights outside the model where no file can lie.
_NOWHERE = f"{os.devnull}/model.onnx"


def targets(library: Library) -> dict[str, Any]:
    """The compute capabilities that an ahead-of-time library builds for, by name (``sm_89``)."""
    members = library.module.ComputeCapability.__members__
    return {f"sm_{match[1]}": members[name] for name in members if (match := re.fullmatch(r"SM(\d+)", name))}


class Examined(NamedTuple):
    """What a subgraph holds: its matrix products by the types of their inputs, and the names of its own inputs."""

    products: Products
    inputs: tuple[str, ...]


def examine(library: Library, subgraph: str, model: bytes) -> Examined:
    """Look at a subgraph as the library reads it.

    A product's input is int8 where it comes from a dequantization; products of integers (shapes) do not count.
    Networks are strongly typed, so an engine's types are those of its network.

    Raises:
        BackendError: the library cannot read the model.
    """
    network, _parser = _parse(library, subgraph, model, library.module.Builder(library.logger))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(place).name: layer for layer in layers for place in range(layer.num_outputs)}
    counts = {"half": 0, "single": 0, "int8": 0}
    for layer in layers:
        if layer.type.name not in _MULTIPLY:
            continue
        inputs = [layer.get_input(place) for place in range(min(layer.num_inputs, 2))]
        kind = _TYPES.get(inputs[0].dtype.name)
        if kind is not None:
            counts["int8" if all(_dequantized(tensor, makers) for tensor in inputs) else kind] += 1
    names = tuple(network.get_input(place).name for place in range(network.num_inputs))
    return Examined(Products(**counts), names)


def check(products: Mapping[str, Products], precision: Precision) -> list[str]:
    """Make sure that subgraphs compute in the precision they are said to have; returns what is still worth saying.

    The rule is for all products together: a small subgraph may stay in fp32 for good reasons, but is named.

    Raises:
        BundleError: too few products are half precision or int8.
    """
    if precision in ("fp32", "int8"):  # int8 for CPUs leaves in fp32 whatever is faster or better there
        return []
    kind = "half precision or int8" if precision == "int8-qdq" else "half precision"
    low = {name: (_low(one), one.total) for name, one in products.items()}
    done, total = (sum(column) for column in zip(*low.values(), strict=True))
    least = f"at least {LEAST_SHARE:.0%} must be"
    if done < LEAST_SHARE * total:
        parts = ", ".join(f"{name} {part} of {whole}" for name, (part, whole) in low.items())
        raise BundleError(
            f"only {done / total:.0%} of the matrix products are {kind} ({done} of {total}: {parts}), {least};"
            f" export again with {precision}"
        )
    if precision == "int8-qdq" and not any(one.int8 for one in products.values()):
        raise BundleError(f"none of {total} matrix products is int8, though the bundle says so; export again")
    return [
        f"{name}: {part} of {whole} matrix products are {kind}"
        for name, (part, whole) in low.items()
        if part < LEAST_SHARE * whole
    ]


def build(
    library: Library,
    subgraph: str,
    model: bytes,
    profiles: Sequence[Profile],
    *,
    target: str,
    workspace_mb: int | None = None,
    timing_cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> bytes:
    """Build an engine of a subgraph, whose axes ``profiles`` give the ranges of.

    An ahead-of-time library builds for ``target`` (``sm_89``); another one for the GPU present. ``workspace_mb`` bounds
    the device memory of a single layer. ``timing_cache`` is a file that a library with such a cache reads and renews.
    While it builds, ``progress`` is called from other threads; an interrupt from the keyboard stops the build.

    Raises:
        BackendError: the library cannot read the model or build the engine.
        ConfigError: the library cannot build for the target.
    """
    trt = library.module
    builder = trt.Builder(library.logger)
    network, _parser = _parse(library, subgraph, model, builder)
    config = builder.create_builder_config()
    # Single precision means it: no products in TF32, which has the mantissa of fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Lets the engine inspector tell of each layer's types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    if library.ahead_of_time:
        _aim(library, config, target)
    for profile in profiles:
        _add_profile(library, subgraph, builder, network, config, profile)
    cached = timing_cache if library.timing_cache else None
    if cached is not None:
        _read_timing_cache(config, cached)
    monitor = _monitor(trt, progress)
    config.progress_monitor = monitor
    library.last_error()
    memory = _interruptible(lambda: builder.build_serialized_network(network, config), monitor)
    if memory is None:
        reason = library.last_error() or "it gives no reason"
        raise BackendError(f"{library.title} cannot build {subgraph} for {target}: {reason}")
    if cached is not None:
        with _errors_of(cached), atomic_path(cached) as path:
            path.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(memory)


def _parse(library: Library, subgraph: str, model: bytes, builder: Any) -> tuple[Any, Any]:
    """A network and its parser, which must live until the network is built."""
    network = library.strongly_typed_network(builder)
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse(model, _NOWHERE):
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        reasons = "; ".join(" ".join(f"{error.node_operator()} {error.desc()}".split()) for error in errors)
        raise BackendError(f"{library.title} cannot read {subgraph}.onnx: {reasons}")
    for output in [network.get_output(place) for place in range(network.num_outputs)]:
        if output.name in EXTRA:
            network.unmark_output(output)
    return network, parser


def _low(products: Products) -> int:
    return products.half + products.int8


def _dequantized(tensor: Any, makers: Mapping[str, Any]) -> bool:
    layer = makers.get(tensor.name)
    while layer is not None and layer.type.name in _MOVE:
        layer = makers.get(layer.get_input(0).name)
    return layer is not None and layer.type.name == "DEQUANTIZE" and layer.get_input(0).dtype.name == "INT8"


def _aim(library: Library, config: Any, target: str) -> None:
    known = targets(library)
    if target not in known:
        raise ConfigError(f"{library.title} builds no engines for {target}; it knows {', '.join(known)}")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(known[target], 0):
        raise BackendError(f"{library.title} refuses target {target}: {library.last_error()}")


def _add_profile(library: Library, subgraph: str, builder: Any, network: Any, config: Any, profile: Profile) -> None:
    ranged = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        ranged.set_shape(tensor.name, *ranges.shapes(profile, tensor.name, tuple(tensor.shape)))
    if config.add_optimization_profile(ranged) < 0:
        raise BackendError(f"{library.title} refuses profile {profile.name} of {subgraph}: {library.last_error()}")


def _read_timing_cache(config: Any, path: Path) -> None:
    """Start from the cache in the file; from an empty one where there is none, or one of another device or version."""
    with _errors_of(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackendError(f"timing cache {path}: {error.strerror}; set XDG_CACHE_HOME to another folder") from error


def _monitor(trt: Any, progress: Progress) -> Any:
    """What the builder tells its progress. An exception would end the process, so it is kept and the build stopped."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.stopped = False
            self.error: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            self.tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.tell(phase_name, step + 1)
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            self.tell(phase_name, self.steps.get(phase_name, 0))

        def tell(self, phase: str, done: int) -> None:
            try:
                progress(phase, done, self.steps.get(phase, done))
            except BaseException as error:
                self.error = error
                self.stopped = True

    return Monitor()


def _interruptible(work: Callable[[], Any], monitor: Any) -> Any:
    """The result of the work, done in a thread of its own so that this one hears the keyboard meanwhile."""
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
