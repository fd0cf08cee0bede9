"""Summaries of the times of nodes, against a slow and obvious one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.engine.backend import BACKENDS
from trimf.runtime.engine.profiling import NodeCall, NodeTimes, list_profiling_variables, summarize_runs
from trimf.runtime.errors import BackendError

CALLS = st.builds(
    NodeCall,
    st.sampled_from(["", "a", "b", "é\n\U0001f389"]),
    st.sampled_from(["", "MatMul", "Add"]),
    st.sampled_from(["CPUExecutionProvider", "TensorRT"]),
    st.floats(0, 1e6),
)


def slow_summary(runs: list[list[NodeCall]]) -> list[tuple[tuple[str, str, str], float, float]]:
    """Name, operator and provider, mean and median of each node; the n-th of a name in each run is one node."""
    found = []
    for kind in {call[:3] for run in runs for call in run}:
        times = [[call.microseconds for call in run if call[:3] == kind] for run in runs]
        for place in range(max(map(len, times))):
            values = [same[place] if place < len(same) else 0.0 for same in times]
            found.append((kind, float(np.mean(values)), float(np.median(values))))
    return sorted(found)


@given(st.lists(st.lists(CALLS, min_size=1, max_size=6), min_size=1, max_size=5))
def test_means_and_medians_are_those_of_a_slow_summary(runs: list[list[NodeCall]]) -> None:
    times = summarize_runs(runs, 0, "x")
    assert times.runs == len(runs)
    found = sorted((node[:3], node.mean, node.median) for node in times.nodes)
    expected = slow_summary(runs)
    assert [kind for kind, _, _ in found] == [kind for kind, _, _ in expected]
    assert np.allclose([figures for _, *figures in found], [figures for _, *figures in expected])
    means = [node.mean for node in times.nodes]
    assert means == sorted(means, reverse=True)
    total = sum(call.microseconds for run in runs for call in run)
    assert len(runs) * sum(means) == pytest.approx(total)


def test_first_runs_are_left_out() -> None:
    runs = [[NodeCall("a", "Add", "CPU", value)] for value in (900.0, 1.0, 3.0, 2.0)]
    assert summarize_runs(runs, 1, "x") == NodeTimes(3, [("a", "Add", "CPU", 2.0, 2.0)])  # type: ignore[list-item]


@pytest.mark.parametrize("runs", [[], [[]], [[NodeCall("a", "Add", "CPU", 1.0)]]])
def test_no_time_is_an_error(runs: list[list[NodeCall]]) -> None:
    with pytest.raises(BackendError, match=rf"no node of y has a time: {len(runs)} runs were recorded, .* first 1 do"):
        summarize_runs(runs, 1, "y")


def test_onnx_runtime_waits_for_each_kernel_of_a_gpu() -> None:
    needed = [name for name in BACKENDS if list_profiling_variables(name) == {"CUDA_LAUNCH_BLOCKING": "1"}]
    assert needed == ["auto", "cuda", "tensorrt-ep", "tensorrt-rtx-ep"]
    assert list_profiling_variables("cpu") == list_profiling_variables("tensorrt") == {}
