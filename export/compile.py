"""Engines for a bundle: built for the GPU present or for named targets, and added to it in one step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..runtime import tensorrt_library
from ..runtime.backend import SUBGRAPHS
from ..runtime.bundle import Bundle
from ..runtime.errors import BackendError, BundleError, ConfigError
from ..runtime.files import atomic_path
from ..runtime.manifest import SCHEMA_VERSION, Builder, Engine, File, Manifest, Profile, Sizes, encode
from ..runtime.tensorrt_library import Library
from . import engines
from .profiles import DEFAULTS, fit, restrict

#: Most that ``workspace_mb`` can be: a TiB, more than any GPU has.
MAX_WORKSPACE_MB = 1 << 20

#: Hears of progress: which engine is being built, the phase, the steps of it that are done, and how many it has.
Progress = Callable[[str, str, int, int], None]


def compile_bundle(
    path: str | Path,
    backend: Builder,
    *,
    targets: Sequence[str] = (),
    shapes: Sequence[Profile] = (),
    workspace_mb: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> list[Engine]:
    """Build engines of a bundle's four subgraphs, add them to it, and return them.

    ``targets`` are compute capabilities such as ``sm_89``; without any, that of the GPU present. ``shapes`` are the
    profiles each engine has, by default one for latency and one for throughput. An engine of the same subgraph,
    precision, target and library is replaced. The manifest is written last, in one step: a process that is killed
    before leaves the bundle as it was, but perhaps files in it that the manifest does not list.

    Raises:
        BundleError: the bundle is damaged, cannot be written, was changed meanwhile, is for CPUs, or has not the
            precision that it says.
        BackendError: the library is missing or cannot build an engine, or there is no GPU where one is needed.
        ConfigError: the library does not build for a target, or a profile does not fit the model.
    """
    bundle = Bundle(path)
    before = bundle.manifest
    planned = plan(
        tensorrt_library.find(backend), before.sizes, targets=targets, shapes=shapes, workspace_mb=workspace_mb
    )
    contents = {f"{name}.onnx": bundle.read(f"{name}.onnx") for name in SUBGRAPHS}
    built: list[Engine] = []
    files: dict[str, File] = {}
    try:
        for engine, content in engines_for(contents, before, planned, say=say, progress=progress):
            write(bundle.path, engine.file, content)
            built.append(engine)
            files[engine.file] = file(content)
        after = _with_engines(Bundle(path).manifest, before, built, files)
        write(bundle.path, "manifest.json", encode(after))
    finally:
        _sweep(bundle.path, files.keys() | before.files.keys())
    return built


class Plan(NamedTuple):
    """What :func:`engines_for` builds, and with what; the targets and the profiles are known to be possible."""

    library: Library
    targets: list[str]
    profiles: list[Profile]
    workspace_mb: int | None


def plan(
    library: Library,
    sizes: Sizes,
    *,
    targets: Sequence[str] = (),
    shapes: Sequence[Profile] = (),
    workspace_mb: int | None = None,
) -> Plan:
    """Check what is asked for, before any work is done for it; arguments and errors as :func:`compile_bundle` has."""
    if workspace_mb is not None and not 1 <= workspace_mb <= MAX_WORKSPACE_MB:
        limit = "at least 1 is needed" if workspace_mb < 1 else f"at most {MAX_WORKSPACE_MB} can be"
        raise ConfigError(f"workspace of {workspace_mb} MB, but {limit}")
    profiles = [fit(profile, sizes) for profile in shapes or DEFAULTS]
    return Plan(library, _targets(library, targets), profiles, workspace_mb)


def engines_for(
    contents: Mapping[str, bytes],
    manifest: Manifest,
    planned: Plan,
    *,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Iterator[tuple[Engine, bytes]]:
    """Build an engine of every subgraph for every target, one by one, each with its entry for the manifest.

    ``contents`` holds the ONNX files by name; of ``manifest``, the precision is used. Other arguments and errors are
    those of :func:`compile_bundle`. The name of an engine's file has a part of its hash, so that no other engine
    is ever overwritten.
    """
    precision = manifest.precision
    if precision == "int8":
        raise BundleError("an int8 bundle is made for CPUs and has no engines; export it as fp16 or int8-qdq")
    library, chosen, profiles, workspace_mb = planned
    examined = {name: engines.examine(library, name, contents[f"{name}.onnx"]) for name in SUBGRAPHS}
    for remark in engines.check({name: one.products for name, one in examined.items()}, precision):
        say(remark)
    for target in chosen:
        for name in SUBGRAPHS:
            model = contents[f"{name}.onnx"]
            start = time.perf_counter()
            content = engines.build(
                library,
                name,
                model,
                profiles,
                target=target,
                workspace_mb=workspace_mb,
                timing_cache=tensorrt_library.cache_folder() / f"{library.name}-{library.version}-{target}.timing",
                progress=partial(progress, f"{name} for {target}"),
            )
            seconds = time.perf_counter() - start
            say(f"{name} for {target}: {len(content) / 1e6:.1f} MB in {seconds:.1f} s")
            yield (
                Engine(
                    file=f"engines/{name}.{library.name}.{target}.{file(content).sha256[:8]}.engine",
                    subgraph=name,
                    precision=precision,
                    builder=library.name,
                    version=library.version,
                    target=target,
                    profiles=[restrict(profile, examined[name].inputs) for profile in profiles],
                    onnx_sha256=file(model).sha256,
                    products=examined[name].products,
                ),
                content,
            )


def file(content: bytes) -> File:
    """A file's entry in the manifest."""
    return File(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _targets(library: Library, wanted: Sequence[str]) -> list[str]:
    """What to build for: what is wanted, if the library can, else the GPU present."""
    if library.ahead_of_time and wanted:
        known = engines.targets(library)
        if unknown := [target for target in wanted if target not in known]:
            raise ConfigError(f"{library.title} builds no engines for {unknown[0]}; it knows {', '.join(known)}")
        return list(dict.fromkeys(wanted))
    from ..runtime.cuda import Device

    try:
        device = Device()
    except BackendError as error:
        if not library.ahead_of_time:
            raise BackendError(f"{library.title} builds on the GPU that will run the engine, but: {error}") from error
        names = ", ".join(engines.targets(library))
        raise BackendError(f"no target was named (there are {names}), and no GPU to take it from: {error}") from error
    if set(wanted) - {device.target}:
        raise ConfigError(
            f"{library.title} builds only for the GPU present, which is {device.target} ({device.name}), not for"
            f" {', '.join(wanted)}; run it there, or use tensorrt-rtx"
        )
    return [device.target]


def _key(engine: Engine) -> tuple[str, str, str, str]:
    return engine.subgraph, engine.precision, engine.target, engine.builder


def _with_engines(current: Manifest, before: Manifest, built: Sequence[Engine], files: Mapping[str, File]) -> Manifest:
    """The manifest as it is now on disk, with the engines; another process may have added its own meanwhile."""
    for name in SUBGRAPHS:
        if current.files[f"{name}.onnx"] != before.files[f"{name}.onnx"]:
            raise BundleError(f"{name}.onnx was replaced while its engine was built; compile the bundle again")
    keys = {_key(engine) for engine in built}
    kept = [engine for engine in current.engines if _key(engine) not in keys]
    replaced = {engine.file for engine in current.engines} - {engine.file for engine in kept}
    listed = {name: entry for name, entry in current.files.items() if name not in replaced}
    return msgspec.structs.replace(
        current, schema_version=SCHEMA_VERSION, engines=[*kept, *built], files={**listed, **files}
    )


def write(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a bundle, whole or not at all.

    Raises:
        BundleError: it cannot be written, or would lie outside the bundle.
    """
    path = folder / name
    try:
        path.parent.mkdir(exist_ok=True)
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{path.parent}: a link out of the bundle")
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def _sweep(folder: Path, names: Set[str]) -> None:
    """Remove what the manifest on disk does not list: the replaced files, or after a failure the new ones."""
    with suppress(BundleError):
        for name in names - Bundle(folder).manifest.files.keys():
            (folder / name).unlink(missing_ok=True)
