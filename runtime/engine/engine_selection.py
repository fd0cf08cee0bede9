"""Select the TensorRT engine of a bundle for a device and library, and the optimization profile for a batch.

Everything here works on the manifest alone and needs no GPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ..bundle.manifest import Builder, Engine, FileRecord, Manifest, Profile
from ..errors import BackendError
from .backend import BundleFiles
from .contract import JOINED, JOINED_PARTS, list_subgraphs

#: Axes that shrink with the number of sentences in a batch.
_BATCH_AXES = ("batch", "spans", "pairs", "ranges")


def hash_sources(subgraph: str, files: Mapping[str, FileRecord]) -> str:
    """Return the hash by which an engine of a subgraph names the ONNX files that it was built from.

    Args:
        subgraph: Name of the subgraph.
        files: Size and hash of the files of the bundle.

    Returns:
        The SHA-256 of the ONNX file; for the joined graph the SHA-256 of the three hexadecimal hashes of its files, one
        after the other.
    """
    if subgraph != JOINED:
        return files[f"{subgraph}.onnx"].sha256
    hashes = "".join(files[f"{part}.onnx"].sha256 for part in JOINED_PARTS)
    return hashlib.sha256(hashes.encode()).hexdigest()


def select_subgraphs(
    files: BundleFiles, uses_model_parser: bool, target: str, builder: Builder, version: str
) -> tuple[str, ...]:
    """Select the graphs that have engines for this device and library: the joined ones if the sentences allow it.

    Args:
        files: The bundle.
        uses_model_parser: Whether sentences are parsed by the model itself.
        target: Compute capability of the device, such as ``sm_89``.
        builder: Library that will run the engines.
        version: Full version of the library.

    Returns:
        The names, see ``contract.list_subgraphs``.

    Raises:
        BackendError: If neither set of engines is complete and fits; the message says why the first choice does not.
    """
    problem = None
    has_joined = any(engine.subgraph == JOINED for engine in files.manifest.engines)
    for joined in (True, False) if uses_model_parser and has_joined else (False,):
        names = list_subgraphs(relations=files.manifest.labels.has_relations, joined=joined)
        try:
            for name in names:
                select_engine(files, name, target, builder, version)
        except BackendError as error:
            problem = problem or error
        else:
            return names
    assert problem is not None
    raise problem


def select_engine(files: BundleFiles, subgraph: str, target: str, builder: Builder, version: str) -> Engine:
    """Select the engine of a subgraph that was built for this device and exactly this version of the library.

    Neither library promises to run an engine that another of its releases built (TensorRT only if the engine was built
    to be version-compatible, which ours are not; TensorRT for RTX never), or to run it well on another compute
    capability.

    Args:
        files: The bundle.
        subgraph: Name of the subgraph.
        target: Compute capability of the device, such as ``sm_89``.
        builder: Library that will run the engine.
        version: Full version of the library.

    Raises:
        BackendError: If no engine fits; the message says why the closest engine does not.
    """
    engines = [engine for engine in files.manifest.engines if engine.subgraph == subgraph]
    hint = f"run `trimf compile {files.path}` on this machine or use the cuda backend"
    has_joined = any(engine.subgraph == JOINED for engine in files.manifest.engines)
    if not engines and subgraph in JOINED_PARTS and has_joined:
        raise BackendError(
            f"{files.path} has no engine for {subgraph}, which a parser other than the model's own needs; "
            f"run `trimf compile {files.path} --separate` on this machine or use the cuda backend"
        )
    if not engines:
        raise BackendError(f"{files.path} has no engine for {subgraph}; {hint}")
    mismatches = [_list_mismatches(engine, files.manifest, target, builder, version) for engine in engines]
    closest = min(range(len(engines)), key=lambda index: len(mismatches[index]))
    if mismatches[closest]:
        raise BackendError(f"engine {engines[closest].file} {mismatches[closest][0]}; {hint}")
    return engines[closest]


def _list_mismatches(engine: Engine, manifest: Manifest, target: str, builder: Builder, version: str) -> list[str]:
    """Return the reasons why an engine does not fit, each as the predicate of a sentence about the engine."""
    source = hash_sources(engine.subgraph, manifest.files)
    checks = {
        f"was built for {engine.target}, but this GPU is {target}": engine.target == target,
        f"was built with {engine.builder}, not {builder}": engine.builder == builder,
        f"was built with {engine.builder} {engine.version}, but {version} is installed": engine.version == version,
        f"has precision {engine.precision}, but the bundle has {manifest.precision}": (
            engine.precision == manifest.precision
        ),
        f"was built from {_name_sources(engine.subgraph)} with SHA-256 {engine.onnx_sha256[:12]}…, but the bundle's "
        f"has {source[:12]}…": engine.onnx_sha256 == source,
    }
    return [reason for reason, fits in checks.items() if not fits]


def _name_sources(subgraph: str) -> str:
    """Return the files that an engine was built from, for the message about a hash that differs."""
    if subgraph != JOINED:
        return f"an {subgraph}.onnx"
    return f"a set of {', '.join(f'{part}.onnx' for part in JOINED_PARTS)}"


def select_profile(engine: Engine, real_sizes: Mapping[str, int], fixed_sizes: Mapping[str, int]) -> int:
    """Return the index of the first optimization profile that a batch fits.

    Args:
        engine: The engine.
        real_sizes: Axis name -> real size. A size below the profile's minimum is fine, because the batch is padded to
            it; a size above the maximum is not.
        fixed_sizes: Sizes of the axes that are already padded and cannot change; they must lie within the profile.

    Raises:
        BackendError: If no profile fits; the message names the axis, its size and the limits.
    """
    misfits = []
    for index, profile in enumerate(engine.profiles):
        outside = _find_axes_outside(profile, real_sizes, fixed_sizes)
        if not outside:
            return index
        misfits.append((len(outside), -profile.axes[outside[0]][2], index, outside[0]))
    _, _, closest, axis = min(misfits)
    profile = engine.profiles[closest]
    least, _, most = profile.axes[axis]
    smaller = "use a smaller batch_size, or " if axis in _BATCH_AXES else ""
    raise BackendError(
        f"{axis} must be {least} to {most} for {engine.file} (profile {profile.name}), "
        f"got {fixed_sizes.get(axis, real_sizes[axis])}; {smaller}run `trimf compile` with larger --shapes"
    )


def _find_axes_outside(profile: Profile, real_sizes: Mapping[str, int], fixed_sizes: Mapping[str, int]) -> list[str]:
    """Return the axes whose size does not fit a profile."""
    outside = []
    for axis, size in real_sizes.items():
        least, _, most = profile.axes[axis]
        fixed_size = fixed_sizes.get(axis)
        if not (size <= most if fixed_size is None else least <= fixed_size <= most):
            outside.append(axis)
    return outside
