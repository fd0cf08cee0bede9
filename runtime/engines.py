"""Which of a bundle's engines fits this device and library, and which of its profiles fits a batch. No GPU needed."""

from __future__ import annotations

from collections.abc import Mapping

from .backend import Files
from .errors import BackendError
from .manifest import Builder, Engine, Manifest, Profile

#: Axes that shrink with the number of sentences in a batch.
_OF_BATCH = ("batch", "spans", "pairs", "ranges")


def choose(files: Files, subgraph: str, target: str, builder: Builder, version: str) -> Engine:
    """The bundle's engine of a subgraph for a device (``target``: sm_89) and a library of exactly this version.

    Neither library promises to run an engine of another of its releases (TensorRT only one built to allow it, which
    ours are not; TensorRT for RTX none), or to run it well on another compute capability.

    Raises:
        BackendError: none fits; the message compares the nearest one with what is here.
    """
    engines = [engine for engine in files.manifest.engines if engine.subgraph == subgraph]
    ways_out = f"run `trimf compile {files.path}` here or use backend cuda"
    if not engines:
        raise BackendError(f"{files.path} has no engine of {subgraph}; {ways_out}")
    misfits = [_misfits(engine, files.manifest, target, builder, version) for engine in engines]
    nearest = min(range(len(engines)), key=lambda place: len(misfits[place]))
    if misfits[nearest]:
        raise BackendError(f"engine {engines[nearest].file} {misfits[nearest][0]}; {ways_out}")
    return engines[nearest]


def _misfits(engine: Engine, manifest: Manifest, target: str, builder: Builder, version: str) -> list[str]:
    onnx = f"{engine.subgraph}.onnx"
    checks = {
        f"is for {engine.target}, this GPU is {target}": engine.target == target,
        f"was built by {engine.builder}, not by {builder}": engine.builder == builder,
        f"was built by {engine.builder} {engine.version}, here is {version}": engine.version == version,
        f"computes in {engine.precision}, the bundle in {manifest.precision}": engine.precision == manifest.precision,
        f"was built from an {onnx} with SHA-256 {engine.onnx_sha256[:12]}…, the bundle's has "
        f"{manifest.files[onnx].sha256[:12]}…": engine.onnx_sha256 == manifest.files[onnx].sha256,
    }
    return [text for text, fits in checks.items() if not fits]


def profile_for(engine: Engine, sizes: Mapping[str, int], padded: Mapping[str, int]) -> int:
    """The number of the first profile that a batch fits.

    ``sizes`` are its axes' real sizes: they may lie below a profile's least (the batch is padded to it) but not above
    its largest. Axes in ``padded`` have that size already and keep it.

    Raises:
        BackendError: none; the message names the axis, its size and the limit.
    """
    misfits = []
    for place, profile in enumerate(engine.profiles):
        outside = _outside(profile, sizes, padded)
        if not outside:
            return place
        misfits.append((len(outside), -profile.axes[outside[0]][2], place, outside[0]))
    _, _, nearest, axis = min(misfits)
    profile = engine.profiles[nearest]
    least, _, most = profile.axes[axis]
    smaller = "use a smaller batch_size, or " if axis in _OF_BATCH else ""
    raise BackendError(
        f"{axis} = {padded.get(axis, sizes[axis])}, but {engine.file} takes {least} to {most} (profile {profile.name});"
        f" {smaller}run `trimf compile` with larger --shapes"
    )


def _outside(profile: Profile, sizes: Mapping[str, int], padded: Mapping[str, int]) -> list[str]:
    """Axes that do not fit a profile."""
    outside = []
    for axis, size in sizes.items():
        least, _, most = profile.axes[axis]
        kept = padded.get(axis)
        if not (size <= most if kept is None else least <= kept <= most):
            outside.append(axis)
    return outside
