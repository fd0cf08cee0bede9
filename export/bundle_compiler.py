"""Compilation of a bundle: build TensorRT engines of its subgraphs and add them to it atomically."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..runtime.bundle.manifest import (
    SCHEMA_VERSION,
    Builder,
    Engine,
    FileRecord,
    Manifest,
    Profile,
    Sizes,
    encode_manifest,
)
from ..runtime.bundle.reader import Bundle
from ..runtime.engine import tensorrt_library
from ..runtime.engine.cache import user_cache_folder
from ..runtime.engine.contract import JOINED, JOINED_PARTS, JOINED_SUBGRAPHS, list_subgraphs
from ..runtime.engine.engine_selection import hash_sources
from ..runtime.engine.gpu_guidance import (
    explain_int8,
    explain_jetson_target,
    explain_missing_builder,
    is_installed,
)
from ..runtime.engine.tensorrt_library import TensorRtLibrary
from ..runtime.errors import BackendError, BundleError, ConfigError
from . import engine_builder as engines
from .bundle_writer import check_writable, describe_file, open_writable_bundle, write_bundle_file
from .model_joining import join_models
from .profiles import DEFAULT_PROFILES, JOINED_PROFILES, choose_profiles, restrict_axes

#: Upper limit of ``workspace_mb``: 1 TiB, more memory than any GPU has.
MAX_WORKSPACE_MB = 1 << 20

#: Called with the progress of a build: name of the engine, name of the phase, completed steps, steps in total.
BundleProgress = Callable[[str, str, int, int], None]


def compile_bundle(
    path: str | Path,
    backend: Builder,
    *,
    targets: Sequence[str] = (),
    profiles: Sequence[Profile] = (),
    workspace_mb: int | None = None,
    separate: bool = False,
    output: str | Path | None = None,
    overwrite: bool = False,
    log: Callable[[str], None] = lambda _: None,
    on_progress: BundleProgress = lambda *_: None,
) -> list[Engine]:
    """Build engines of a bundle's subgraphs and add them to the bundle.

    If the model parses by itself, encoder, fusion and entities are one engine, ``joined``. An existing engine with the
    same subgraph, precision, target and library is replaced. The manifest is written last and atomically: if the
    process is killed before that, the bundle still works as before, but its folder may contain files that the manifest
    does not list. With ``output``, a copy of the bundle gets the engines, and appears when all of them are built.

    Args:
        path: Folder of the bundle, or ``default``.
        backend: Library that builds the engines.
        targets: Compute capabilities, such as ``sm_89``; by default that of the GPU in this machine.
        profiles: Optimization profiles of each engine; by default ``JOINED_PROFILES`` of the joined engine and
            ``DEFAULT_PROFILES`` of the others.
        workspace_mb: Limit on the device memory that a single layer may use, in MiB.
        separate: Also build the separate engines of a model that parses by itself, which another parser needs.
        output: Folder of a copy of the bundle, to which the engines are added instead.
        overwrite: Replace an existing folder ``output``.
        log: Called with a line of text for each engine, and with warnings.
        on_progress: Called with the progress of each build.

    Returns:
        The manifest entries of the new engines.

    Raises:
        BundleError: The bundle is damaged, cannot be written, was changed during the build, is int8 for CPUs, or does
            not have the precision that its manifest states.
        BackendError: The library is missing or cannot build an engine, or a GPU is needed and none is present.
        ConfigError: The library does not support a target, or a profile does not fit the model.
        InputError: The bundle is part of the installed package and ``output`` is None, or ``output`` exists and
            ``overwrite`` is false.
    """
    manifest = Bundle(path).manifest
    if manifest.precision == "int8":
        raise BundleError(explain_int8(path, backend, compiling=True))
    library = _import_builder(path, backend, targets)
    check_writable(path, output)
    sizes = manifest.sizes
    planned = plan_engine_builds(
        library,
        sizes,
        targets=targets,
        profiles=profiles,
        workspace_mb=workspace_mb,
        separate=separate,
    )
    with open_writable_bundle(path, output, overwrite=overwrite) as folder:
        return _compile_in_place(folder, planned, log, on_progress)


def _import_builder(path: str | Path, backend: Builder, targets: Sequence[str]) -> TensorRtLibrary:
    try:
        return tensorrt_library.import_library(backend)
    except BackendError as error:
        if is_installed(backend):
            raise
        raise BackendError(explain_missing_builder(path, backend, targets)) from error


def _compile_in_place(
    folder: Path, planned: EngineBuildPlan, log: Callable[[str], None], on_progress: BundleProgress
) -> list[Engine]:
    """Build engines and add them to a bundle; remove those that are replaced, or the new ones after a failure."""
    bundle = Bundle(folder)
    before = bundle.manifest
    names = list_subgraphs(relations=before.labels.has_relations)
    contents = {f"{name}.onnx": bundle.read(f"{name}.onnx") for name in names}
    built: list[Engine] = []
    files: dict[str, FileRecord] = {}
    try:
        for engine, content in build_engines(contents, before, planned, log=log, on_progress=on_progress):
            write_bundle_file(folder, engine.file, content)
            built.append(engine)
            files[engine.file] = describe_file(content)
        after = _add_engines(Bundle(folder).manifest, before, built, files)
        write_bundle_file(folder, "manifest.json", encode_manifest(after))
    finally:
        _remove_unlisted_files(folder, files.keys() | before.files.keys())
    return built


class EngineBuildPlan(NamedTuple):
    """Validated build request for ``build_engines``.

    Attributes:
        library: Library that builds the engines.
        targets: Compute capabilities, such as ``sm_89``.
        profiles: Optimization profiles of the engine of a subgraph.
        joined_profiles: Those of the joined engine.
        workspace_mb: Limit on the device memory that a single layer may use, in MiB.
        separate: Whether a model that parses by itself gets the separate engines, too.
    """

    library: TensorRtLibrary
    targets: list[str]
    profiles: list[Profile]
    joined_profiles: list[Profile]
    workspace_mb: int | None
    separate: bool

    def get_profiles(self, name: str) -> list[Profile]:
        """Return the optimization profiles of an engine.

        Args:
            name: Name of the subgraph, or ``joined``.
        """
        return self.joined_profiles if name == JOINED else self.profiles


def plan_engine_builds(
    library: TensorRtLibrary,
    sizes: Sizes,
    *,
    targets: Sequence[str] = (),
    profiles: Sequence[Profile] = (),
    workspace_mb: int | None = None,
    separate: bool = False,
) -> EngineBuildPlan:
    """Validate a build request before any work is done.

    Args:
        library: Library that builds the engines.
        sizes: Sizes of the model, to which the profiles are fitted.
        targets: Compute capabilities, such as ``sm_89``; by default that of the GPU in this machine.
        profiles: Optimization profiles; by default ``JOINED_PROFILES`` and ``DEFAULT_PROFILES``.
        workspace_mb: Limit on the device memory that a single layer may use, in MiB.
        separate: Also build the separate engines of a model that parses by itself.

    Returns:
        The validated plan.

    Raises:
        BackendError: No target is given and no GPU is present.
        ConfigError: A target or ``workspace_mb`` is not supported, or a profile does not fit the model.
    """
    if workspace_mb is not None and not 1 <= workspace_mb <= MAX_WORKSPACE_MB:
        limit = ">= 1" if workspace_mb < 1 else f"<= {MAX_WORKSPACE_MB}"
        raise ConfigError(f"workspace_mb must be {limit}, got {workspace_mb}")
    fitted, joined = (choose_profiles(profiles, default, sizes) for default in (DEFAULT_PROFILES, JOINED_PROFILES))
    return EngineBuildPlan(library, _resolve_targets(library, targets), fitted, joined, workspace_mb, separate)


def build_engines(
    contents: Mapping[str, bytes],
    manifest: Manifest,
    planned: EngineBuildPlan,
    *,
    log: Callable[[str], None] = lambda _: None,
    on_progress: BundleProgress = lambda *_: None,
) -> Iterator[tuple[Engine, bytes]]:
    """Build an engine of every subgraph, or of the joined graph, for every target.

    The file name of an engine contains part of its SHA-256, so a new engine never overwrites a different one.

    Args:
        contents: Contents of the ONNX files by name, such as ``encoder.onnx``.
        manifest: Manifest of the bundle, for its precision and its parser.
        planned: The validated build request.
        log: Called with a line of text for each engine, and with warnings.
        on_progress: Called with the progress of each build.

    Yields:
        The manifest entry and the contents of each engine, as soon as it is built.

    Raises:
        BundleError: The bundle is int8 for CPUs, does not have the precision that its manifest states, or its graphs do
            not fit together.
        BackendError: The library cannot read a graph or build an engine.
    """
    precision = manifest.precision
    if precision == "int8":
        raise BundleError("an int8 bundle is for CPUs only and cannot be compiled; re-export it as fp16 or int8-qdq")
    library = planned.library
    models = _collect_models(contents, manifest, planned.separate)
    names = list_subgraphs(relations=manifest.labels.has_relations)
    files = {f"{name}.onnx": describe_file(contents[f"{name}.onnx"]) for name in names}
    networks = {name: engines.summarize_network(library, name, model) for name, model in models.items()}
    for warning in engines.check_precision({name: network.products for name, network in networks.items()}, precision):
        log(warning)
    for target in planned.targets:
        for name, model in models.items():
            profiles = planned.get_profiles(name)
            start = time.perf_counter()
            content = engines.build_engine(
                library,
                name,
                model,
                profiles,
                target=target,
                workspace_mb=planned.workspace_mb,
                timing_cache=user_cache_folder() / f"{library.name}-{library.version}-{target}.timing",
                on_progress=partial(on_progress, f"{name} for {target}"),
            )
            seconds = time.perf_counter() - start
            log(f"{name} for {target}: {len(content) / 1e6:.1f} MB in {seconds:.1f} s")
            yield (
                Engine(
                    file=f"engines/{name}.{library.name}.{target}.{describe_file(content).sha256[:8]}.engine",
                    subgraph=name,
                    precision=precision,
                    builder=library.name,
                    version=library.version,
                    target=target,
                    profiles=[restrict_axes(profile, networks[name].inputs) for profile in profiles],
                    onnx_sha256=hash_sources(name, files),
                    products=networks[name].products,
                ),
                content,
            )


def _collect_models(contents: Mapping[str, bytes], manifest: Manifest, separate: bool) -> dict[str, bytes]:
    """Return the ONNX model of every engine to build, by name of the subgraph."""
    parses = manifest.parser.source == "encoder"
    joined = {JOINED: join_models({name: contents[f"{name}.onnx"] for name in JOINED_PARTS})} if parses else {}
    names = list_subgraphs(relations=manifest.labels.has_relations)
    apart = [name for name in names if separate or not parses or name in JOINED_SUBGRAPHS]
    return joined | {name: contents[f"{name}.onnx"] for name in apart}


def _resolve_targets(library: TensorRtLibrary, requested: Sequence[str]) -> list[str]:
    """Return the requested targets if the library supports them, or by default that of the GPU in this machine."""
    if library.traits.ahead_of_time and requested:
        supported = engines.supported_targets(library)
        if unknown := [target for target in requested if target not in supported]:
            raise ConfigError(
                f"{library.title} cannot build engines for {unknown[0]}; choose from {', '.join(supported)}"
                f"{explain_jetson_target(unknown[0])}"
            )
        return list(dict.fromkeys(requested))
    from ..runtime.engine.cuda import CudaDevice

    try:
        device = CudaDevice()
    except BackendError as error:
        if not library.traits.ahead_of_time:
            raise BackendError(
                f"{library.title} needs the GPU that will run the engine: {error}; TensorRT for RTX builds engines"
                " without a GPU (--backend tensorrt-rtx --target sm_89)"
            ) from error
        names = ", ".join(engines.supported_targets(library))
        raise BackendError(
            f"no GPU to take the target from ({error}); choose a target from {names} (--target)"
        ) from error
    if set(requested) - {device.target}:
        raise ConfigError(
            f"{library.title} builds only for the GPU in this machine, {device.target} ({device.name}), not for"
            f" {', '.join(requested)}; build on that GPU, or use tensorrt-rtx"
        )
    return [device.target]


def _engine_key(engine: Engine) -> tuple[str, str, str, str]:
    """Return the key under which a new engine replaces an old one."""
    return engine.subgraph, engine.precision, engine.target, engine.builder


def _add_engines(
    current: Manifest, before: Manifest, built: Sequence[Engine], files: Mapping[str, FileRecord]
) -> Manifest:
    """Add new engines to the manifest that is now on disk, to which another process may have added engines, too."""
    for name in list_subgraphs(relations=before.labels.has_relations):
        if current.files[f"{name}.onnx"] != before.files[f"{name}.onnx"]:
            raise BundleError(f"{name}.onnx was replaced while its engine was being built; compile the bundle again")
    keys = {_engine_key(engine) for engine in built}
    kept = [engine for engine in current.engines if _engine_key(engine) not in keys]
    replaced = {engine.file for engine in current.engines} - {engine.file for engine in kept}
    listed = {name: entry for name, entry in current.files.items() if name not in replaced}
    return msgspec.structs.replace(
        current, schema_version=SCHEMA_VERSION, engines=[*kept, *built], files={**listed, **files}
    )


def _remove_unlisted_files(folder: Path, names: Set[str]) -> None:
    """Remove the named files that the manifest on disk does not list: replaced engines, or new ones after a failure."""
    with suppress(BundleError):
        for name in names - Bundle(folder).manifest.files.keys():
            (folder / name).unlink(missing_ok=True)
