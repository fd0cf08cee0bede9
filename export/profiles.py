"""Optimization profiles of TensorRT engines: the default ones, and those given by ``--shapes``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..runtime.bundle.manifest import Profile, Sizes
from ..runtime.decoding.range_pooling import max_range_columns
from ..runtime.engine.buckets import LARGEST_SMALL_BUCKET, SHAPE_LIMITS
from ..runtime.engine.contract import AXES
from ..runtime.errors import BackendError, ConfigError

#: Minimum, tuned and maximum size of an axis.
AxisSizes = tuple[int, int, int]

Shape = tuple[int, ...]

#: Smallest and largest size that a profile may have: those of the defaults, and windows as long as any model supports.
AXIS_LIMITS = {axis: (least, largest) for axis, (least, _, largest) in SHAPE_LIMITS.items()} | {
    "subwords": (3, 8192),
    "words": (1, 8192),
    "rows": (3, 1024),
}


def _limit_to_small_buckets(profile: Profile) -> Profile:
    """Return a profile without the buckets of long windows."""
    limits = {axis: (*profile.axes[axis][:2], LARGEST_SMALL_BUCKET) for axis in ("subwords", "words")}
    return Profile(name=profile.name, axes=profile.axes | limits)


#: Profile for batches, tuned for 32 sentences.
THROUGHPUT = Profile(name="throughput", axes=dict(SHAPE_LIMITS))

#: Profile for single sentences, tuned for about 24 words.
LATENCY = Profile(
    name="latency",
    axes={
        "batch": (1, 1, 1),
        **{
            axis: (SHAPE_LIMITS[axis][0], tuned, SHAPE_LIMITS[axis][2])
            for axis, tuned in {
                "subwords": 32,
                "words": 24,
                "pieces": 4,
                "spans": 4,
                "pairs": 8,
                "ranges": 8,
                "rows": 16,
            }.items()
        },
    },
)

#: Profiles of an engine by default; a batch runs in the first profile that it fits.
DEFAULT_PROFILES = (LATENCY, THROUGHPUT)

#: Profile for batches with a window longer than the small buckets, tuned for 8 windows of 256 subwords.
LONG = Profile(
    name="long", axes={**SHAPE_LIMITS, "batch": (1, 8, 64), "subwords": (3, 256, 512), "words": (1, 256, 512)}
)

#: Profiles of the joined engine by default, one for each family of buckets: a single sentence or a batch in small
#: buckets, and long windows. An engine tuned for 48 subwords is slow for 512, and one that must also take 512 needs the
#: memory for it.
JOINED_PROFILES = (_limit_to_small_buckets(LATENCY), _limit_to_small_buckets(THROUGHPUT), LONG)

_ENTRY = re.compile(r"([a-z]+)=(\d{1,9}):(\d{1,9}):(\d{1,9})", re.ASCII)


def parse_profile(specification: str) -> Profile:
    """Parse a profile such as ``batch=1:8:16,subwords=3:32:128``.

    Args:
        specification: Comma-separated entries ``AXIS=MIN:OPT:MAX``; axes that are not named have the sizes of
            ``THROUGHPUT``.

    Returns:
        The profile, named ``custom``.

    Raises:
        ConfigError: An entry has the wrong form, an axis is unknown or given twice, or a size is out of range.
    """
    axes: dict[str, AxisSizes] = {}
    for entry in map(str.strip, specification.split(",")):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ConfigError(f"shapes {specification!r}: expected AXIS=MIN:OPT:MAX (as batch=1:8:16), got {entry!r}")
        axis, sizes = match[1], (int(match[2]), int(match[3]), int(match[4]))
        if axis not in AXIS_LIMITS:
            raise ConfigError(f"shapes {specification!r}: unknown axis {axis!r}; choose from {', '.join(AXIS_LIMITS)}")
        if axis in axes:
            raise ConfigError(f"shapes {specification!r}: {axis} is given twice; give each axis once")
        if list(sizes) != sorted(sizes):
            raise ConfigError(f"shapes {specification!r}: {entry} must satisfy MIN <= OPT <= MAX")
        least, largest = AXIS_LIMITS[axis]
        if sizes[0] < least or sizes[2] > largest:
            raise ConfigError(f"shapes {specification!r}: {axis} must be {least} to {largest}, got {entry}")
        axes[axis] = sizes
    return Profile(name="custom", axes={**THROUGHPUT.axes, **axes})


def fit_to_model(profile: Profile, sizes: Sizes) -> Profile:
    """Limit a profile to the window size of a model.

    Args:
        profile: Any profile.
        sizes: Sizes of the model.

    Returns:
        The profile with at most as many subwords and words as a window of the model holds, and with enough rows for the
        longest range of words.

    Raises:
        ConfigError: The minimum size of the profile already exceeds the model's window.
    """
    axes = dict(profile.axes)
    for axis, limit in (("subwords", sizes.max_subwords), ("words", sizes.max_words)):
        least, tuned, largest = axes[axis]
        if least > limit:
            raise ConfigError(f"profile {profile.name}: {axis} must be <= {limit} for this model, got {least} as MIN")
        axes[axis] = (least, min(tuned, limit), min(largest, limit))
    least, tuned, largest = axes["rows"]
    axes["rows"] = (least, tuned, max(largest, max_range_columns(axes["words"][2])))
    return Profile(name=profile.name, axes=axes)


def choose_profiles(requested: Sequence[Profile], default: Sequence[Profile], sizes: Sizes) -> list[Profile]:
    """Return the profiles of an engine, fitted to a model.

    Args:
        requested: Profiles that the user gave.
        default: Profiles if there are none.
        sizes: Sizes of the model.

    Returns:
        The profiles; default ones that accept nothing that an earlier one does not accept are left out.

    Raises:
        ConfigError: See ``fit_to_model``.
    """
    if requested:
        return [fit_to_model(profile, sizes) for profile in requested]
    kept: list[Profile] = []
    for profile in (fit_to_model(profile, sizes) for profile in default):
        if not any(_covers(earlier, profile) for earlier in kept):
            kept.append(profile)
    return kept


def _covers(profile: Profile, other: Profile) -> bool:
    """Return True if a profile accepts every window that another accepts."""
    most = {axis: largest for axis, (_, _, largest) in other.axes.items()}
    most["words"] = min(most["words"], most["subwords"])  # no window has more words than subwords
    return all(
        profile.axes[axis][0] <= other.axes[axis][0] and most[axis] <= profile.axes[axis][2] for axis in other.axes
    )


def restrict_axes(profile: Profile, tensors: Sequence[str]) -> Profile:
    """Drop the axes of a profile that a subgraph does not have.

    Args:
        profile: Any profile.
        tensors: Names of the subgraph's inputs.

    Returns:
        The profile with only the axes of these tensors.
    """
    used = {axis for tensor in tensors for axis in AXES[tensor]}
    return Profile(name=profile.name, axes={axis: sizes for axis, sizes in profile.axes.items() if axis in used})


def input_shapes(profile: Profile, tensor: str, dims: Sequence[int]) -> tuple[Shape, Shape, Shape]:
    """Return the minimum, tuned and maximum shape of a network input.

    Args:
        profile: Profile with all dynamic axes of the tensor.
        tensor: Name of the input.
        dims: Dimensions of the input in the network; -1 is a dynamic dimension.

    Returns:
        The three shapes.

    Raises:
        BackendError: The input is unknown, or has other dimensions than expected.
    """
    axes = AXES.get(tensor, ())
    ranges = [
        profile.axes[axis] if axis is not None and dim < 0 else (dim, dim, dim)
        for axis, dim in zip(axes, dims, strict=False)
    ]
    if not axes or len(axes) != len(dims) or any(least < 0 for least, _, _ in ranges):
        raise BackendError(f"unknown input {tensor!r} with dimensions {list(dims)}; re-export the bundle")
    least, tuned, largest = zip(*ranges, strict=True)
    return least, tuned, largest
