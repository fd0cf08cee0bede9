"""Optimization profiles: what is asked for, what is refused, and the shapes they give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.export.profiles import (
    AXIS_LIMITS,
    DEFAULT_PROFILES,
    JOINED_PROFILES,
    LATENCY,
    THROUGHPUT,
    choose_profiles,
    fit_to_model,
    input_shapes,
    parse_profile,
    restrict_axes,
)
from trimf.runtime.bundle.manifest import Sizes
from trimf.runtime.engine.buckets import LARGEST_SMALL_BUCKET, bucket_size
from trimf.runtime.engine.contract import AXES
from trimf.runtime.errors import BackendError, ConfigError


def sizes(subwords: int, words: int) -> Sizes:
    return Sizes(hidden=8, max_span=3, max_subwords=subwords, max_words=words)


def test_defaults() -> None:
    assert [profile.name for profile in DEFAULT_PROFILES] == ["latency", "throughput"]
    assert LATENCY.axes["batch"] == (1, 1, 1)
    assert THROUGHPUT.axes["batch"] == (1, 32, 64)
    assert LATENCY.axes["subwords"] == (3, 32, 512)
    assert all(profile.axes.keys() == AXIS_LIMITS.keys() for profile in DEFAULT_PROFILES)


def test_axes_not_named_are_those_for_throughput() -> None:
    profile = parse_profile("batch=1:8:16, subwords=3:32:128")
    assert profile.axes == {**THROUGHPUT.axes, "batch": (1, 8, 16), "subwords": (3, 32, 128)}


@given(st.data())
def test_whatever_is_within_the_limits_is_taken(data: st.DataObject) -> None:
    axes = {
        axis: tuple(sorted(data.draw(st.lists(st.integers(*AXIS_LIMITS[axis]), min_size=3, max_size=3))))
        for axis in data.draw(st.lists(st.sampled_from(list(AXIS_LIMITS)), min_size=1, unique=True))
    }
    text = ",".join(f"{axis}={least}:{tuned}:{largest}" for axis, (least, tuned, largest) in axes.items())
    assert parse_profile(text).axes == {**THROUGHPUT.axes, **axes}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected AXIS=MIN:OPT:MAX (as batch=1:8:16), got ''"),
        ("batch=1:8", "expected AXIS=MIN:OPT:MAX (as batch=1:8:16), got 'batch=1:8'"),
        ("batch=1:8:-16", "expected AXIS"),
        ("batch=1:8:١٦", "expected AXIS"),
        ("batch=1:8:16,", "expected AXIS=MIN:OPT:MAX (as batch=1:8:16), got ''"),
        (
            "width=1:8:16",
            "unknown axis 'width'; choose from batch, subwords, words, pieces, spans, pairs, ranges, rows",
        ),
        ("batch=1:8:16,batch=1:1:1", "batch is given twice"),
        ("batch=1:16:8", "batch=1:16:8 must satisfy MIN <= OPT <= MAX"),
        ("batch=0:8:16", "batch must be 1 to 64, got batch=0:8:16"),
        ("batch=1:8:65", "batch must be 1 to 64"),
        ("subwords=2:8:65", "subwords must be 3 to 8192"),
        ("pairs=1:8:999999999", "pairs must be 1 to 4096"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_profile(text)
    assert reason in str(error.value)


def test_no_more_than_the_model_takes() -> None:
    axes = fit_to_model(THROUGHPUT, sizes(subwords=40, words=20)).axes
    assert axes["subwords"] == (3, 40, 40)
    assert axes["words"] == (1, 20, 20)
    assert axes["pairs"] == THROUGHPUT.axes["pairs"]
    assert axes["rows"] == THROUGHPUT.axes["rows"]
    assert fit_to_model(THROUGHPUT, sizes(subwords=8192, words=8192)) == THROUGHPUT
    assert fit_to_model(parse_profile("words=1:32:8192"), sizes(subwords=8192, words=8192)).axes["rows"] == (3, 24, 544)
    with pytest.raises(ConfigError, match="profile custom: subwords must be <= 40 for this model, got 64 as MIN"):
        fit_to_model(parse_profile("subwords=64:64:64"), sizes(subwords=40, words=20))


def test_a_subgraph_has_its_own_axes() -> None:
    assert list(restrict_axes(LATENCY, ["nodes"]).axes) == ["batch", "words"]
    assert list(restrict_axes(LATENCY, ["nodes", "word_mask", "spans", "pairs"]).axes) == [
        "batch",
        "words",
        "spans",
        "pairs",
    ]


@pytest.mark.parametrize("tensor", AXES)
def test_shapes(tensor: str) -> None:
    dims = [-1 if axis else 7 for axis in AXES[tensor]]
    found = input_shapes(THROUGHPUT, tensor, dims)
    for place, axis in enumerate(AXES[tensor]):
        assert tuple(shape[place] for shape in found) == (THROUGHPUT.axes[axis] if axis else (7, 7, 7))


@pytest.mark.parametrize(("tensor", "dims"), [("other", [-1]), ("cls", [-1, -1]), ("cls", [-1, 8, 8]), ("other", [])])
def test_tensors_that_are_not_known(tensor: str, dims: list[int]) -> None:
    with pytest.raises(BackendError, match=f"unknown input '{tensor}' with dimensions .*; re-export the bundle"):
        input_shapes(LATENCY, tensor, dims)


def test_the_joined_engine_has_a_profile_for_each_family_of_buckets() -> None:
    latency, throughput, long = choose_profiles([], JOINED_PROFILES, sizes(subwords=512, words=512))
    assert latency.axes["batch"] == (1, 1, 1)
    for small in (latency, throughput):
        for axis in ("subwords", "words"):
            least, _, most = small.axes[axis]
            assert (least, most) == (THROUGHPUT.axes[axis][0], LARGEST_SMALL_BUCKET)
            assert bucket_size(axis, most + 1) > bucket_size(axis, most) + 16  # the first of the large steps
            assert long.axes[axis][2] == THROUGHPUT.axes[axis][2]
    assert {axis: (least, most) for axis, (least, _, most) in long.axes.items()} == {
        axis: (least, most) for axis, (least, _, most) in THROUGHPUT.axes.items()
    }


@pytest.mark.parametrize(
    ("subwords", "names"),
    [
        (40, ["latency", "throughput"]),
        (128, ["latency", "throughput"]),
        (129, ["latency", "throughput", "long"]),
        (8192, ["latency", "throughput", "long"]),
    ],
)
def test_profiles_that_no_window_needs_are_left_out(subwords: int, names: list[str]) -> None:
    kept = choose_profiles([], JOINED_PROFILES, sizes(subwords, words=400))
    assert [profile.name for profile in kept] == names
    assert max(profile.axes["subwords"][2] for profile in kept) == min(subwords, 512)


def test_profiles_asked_for_are_all_kept() -> None:
    asked = [parse_profile("batch=1:1:1"), parse_profile("batch=1:1:1")]
    assert choose_profiles(asked, JOINED_PROFILES, sizes(512, 512)) == asked
    assert choose_profiles([], DEFAULT_PROFILES, sizes(512, 512)) == list(DEFAULT_PROFILES)
