"""Ratios within rounds, and over them."""

import msgspec
import pytest

from trimf.bench.report.ratios import compute_ratios
from trimf.bench.report.schema import Case, Memory, Round


def one(whole=(), plain=(), sizes=None, seconds=1.0, growth=()):
    samples = {"whole": list(whole), "plain encoder": list(plain)}
    return Round(
        load=1,
        first=1,
        samples={stage: values for stage, values in samples.items() if values},
        sizes=sizes or [(1, 5)] * len(whole),
        seconds=seconds,
        padding=0,
        memory=Memory(host=1, growth=growth),
    )


def case(name, *rounds, **fields):
    known = {"kind": "latency", "model": "a", "engine": "onnx", "backend": "cpu", "threads": 1, "batch_size": 1}
    return Case(name=name, rounds=list(rounds), **(known | fields))


def found(*cases, **precisions):
    return {ratio.name: ratio for ratio in compute_ratios(cases, precisions)}


def test_medians_are_compared_within_a_round():
    (ratio,) = found(case("x", one([4, 4, 90], [2]), one([9], [3]), one([2], [2]))).values()
    assert (ratio.value, ratio.low, ratio.high, ratio.rounds) == (2, 1, 3, 3)
    assert (ratio.of, ratio.to) == ("x", "x: plain encoder")


def test_precisions_are_compared_with_the_first_model():
    cases = [case("one", one([10])), case("two", one([4]), model="b"), case("three", one([6]), model="c")]
    all_ = found(*cases, a="fp32", b="int8", c="fp32")
    assert all_["int8 / fp32 (cpu, threads 1, batch 1)"].value == 0.4
    assert all_["c / a (cpu, threads 1, batch 1)"].value == pytest.approx(0.6)
    assert len(all_) == 2


def test_backends_threads_and_batches():
    cases = [
        case("one", one([10])),
        case("gpu", one([2]), backend="cuda"),
        case("threads", one([6]), threads=2),
        case("batch", one([40, 80], sizes=[(8, 60), (8, 60)]), batch_size=8),
    ]
    all_ = found(*cases)
    assert all_["a: cuda / cpu (a, threads 1, batch 1)"].value == 0.2
    assert all_["2 threads / 1 (a, cpu, batch 1)"].value == 0.6
    assert all_["time per word, batch 8 / batch 1 (a, cpu, threads 1)"].value == 0.5  # 1 ms and 2 ms
    assert len(all_) == 3


def test_pytorch_is_compared_with_every_bundle_on_the_same_device():
    cases = [
        case("one", one([10])),
        case("gpu", one([1]), backend="cuda"),
        case("eager", one([30]), model="t", engine="eager"),
        case("compile", one([20]), model="t", engine="compile"),
    ]
    all_ = found(*cases)
    assert all_["eager / a (cpu, threads 1, batch 1)"].value == 3
    assert all_["compile / a (cpu, threads 1, batch 1)"].value == 2
    assert all_["eager / compile (cpu, threads 1, batch 1)"].value == 1.5
    assert "eager / a (cuda, threads 1, batch 1)" not in all_


def test_workers_processes_and_callers_are_compared_by_speed():
    stream = {"kind": "throughput"}
    cases = [
        case("s", one(sizes=[(100, 900)]), **stream),
        case("w", one(sizes=[(180, 900)]), workers=2, **stream),
        case("p", one(sizes=[(170, 900)]), processes=2, **stream),
        case("c", one([5], sizes=[(150, 900)]), concurrency=4, **stream),
    ]
    all_ = found(*cases)
    assert all_["sentences/s, 2 workers / 1 (a, cpu, threads 1, batch 1)"].value == 1.8
    assert all_["sentences/s, 2 processes / 1 (a, cpu, threads 1, batch 1)"].value == 1.7
    assert all_["sentences/s, 4 callers / 1 (a, cpu, threads 1, batch 1)"].value == 1.5
    assert len(all_) == 3


def test_memory_of_a_soak():
    growth = ((500, 90.0), (1000, 100.0), (2000, 105.0))
    (ratio,) = found(case("s", one(sizes=[(2000, 9)], growth=growth), kind="soak")).values()
    assert ratio.value == 1.05
    assert not found(case("s", one(sizes=[(500, 9)], growth=growth[:1]), kind="soak"))


def test_what_lacks_rounds_is_left_out():
    assert found(case("x"), case("y", one(), model="b"), case("z", one([1]), model="c")) == {}


def test_from_text_counts_what_comes_before_the_call():
    samples = {"whole": [10, 12, 14], "split": [1, 1, 1], "parse": [5, 5, 9], "plain encoder": [10, 10, 10]}
    with_parser, own = one(sizes=[(1, 5)] * 3), one(sizes=[(1, 5)] * 3)
    with_parser = msgspec.structs.replace(with_parser, samples=samples)
    own = msgspec.structs.replace(own, samples={name: values for name, values in samples.items() if name != "parse"})
    all_ = found(case("a", with_parser), case("b", own, batch_size=2))
    assert all_["a: from text / plain encoder"].value == 1.8
    assert all_["b: from text / plain encoder"].value == 1.3
    assert all_["a: whole / plain encoder"].value == 1.2
