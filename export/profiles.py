"""The sizes that engines are built for: two profiles by default, or as asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..runtime.backend import AXES
from ..runtime.buckets import RANGES
from ..runtime.errors import BackendError, ConfigError
from ..runtime.manifest import Profile, Sizes
from ..runtime.ranges import most_rows

Range = tuple[int, int, int]
Shape = tuple[int, ...]

#: The least and the largest size that may be asked for: the defaults' own, and windows as long as a model may have.
LIMITS = {axis: (least, largest) for axis, (least, _, largest) in RANGES.items()} | {
    "subwords": (3, 8192),
    "words": (1, 8192),
    "rows": (3, 1024),
}

#: Batches, tuned for 32 sentences.
THROUGHPUT = Profile(name="throughput", axes=dict(RANGES))

#: One sentence at a time, tuned for one of about 24 words.
LATENCY = Profile(
    name="latency",
    axes={
        "batch": (1, 1, 1),
        **{
            axis: (RANGES[axis][0], tuned, RANGES[axis][2])
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

#: What an engine is built for unless asked otherwise; a batch runs in the first profile that it fits.
DEFAULTS = (LATENCY, THROUGHPUT)

_ENTRY = re.compile(r"([a-z]+)=(\d{1,9}):(\d{1,9}):(\d{1,9})", re.ASCII)


def parse(text: str) -> Profile:
    """The profile of a text like ``batch=1:8:16,subwords=3:32:128``: for an axis its least, tuned and largest size.

    Axes that are not named have the sizes of :data:`THROUGHPUT`.

    Raises:
        ConfigError: the text has another form, names an axis twice or one that is unknown, or a size is out of range.
    """
    axes: dict[str, Range] = {}
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise ConfigError(f"shapes {text!r}: {entry.strip()!r} is not AXIS=MIN:OPT:MAX, as in batch=1:8:16")
        axis, sizes = match[1], (int(match[2]), int(match[3]), int(match[4]))
        if axis not in LIMITS:
            raise ConfigError(f"shapes {text!r}: axis {axis!r} is not known; there are {', '.join(LIMITS)}")
        if axis in axes:
            raise ConfigError(f"shapes {text!r}: {axis} is named twice")
        if list(sizes) != sorted(sizes):
            raise ConfigError(f"shapes {text!r}: {entry.strip()} is not in order; MIN <= OPT <= MAX is needed")
        least, largest = LIMITS[axis]
        if sizes[0] < least or sizes[2] > largest:
            raise ConfigError(f"shapes {text!r}: {entry.strip()} is out of range; {axis} may be {least} to {largest}")
        axes[axis] = sizes
    return Profile(name="custom", axes={**THROUGHPUT.axes, **axes})


def fit(profile: Profile, sizes: Sizes) -> Profile:
    """The profile with no more subwords and words than one window of the model holds, and rows for the longest range.

    Raises:
        ConfigError: the profile's least size is more than that already.
    """
    axes = dict(profile.axes)
    for axis, limit in (("subwords", sizes.max_subwords), ("words", sizes.max_words)):
        least, tuned, largest = axes[axis]
        if least > limit:
            raise ConfigError(f"profile {profile.name}: at least {least} {axis}, but the model takes at most {limit}")
        axes[axis] = (least, min(tuned, limit), min(largest, limit))
    least, tuned, largest = axes["rows"]
    axes["rows"] = (least, tuned, max(largest, most_rows(axes["words"][2])))
    return Profile(name=profile.name, axes=axes)


def restrict(profile: Profile, tensors: Sequence[str]) -> Profile:
    """The profile without the axes that none of the tensors has."""
    used = {axis for tensor in tensors for axis in AXES[tensor]}
    return Profile(name=profile.name, axes={axis: sizes for axis, sizes in profile.axes.items() if axis in used})


def shapes(profile: Profile, tensor: str, dims: Sequence[int]) -> tuple[Shape, Shape, Shape]:
    """The least, the tuned and the largest shape of a tensor whose dimensions in the network are ``dims`` (-1: any).

    Raises:
        BackendError: TriMF does not know the tensor, or not by these dimensions.
    """
    axes = AXES.get(tensor, ())
    ranges = [
        profile.axes[axis] if axis is not None and dim < 0 else (dim, dim, dim)
        for axis, dim in zip(axes, dims, strict=False)
    ]
    if not axes or len(axes) != len(dims) or any(least < 0 for least, _, _ in ranges):
        raise BackendError(f"input {tensor!r} with dimensions {list(dims)} is none that TriMF knows; export again")
    least, tuned, largest = zip(*ranges, strict=True)
    return least, tuned, largest
