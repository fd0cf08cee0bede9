"""Raw text through one extractor: as a stream, from several threads, and for long."""

import pytest

from trimf.bench.measure import throughput as stream
from trimf.bench.measure.corpus import Corpus
from trimf.bench.measure.jobs import Job
from trimf.runtime.errors import InputError
from trimf.runtime.extractor import load
from trimf.runtime.text.parser import Parse

TEXTS = ["Ann lives in Rome. Bob too.", "Yes", "Jack Ruby shot Oswald in Dallas."]
CORPUS = Corpus("texts", False, [], TEXTS, [])
SIZES = [(2, 8), (1, 1), (1, 7)]


class Chain:
    name, labels = "chain", ("dep",)

    def parse(self, sentences):
        return [Parse([max(i - 1, 0) for i in range(len(one))], ["dep"] * len(one)) for one in sentences]


@pytest.fixture
def extractor():
    with load("default", backend="cpu", threads=1, parser=Chain()) as loaded:
        yield loaded


def spec(**fields):
    return Job(name="x", kind="throughput", model="default", path="default", data="", seconds=0.1, **fields)


def test_a_stream_counts_what_went_through(extractor):
    marks = []
    found = stream.measure_throughput(spec(batch_size=4), CORPUS, extractor, 7.0, marks.append)
    ((sentences, words),) = found.sizes
    assert sentences / words == pytest.approx(4 / 16, rel=0.2)
    assert found.seconds >= 0.1
    assert found.load == 7.0
    assert 0 <= found.padding < 1
    assert marks == ["start", "stop"]


@pytest.mark.slow
def test_processes_are_counted_after_their_warm_up():
    marks = []
    with load("default", backend="cpu", threads=2) as extractor:
        found = stream.measure_throughput(spec(batch_size=2, processes=2), CORPUS, extractor, 7.0, marks.append)
    ((sentences, words),) = found.sizes
    assert sentences / words == pytest.approx(4 / 16, rel=0.2)
    assert found.seconds >= 0.1
    assert found.padding is None
    assert marks == ["start", "stop"]


def test_padding_is_counted_anew_each_time(extractor):
    padding = stream.PaddingCounter(extractor)
    list(extractor.stream(TEXTS, 4))
    assert 0 < padding.take_share() < 1
    list(extractor.stream(["Yes"], 4))
    assert padding.take_share() == padding.take_share() == 0


def test_callers_keep_a_sample_of_every_call(extractor):
    found = stream.measure_throughput(spec(concurrency=3), CORPUS, extractor, 0.0, lambda _: None)
    assert len(found.samples["whole"]) == len(found.sizes) >= 3
    assert set(found.sizes) <= set(SIZES)
    assert found.seconds >= 0.1


def test_a_caller_that_fails_is_an_error(extractor):
    broken = Corpus("texts", False, [], [TEXTS[0], "lone \ud800"], [])
    with pytest.raises(InputError, match="surrogate"):
        stream._measure_callers(
            spec(concurrency=2), broken, extractor, stream.PaddingCounter(extractor), 0, 0, lambda _: None
        )


def test_a_soak_says_how_far_it_is_and_repeats_no_text(extractor, monkeypatch):
    marks, texts = [], []
    real = stream._number_texts
    monkeypatch.setattr(stream, "PROGRESS_REPORTS", 4)
    monkeypatch.setattr(stream, "_number_texts", lambda *given: (texts.append(one) or one for one in real(*given)))
    found = stream.measure_soak(spec(batch_size=2, sentences=20), CORPUS, extractor, 0.0, marks.append)
    assert len(set(texts)) == len(texts)
    done = [int(mark) for mark in marks if mark.isdigit()]
    assert done == sorted(set(done))
    assert done[-1] == found.sizes[0][0] >= 20
    assert len(done) >= 4
