"""Throughput: raw text through an extractor, as a stream, in processes, or from several threads that share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, cycle, islice, repeat
from typing import Any

from ...runtime.extractor import Extractor
from ...runtime.pipeline import SubgraphCall
from ..report.schema import Measurement
from .corpus import Corpus
from .jobs import Job

#: Batches per worker, or calls per thread, before the measurement starts.
WARM_UP_BATCHES = 3
#: Number of progress reports of a soak.
PROGRESS_REPORTS = 200


class PaddingCounter:
    """Counter of the real and padded subwords that an extractor encodes.

    Attributes:
        counts: Real subwords and padded subwords of each encoder run.
    """

    def __init__(self, extractor: Extractor) -> None:
        """Instrument an extractor.

        Args:
            extractor: The calls of its encoder are observed from now on.
        """
        self.counts: list[tuple[int, int]] = []
        extractor.pipeline.observers += (self._count_subwords,)

    def take_share(self) -> float:
        """Return the share of positions that were padding since the last call, and start over."""
        real, padded = (sum(column) for column in zip((0, 0), *self.counts, strict=True))
        self.counts.clear()
        return 1 - real / padded if padded else 0.0

    def _count_subwords(self, call: SubgraphCall) -> None:
        """Count the subwords of an encoder run; appending to the list is safe from any thread."""
        if "attention_mask" in call.graph.inputs:
            mask = call.inputs["attention_mask"]
            self.counts.append((int(mask.sum()), mask.size))


def measure_throughput(
    job: Job, corpus: Corpus, extractor: Extractor, load: float, mark: Callable[[str], None]
) -> Measurement:
    """Stream texts, or call the extractor from several threads, for ``job.seconds``.

    The time runs from the first input to the last result, so that filling and draining the stream count. With several
    processes it starts after their warm-up, because each stream starts its own, and ends before the stream does.

    Args:
        job: The job; ``job.concurrency`` above 1 selects calls from threads.
        corpus: Texts to repeat.
        extractor: Extractor to measure; its pipeline is instrumented.
        load: Milliseconds that loading the extractor took.
        mark: Receives "start" and "stop" of the measurement.

    Returns:
        The measurements.
    """
    padding = PaddingCounter(extractor)
    first = _time_call(extractor, corpus.texts[0])
    if job.concurrency > 1:
        return _measure_callers(job, corpus, extractor, padding, load, first, mark)
    if job.processes > 1:
        return _measure_processes(job, corpus, extractor, load, first, mark)
    warm_up = _time_warm_up(job, extractor) if job.times_warm_up else None
    for _ in _stream_texts(job, extractor, _take_texts(corpus, WARM_UP_BATCHES * job.batch_size * job.workers)):
        pass
    padding.take_share()
    sizes = _count_sizes(corpus)
    done = words = 0
    mark("start")
    started = time.perf_counter()
    for index, _ in enumerate(_stream_texts(job, extractor, _repeat_until(started + job.seconds, corpus))):
        size = sizes[index % len(sizes)]
        done, words = done + size[0], words + size[1]
    seconds = time.perf_counter() - started
    mark("stop")
    return Measurement(
        load=load,
        first=first,
        samples={},
        sizes=[(done, words)],
        seconds=seconds,
        padding=padding.take_share(),
        warm_up=warm_up,
    )


def measure_soak(
    job: Job, corpus: Corpus, extractor: Extractor, load: float, mark: Callable[[str], None]
) -> Measurement:
    """Stream at least ``job.sentences`` sentences and report progress, to observe the growth of memory.

    Every text ends in a different number, so that anything that caches words meets new ones all the time.

    Args:
        job: The job.
        corpus: Texts to repeat.
        extractor: Extractor to measure; its pipeline is instrumented.
        load: Milliseconds that loading the extractor took.
        mark: Receives "start", the number of sentences done about ``PROGRESS_REPORTS`` times, and "stop".

    Returns:
        The measurements.
    """
    padding = PaddingCounter(extractor)
    first = _time_call(extractor, corpus.texts[0])
    sizes = _count_sizes(corpus)
    step = max(1, job.sentences // PROGRESS_REPORTS)
    done = words = reported = 0
    mark("start")
    started = time.perf_counter()
    for index, _ in enumerate(_stream_texts(job, extractor, _number_texts(job.sentences, corpus, sizes))):
        size = sizes[index % len(sizes)]
        done, words = done + size[0], words + size[1] + 1
        if done - reported >= step:
            reported = done
            mark(str(done))
    seconds = time.perf_counter() - started
    mark("stop")
    if reported < done:
        mark(str(done))
    return Measurement(
        load=load, first=first, samples={}, sizes=[(done, words)], seconds=seconds, padding=padding.take_share()
    )


def _measure_processes(
    job: Job, corpus: Corpus, extractor: Extractor, load: float, first: float, mark: Callable[[str], None]
) -> Measurement:
    """Stream texts through ``job.processes`` processes for ``job.seconds`` after they have warmed up.

    Results come in chunks. The time runs from one result to another and leaves the latter out, so that on average as
    much was done before the first as remains undone after the last.
    """
    sizes = _count_sizes(corpus)
    done = words = 0
    stream = extractor.stream(cycle(corpus.texts), job.batch_size, processes=job.processes)
    with closing(stream):
        results = (sizes[index % len(sizes)] for index, _ in enumerate(stream))
        warm_up = WARM_UP_BATCHES * job.batch_size * job.processes
        size = next(islice(results, warm_up, None))
        mark("start")
        started = time.perf_counter()
        while (seconds := time.perf_counter() - started) < job.seconds or not done:
            done, words = done + size[0], words + size[1]
            size = next(results)
        mark("stop")
    return Measurement(load=load, first=first, samples={}, sizes=[(done, words)], seconds=seconds, padding=None)


def _measure_callers(
    job: Job,
    corpus: Corpus,
    extractor: Extractor,
    padding: PaddingCounter,
    load: float,
    first: float,
    mark: Callable[[str], None],
) -> Measurement:
    """Call the extractor from ``job.concurrency`` threads and keep a sample of every call."""
    sizes = _count_sizes(corpus)
    calls: list[tuple[float, tuple[int, int]]] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(job.concurrency + 1)
    started = 0.0

    def is_unfinished() -> bool:
        taken = time.perf_counter() - started
        return taken < job.seconds or (len(calls) < job.calls and taken < job.max_seconds)

    def call(offset: int) -> None:
        try:
            for text in corpus.texts[:WARM_UP_BATCHES]:  # a thread has its own buffers on a GPU
                extractor(text)
            barrier.wait()
            barrier.wait()
            position = offset
            while position == offset or is_unfinished():
                index = position % len(corpus.texts)
                calls.append((_time_call(extractor, corpus.texts[index]), sizes[index]))
                position += 1
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    offsets = range(0, len(corpus.texts) * job.concurrency, len(corpus.texts))
    threads = [threading.Thread(target=call, args=(offset // job.concurrency,)) for offset in offsets]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
        padding.take_share()
        mark("start")
        started = time.perf_counter()
        barrier.wait()
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    mark("stop")
    if failures:
        raise next((error for error in failures if not isinstance(error, threading.BrokenBarrierError)), failures[0])
    return Measurement(
        load=load,
        first=first,
        samples={"whole": [milliseconds for milliseconds, _ in calls]},
        sizes=[size for _, size in calls],
        seconds=seconds,
        padding=padding.take_share(),
    )


def _time_call(extractor: Extractor, text: str) -> float:
    """Return the milliseconds of one call."""
    started = time.perf_counter()
    extractor(text)
    return 1000 * (time.perf_counter() - started)


def _time_warm_up(job: Job, extractor: Extractor) -> float:
    """Return the milliseconds of the warm-up for the batches and the threads of a stream."""
    started = time.perf_counter()
    extractor.warm_up(job.batch_size, job.workers)
    return 1000 * (time.perf_counter() - started)


def _stream_texts(job: Job, extractor: Extractor, texts: Iterator[str]) -> Iterator[Any]:
    return extractor.stream(texts, job.batch_size, job.workers)


def _take_texts(corpus: Corpus, count: int) -> Iterator[str]:
    """Yield ``count`` texts, repeating them as needed."""
    return (text for text, _ in zip(cycle(corpus.texts), repeat(None, count), strict=False))


def _repeat_until(deadline: float, corpus: Corpus) -> Iterator[str]:
    """Yield at least one text, and repeat the texts until the deadline."""
    yield corpus.texts[0]
    for text in chain(corpus.texts[1:], cycle(corpus.texts)):
        if time.perf_counter() >= deadline:
            return
        yield text


def _number_texts(sentences: int, corpus: Corpus, sizes: list[tuple[int, int]]) -> Iterator[str]:
    """Repeat the texts until they have at least that many sentences, with a different number after each text."""
    yielded = 0
    for index, text in enumerate(cycle(corpus.texts)):
        if yielded >= sentences:
            return
        yielded += sizes[index % len(sizes)][0]
        yield f"{text} {index}"


def _count_sizes(corpus: Corpus) -> list[tuple[int, int]]:
    """Return the sentences and words of each text, as the runtime splits it."""
    from ...runtime.text.tokenization import DEFAULT_RULES, split_sentences

    rules = DEFAULT_RULES._replace(language=corpus.language)
    texts = [split_sentences(text, rules) for text in corpus.texts]
    return [(len(sentences), sum(len(sentence.words) for sentence in sentences)) for sentences in texts]
