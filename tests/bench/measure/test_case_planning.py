"""Options and the cases that they make."""

from pathlib import Path

import msgspec
import pytest

from trimf.bench.measure import corpus as data
from trimf.bench.measure.case_planning import BenchmarkOptions, BenchmarkTarget, name_models, plan_cases
from trimf.bench.measure.jobs import ModelCheck
from trimf.runtime.errors import BackendError, DataError, InputError
from trimf.runtime.text.parser import Parse

KNOWN = ModelCheck(backend="cpu", reason="", device=None, products={}, median_subwords=9, work={}, lengths={})
BUNDLE = BenchmarkTarget("a", "/a", "onnx", "cpu", KNOWN, {16: "16.json"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": 0}, "seconds must be > 0, got 0"),
        ({"seconds": float("nan")}, "nan"),
        ({"rounds": 0}, "rounds must be >= 1, got 0"),
        ({"soak": -1}, "soak must be >= 0, got -1"),
        ({"threads": (1, 0)}, "threads must be >= 1, got 0"),
        ({"batch_sizes": ()}, "batch_sizes must have at least one value"),
        ({"batch_sizes": (8, 8)}, "8 twice"),
        ({"workers": (0,)}, "workers must be >= 1, got 0"),
        ({"processes": (0,)}, "processes must be >= 1, got 0"),
        ({"concurrency": (0,)}, "concurrency must be >= 1, got 0"),
        ({"lengths": (-1,)}, "lengths must be >= 1, got -1"),
        ({"models": ("x", "x")}, "x twice"),
    ],
)
def test_bad_options(change, words):
    with pytest.raises(InputError, match=words):
        BenchmarkOptions(**change).check()


def test_an_unknown_backend():
    with pytest.raises(BackendError, match="quantum"):
        BenchmarkOptions(backends=("quantum",)).check()


def test_the_default_options_are_good():
    BenchmarkOptions().check()
    BenchmarkOptions(lengths=()).check()


def test_names_tell_models_apart():
    assert name_models(["default", "/x/one/best", "/x/two"]) == ["default", "best", "two"]
    assert name_models(["/x/one/best", "/x/two/best"]) == ["one/best", "two/best"]


def test_processes_are_a_case_of_their_own():
    options = BenchmarkOptions(batch_sizes=(1, 32), workers=(1, 2), processes=(1, 2))
    streams = [spec for spec in plan_cases(options, [BUNDLE], "d") if spec.kind == "throughput"]
    assert [(spec.workers, spec.processes, spec.batch_size) for spec in streams] == [
        *((1, 1, 1), (1, 1, 32)),
        *((2, 1, 1), (2, 1, 32)),
        *((1, 2, 1), (1, 2, 32)),
    ]
    assert streams[-1].name.endswith("batch 32 processes 2")


def test_the_cases_of_a_bundle():
    options = BenchmarkOptions(batch_sizes=(1, 8), workers=(1, 2), concurrency=(1, 4), soak=100, seconds=6, rounds=3)
    specs = plan_cases(options, [BUNDLE], "data.json")
    kinds = [spec.kind for spec in specs]
    assert [kinds.count(kind) for kind in ("latency", "length", "throughput", "soak")] == [2, 1, 5, 1]
    assert len({spec.name for spec in specs}) == len(specs)
    assert {spec.seconds for spec in specs} == {2.0}
    assert {spec.data for spec in specs if spec.kind == "length"} == {"16.json"}


def test_a_case_without_a_requested_time_goes_on_until_p99_is_known():
    specs = plan_cases(BenchmarkOptions(rounds=3), [BUNDLE], "d")
    assert {(spec.seconds, spec.calls, spec.max_seconds) for spec in specs} == {(4 / 3, 123, 10.0)}
    specs = plan_cases(BenchmarkOptions(seconds=3, rounds=3), [BUNDLE], "d")
    assert {(spec.seconds, spec.calls, spec.max_seconds) for spec in specs} == {(1.0, 0, 0.0)}


def test_pytorch_has_latency_alone():
    target = BUNDLE._replace(engine="eager", lengths={})
    assert {spec.kind for spec in plan_cases(BenchmarkOptions(soak=5), [target], "d")} == {"latency"}


class Chain:
    name, labels = "chain", ("dep",)

    def parse(self, sentences):
        return [Parse([max(i - 1, 0) for i in range(len(one))], ["dep"] * len(one)) for one in sentences]


def test_the_sentences_that_come_with_it():
    corpus = data.read_corpus(None)
    lengths = [len(one.tokens) for one in corpus.sentences]
    assert len(lengths) == len(corpus.texts) == 60
    assert min(lengths) == 4
    assert 50 < max(lengths) <= 60
    assert not corpus.annotated


def test_text_is_split_and_parsed_once(tmp_path):
    path = tmp_path / "news.txt"
    path.write_text("Ann lives in Rome. Bob too.\n\nYes\n")
    corpus = data.parse_corpus(data.read_corpus(path), Chain())
    assert corpus.sentence_texts == ["Ann lives in Rome.", "Bob too.", "Yes"]
    assert corpus.texts == ["Ann lives in Rome. Bob too.", "Yes"]
    assert corpus.word_count == 9
    assert [list(one.heads) for one in corpus.to_parsed_sentences()] == [[0, 0, 1, 2, 3], [0, 0, 1], [0]]
    data.write_corpus(corpus, tmp_path / "c.json")
    assert data.load_corpus(str(tmp_path / "c.json")) == corpus
    assert corpus.name.endswith("/news.txt")


def test_annotation_is_kept_with_its_parses(tiny_data):
    corpus = data.read_corpus(tiny_data)
    assert corpus.annotated
    assert not corpus.sentence_texts
    assert data.parse_corpus(corpus, Chain()) == corpus
    bare = [msgspec.structs.replace(one, heads=None, labels=None) for one in corpus.sentences]
    assert all(
        one.heads is not None
        for one in data.parse_corpus(msgspec.structs.replace(corpus, sentences=bare), Chain()).sentences
    )


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [("empty.txt", "\n\n", InputError), ("notes.md", "# Notes", DataError), ("no.jsonl", "", DataError)],
)
def test_no_sentences(tmp_path, name, content, error):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=name):
        data.read_corpus(tmp_path / name)


def test_a_missing_file():
    with pytest.raises(InputError, match="such"):
        data.read_corpus(Path("no/such.txt"))
