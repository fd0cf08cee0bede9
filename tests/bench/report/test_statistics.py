"""Percentiles, ratios and rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimf.bench.report.schema import Case, Memory, Power, Round
from trimf.bench.report.statistics import (
    SampleSummary,
    compute_percentile_interval,
    compute_speed,
    compute_spread,
    compute_stage_ratio,
    describe_throttling,
    estimate_seconds_needed,
    flatten_mapping,
    list_stages,
    mean_sentences_per_call,
    pool_samples,
    summarize_samples,
)

from .reports import awkward


def a_round(**fields) -> Round:
    known = {"load": 1, "first": 1, "samples": {}, "sizes": [], "seconds": 0, "padding": 0, "memory": Memory(host=1)}
    return Round(**(known | fields))


def a_case(*rounds: Round, kind: str = "latency") -> Case:
    return Case(
        name="c", kind=kind, model="m", engine="onnx", backend="cpu", threads=1, batch_size=1, rounds=list(rounds)
    )


@pytest.mark.parametrize(("n", "given"), [(1, 1), (35, 1), (36, 2), (71, 2), (72, 3), (367, 3), (368, 4)])
def test_percentiles_need_samples(n, given):
    found = summarize_samples(list(range(n)))
    assert found.n == n
    assert sum(value is not None for value in found[2:]) == given


@given(st.integers(1, 1500), st.sampled_from([50, 90, 95, 99]))
def test_an_interval_of_order_statistics_is_that_of_the_binomial_distribution(n, q):
    found = compute_percentile_interval(list(range(1, n + 1)), q)
    least = 1 - (q / 100) ** n if q > 50 else 1 - 0.5**n
    if least < 0.975:
        assert found is None
        return
    low, high = found
    below = stats.binom(n, q / 100)
    # The rank below which 2.5 % lie at most, and the one above which 2.5 % lie at most.
    assert below.cdf(low - 1) <= 0.025 + 1e-9 or low == 1
    assert below.cdf(low) > 0.025 - 1e-9
    assert below.cdf(high - 1) >= 0.975 - 1e-9
    assert high == 1 or below.cdf(high - 2) < 0.975 + 1e-9


def test_the_interval_of_p99_holds_the_true_value():
    rng = np.random.default_rng(0)
    true = stats.lognorm(0.3).ppf(0.99)
    ends = [compute_percentile_interval(np.exp(rng.normal(0, 0.3, 400)), 99) for _ in range(400)]
    assert np.mean([low <= true <= high for low, high in ends]) >= 0.93


def test_the_time_that_p99_needs():
    case = a_case(*[a_round(samples={"whole": [100.0] * 23}, seconds=6.0)] * 2)
    assert estimate_seconds_needed(case) == pytest.approx(12 * 368 / 46)
    assert estimate_seconds_needed(case, 90) is None
    assert estimate_seconds_needed(a_case(a_round())) is None


def test_nothing_gives_nothing():
    assert summarize_samples([]) == SampleSummary(0, None, None, None, None, None)


def test_percentiles_are_interpolated():
    found = summarize_samples([float(i) for i in range(1001)])
    assert found == (1001, 500, 500, 900, 950, 990)
    assert summarize_samples([1.0, 2.0]).p50 == 1.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=1200))
def test_percentiles_are_in_order_and_ignore_order(values):
    found = summarize_samples(values)
    above = [value for value in found[2:] if value is not None]
    assert above == sorted(above)
    assert min(values) <= above[0] <= above[-1] <= max(values)
    assert summarize_samples(values[::-1])[2:] == found[2:]


def test_rounds_are_pooled_in_order():
    case = a_case(a_round(samples={"whole": [3, 1]}), a_round(), a_round(samples={"whole": [2], "decode": [1]}))
    assert pool_samples(case) == [3, 1, 2]
    assert pool_samples(case, "decode") == [1]
    assert list_stages(case) == ["decode"]
    text = a_round(samples={key: [1] for key in ("whole", "words", "encoder", "parse", "plain encoder", "split")})
    assert list_stages(a_case(text)) == ["split", "parse", "words", "encoder"]


def test_a_ratio_is_taken_within_a_round():
    drifting = [a_round(samples={"whole": [2 * f, 6 * f], "plain encoder": [f, 3 * f]}) for f in (1, 10, 100)]
    assert compute_stage_ratio(a_case(*drifting)) == (2, 2, 2)
    assert compute_stage_ratio(a_case(a_round(samples={"whole": [1]}))) is None
    assert compute_spread([]) is None
    assert compute_spread([3, 1, 2]) == (2, 1, 3)


def test_rates():
    calls = a_round(samples={"whole": [250, 250]}, sizes=[(1, 10), (3, 20)], seconds=99)
    assert compute_speed(a_case(calls)) == (8, 60)
    assert compute_speed(a_case(calls, calls, kind="throughput")) == pytest.approx((8 / 198, 60 / 198))
    assert compute_speed(a_case(a_round(samples={"whole": [1]}))) is None
    assert compute_speed(a_case(a_round(), kind="throughput")) is None
    assert compute_speed(a_case()) is None
    assert mean_sentences_per_call(a_case(calls)) == 2
    assert mean_sentences_per_call(a_case()) is None


def test_a_nested_environment_is_flat():
    nested = {"device": "cpu", "libraries": {"numpy": "2"}, "driver": None, "flags": ["avx2", "vnni"], "cores": 2}
    assert list(flatten_mapping(nested)) == [
        ("device", "cpu"),
        ("libraries numpy", "2"),
        ("flags", "avx2, vnni"),
        ("cores", "2"),
    ]


def test_what_is_missing_is_missing():
    for report in awkward():
        for case in report.cases:
            assert summarize_samples(pool_samples(case)).n == len(
                np.concatenate([[]] + [r.samples.get("whole", []) for r in case.rounds])
            )


def test_throttling_is_one_line_for_each_reason():
    def slowed(*reasons: str) -> Round:
        power = Power(clock_mhz=1400, lowest_clock_mhz=900, watts=5, joules=5, throttled=reasons)
        return a_round(power=power)

    cases = [a_case(slowed("heat"), slowed(), a_round()), a_case(slowed("heat", "cap"))]
    assert list(describe_throttling(cases)) == [
        "throttled by heat in 2 of 4 rounds, lowest clock 900 MHz (c)",
        "throttled by cap in 1 of 4 rounds, lowest clock 900 MHz (c)",
    ]
