"""Throughput: raw text through an extractor, as a stream or from several threads that call it."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, cycle, repeat
from typing import Any

from ..runtime.extractor import Extractor
from .data import Corpus
from .schema import Measured
from .spec import Spec

#: Batches that go through before the clock counts.
WARM_UP = 3
#: How often a soak says how far it is.
STEPS = 200


class Padding:
    """Counts real and padded subwords of what an extractor encodes."""

    def __init__(self, extractor: Extractor) -> None:
        self.counts: list[tuple[int, int]] = []
        pipeline = extractor.pipeline = copy.copy(extractor.pipeline)
        pipeline.graphs = {
            name: _Counted(graph, self.counts) if "attention_mask" in graph.inputs else graph
            for name, graph in pipeline.graphs.items()
        }

    def share(self) -> float:
        """Share of positions that were padding since it was last asked."""
        real, padded = (sum(column) for column in zip((0, 0), *self.counts, strict=True))
        self.counts.clear()
        return 1 - real / padded if padded else 0.0


class _Counted:
    """A subgraph that counts what it is given; to append is safe from any thread."""

    def __init__(self, graph: Any, counts: list[tuple[int, int]]) -> None:
        self._graph, self._counts = graph, counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Count, and run the subgraph."""
        mask = arrays["attention_mask"]
        self._counts.append((int(mask.sum()), mask.size))
        outputs: dict[str, Any] = self._graph.run(arrays)
        return outputs


def throughput(spec: Spec, corpus: Corpus, extractor: Extractor, load: float, mark: Callable[[str], None]) -> Measured:
    """Stream texts for ``spec.seconds``, or call the extractor from ``spec.concurrency`` threads for so long.

    The time runs from the first text given to the last extraction got, so that filling and draining count.
    """
    padding = Padding(extractor)
    first = _timed(extractor, corpus.texts[0])
    if spec.concurrency > 1:
        return _concurrent(spec, corpus, extractor, padding, load, first, mark)
    for _ in _stream(spec, extractor, _first(corpus, WARM_UP * spec.batch_size * spec.workers)):
        pass
    padding.share()
    sizes = _sizes(corpus)
    done = words = 0
    mark("start")
    started = time.perf_counter()
    for number, _ in enumerate(_stream(spec, extractor, _until(started + spec.seconds, corpus))):
        one = sizes[number % len(sizes)]
        done, words = done + one[0], words + one[1]
    seconds = time.perf_counter() - started
    mark("stop")
    return Measured(load=load, first=first, samples={}, sizes=[(done, words)], seconds=seconds, padding=padding.share())


def soak(spec: Spec, corpus: Corpus, extractor: Extractor, load: float, mark: Callable[[str], None]) -> Measured:
    """Stream ``spec.sentences`` sentences at least, and say now and then how many are done.

    Every text ends in a number of its own, so that whatever remembers words meets new ones all the time.
    """
    padding = Padding(extractor)
    first = _timed(extractor, corpus.texts[0])
    sizes = _sizes(corpus)
    step = max(1, spec.sentences // STEPS)
    done = words = said = 0
    mark("start")
    started = time.perf_counter()
    for number, _ in enumerate(_stream(spec, extractor, _numbered(spec.sentences, corpus, sizes))):
        one = sizes[number % len(sizes)]
        done, words = done + one[0], words + one[1] + 1
        if done - said >= step:
            said = done
            mark(str(done))
    seconds = time.perf_counter() - started
    mark("stop")
    if said < done:
        mark(str(done))
    return Measured(load=load, first=first, samples={}, sizes=[(done, words)], seconds=seconds, padding=padding.share())


def _concurrent(
    spec: Spec,
    corpus: Corpus,
    extractor: Extractor,
    padding: Padding,
    load: float,
    first: float,
    mark: Callable[[str], None],
) -> Measured:
    sizes = _sizes(corpus)
    calls: list[tuple[float, tuple[int, int]]] = []
    failures: list[BaseException] = []
    together = threading.Barrier(spec.concurrency + 1)
    ends = 0.0

    def call(offset: int) -> None:
        try:
            for text in corpus.texts[:WARM_UP]:  # a thread has its own buffers on a GPU
                extractor(text)
            together.wait()
            together.wait()
            place = offset
            while time.perf_counter() < ends or place == offset:
                number = place % len(corpus.texts)
                calls.append((_timed(extractor, corpus.texts[number]), sizes[number]))
                place += 1
        except BaseException as error:
            failures.append(error)
            together.abort()

    offsets = range(0, len(corpus.texts) * spec.concurrency, len(corpus.texts))
    threads = [threading.Thread(target=call, args=(offset // spec.concurrency,)) for offset in offsets]
    for thread in threads:
        thread.start()
    started = 0.0
    try:
        together.wait()
        padding.share()
        mark("start")
        started = time.perf_counter()
        ends = started + spec.seconds
        together.wait()
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    mark("stop")
    if failures:
        raise next((one for one in failures if not isinstance(one, threading.BrokenBarrierError)), failures[0])
    return Measured(
        load=load,
        first=first,
        samples={"whole": [milliseconds for milliseconds, _ in calls]},
        sizes=[size for _, size in calls],
        seconds=seconds,
        padding=padding.share(),
    )


def _timed(extractor: Extractor, text: str) -> float:
    started = time.perf_counter()
    extractor(text)
    return 1000 * (time.perf_counter() - started)


def _stream(spec: Spec, extractor: Extractor, texts: Iterator[str]) -> Iterator[Any]:
    return extractor.stream(texts, spec.batch_size, spec.workers)


def _first(corpus: Corpus, count: int) -> Iterator[str]:
    return (text for text, _ in zip(cycle(corpus.texts), repeat(None, count), strict=False))


def _until(ends: float, corpus: Corpus) -> Iterator[str]:
    """Texts over again until a time, and one at least."""
    yield corpus.texts[0]
    for text in chain(corpus.texts[1:], cycle(corpus.texts)):
        if time.perf_counter() >= ends:
            return
        yield text


def _numbered(sentences: int, corpus: Corpus, sizes: list[tuple[int, int]]) -> Iterator[str]:
    given = 0
    for number, text in enumerate(cycle(corpus.texts)):
        if given >= sentences:
            return
        given += sizes[number % len(sizes)][0]
        yield f"{text} {number}"


def _sizes(corpus: Corpus) -> list[tuple[int, int]]:
    """Sentences and words of each text, as it is split."""
    from ..runtime.text import split

    found = [split(text) for text in corpus.texts]
    return [(len(sentences), sum(len(one.words) for one in sentences)) for sentences in found]
