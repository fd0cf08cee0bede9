"""Latency: run batches one after another through the pipeline, as a whole, by stage, and through the plain encoder."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from ...runtime.pipeline import ParsedSentence, Pipeline, SubgraphCall
from ...runtime.text.parser import Parser
from ...runtime.text.words import DEFAULT_LANGUAGE
from . import device_timing as device
from .jobs import MAX_WARM_UP_SECONDS, WARM_UP_BATCHES
from .loaded_model import EncoderRunner, LoadedModel


def iterate_batches(sentences: int, batch_size: int) -> Iterator[list[int]]:
    """Yield batches of sentence indices, in order and repeating without end.

    Args:
        sentences: Number of sentences.
        batch_size: Sentences per batch.
    """
    for index in count():
        yield [(index * batch_size + offset) % sentences for offset in range(batch_size)]


def count_distinct_batches(sentences: int, batch_size: int) -> int:
    """Return the number of batches after which ``iterate_batches`` repeats.

    Args:
        sentences: Number of sentences.
        batch_size: Sentences per batch.
    """
    return int(np.lcm(sentences, batch_size)) // batch_size


class CallRecorder:
    """Record of the subgraph runs and device copies of one instrumented call.

    Call ``clear`` before each call of ``pipeline``.

    Attributes:
        pipeline: Copy of the model's pipeline whose calls of subgraphs are observed.
        names: Names of the subgraphs, in the order they run.
        runs: Name, start and end of each subgraph run.
        copies: Copies to and from the device; filled by ``record_copies``.
        encoder_inputs: Input arrays of each encoder run.
        producers: Output tensor -> subgraph that computed it.
    """

    def __init__(self, opened: LoadedModel) -> None:
        self._wait = opened.wait_for_subgraph
        self.runs: list[tuple[str, float, float]] = []
        self.copies: list[device.CopyEvent] = []
        self.encoder_inputs: list[dict[str, Any]] = []
        self.producers: dict[str, str] = {}
        self.names = list(opened.pipeline.graphs)
        self.pipeline: Pipeline = copy.copy(opened.pipeline)
        self.pipeline.observers += (self._record_run,)

    def clear(self) -> None:
        """Forget the previous call."""
        self.runs.clear()
        self.copies.clear()
        self.encoder_inputs.clear()

    def _record_run(self, call: SubgraphCall) -> None:
        """Wait until a subgraph has finished, and record the run."""
        self._wait(call.graph)
        self.runs.append((call.name, call.started, time.perf_counter()))
        self.producers.update(dict.fromkeys(call.outputs, call.name))
        if "attention_mask" in call.graph.inputs:
            self.encoder_inputs.append({tensor: call.inputs[tensor] for tensor in call.graph.inputs})

    def split_stages(self, started: float, ended: float) -> dict[str, float]:
        """Split the duration of the last call into stages.

        Args:
            started: Start of the call (``time.perf_counter``).
            ended: End of the call.

        Returns:
            Milliseconds per stage; they add up to the duration of the call. "words" is the time before the first
            subgraph, "decode" the time that no subgraph and no copy accounts for.
        """
        times: dict[str, float] = defaultdict(float, dict.fromkeys(self.names, 0.0))
        for name, start, end in self.runs:
            times[name] += end - start
        for event in self.copies:
            during = next((name for name, start, end in self.runs if start <= event.start < end), None)
            owner = during or self.producers.get(event.name, "decode")
            times[f"{owner} {event.direction}"] += event.end - event.start
            if during:
                times[during] -= event.end - event.start
        words = (self.runs[0][1] if self.runs else ended) - started
        rest = ended - started - words - sum(times.values())
        stages = {"words": words, **times, "decode": rest}
        return {name: 1000 * value for name, value in stages.items()}


class LatencyLoop:
    """Measurement loop that keeps one sample of every stage for each batch.

    The samples of a batch come from calls in direct succession: the whole call and the instrumented call that is split
    into stages, which alternate in going first; the plain encoder on the same arrays; the parser on the same words, if
    there is one; and the splitting of the same texts into words, if there are texts.

    Attributes:
        samples: Stage -> milliseconds, one per batch.
        sizes: Sentences and words of each batch.
        real_subwords: Subwords that were encoded, without padding.
        padded_subwords: Subwords that were encoded, with padding.
    """

    def __init__(
        self,
        opened: LoadedModel,
        plain: EncoderRunner | None,
        sentences: Sequence[ParsedSentence],
        batch_size: int,
        parser: Parser | None = None,
        texts: Sequence[str] = (),
        language: str = DEFAULT_LANGUAGE,
        *,
        split: bool = True,
        warm_up_batches: int = WARM_UP_BATCHES,
        warm_up_seconds: float = MAX_WARM_UP_SECONDS,
    ) -> None:
        """Prepare the loop.

        Args:
            opened: The model to measure.
            plain: Runs the plain encoder on the arrays of a batch. None leaves out the instrumented call, too.
            sentences: Parsed sentences; batches repeat them in order.
            batch_size: Sentences per batch.
            parser: Parser to time on the words of each batch.
            texts: Text of each sentence, to time its splitting into words.
            language: Language whose rules split the texts.
            split: Record the stages of the instrumented call.
            warm_up_batches: Fewest batches of the warm-up.
            warm_up_seconds: Seconds after which the warm-up ends, once these were run.
        """
        self._model, self._run_plain_encoder, self._parser = opened, plain, parser
        self._sentences, self._texts, self._batch_size, self._split = sentences, texts, batch_size, split
        self._language = language
        self._warm_up_batches, self._warm_up_seconds = warm_up_batches, warm_up_seconds
        self._recorder = CallRecorder(opened)
        self._distinct_batches = count_distinct_batches(len(sentences), batch_size)
        self.samples: dict[str, list[float]] = {}
        self.sizes: list[tuple[int, int]] = []
        self.real_subwords = self.padded_subwords = 0

    def _iterate_batches(self) -> Iterator[list[int]]:
        return iterate_batches(len(self._sentences), self._batch_size)

    def warm_up(self) -> float:
        """Run batches without keeping samples.

        Returns:
            Milliseconds of the first whole call, or, for a model that compiles, until nothing was compiled any more.
        """
        batches = self._iterate_batches()
        started = time.perf_counter()
        self._time_whole_call(next(batches))
        first = time.perf_counter() - started
        if not self._model.is_settled():
            first = self._wait_for_compiler(started)
        deadline = time.perf_counter() + self._warm_up_seconds
        turns = WARM_UP_BATCHES if self._model.backend == "cpu" else max(WARM_UP_BATCHES, 2 * self._distinct_batches)
        for turn in range(turns):
            self._measure_batch(turn, next(batches))
            if turn + 1 >= self._warm_up_batches and time.perf_counter() > deadline:
                break
        self.samples, self.sizes, self.real_subwords, self.padded_subwords = {}, [], 0, 0
        return 1000 * first

    def _wait_for_compiler(self, started: float) -> float:
        """Run passes over all batches until one compiles nothing; return the seconds since ``started``."""
        while True:
            for turn, batch in zip(range(self._distinct_batches), self._iterate_batches(), strict=False):
                self._measure_batch(turn, batch)
            ended = time.perf_counter()
            if self._model.is_settled():
                return ended - started

    def measure(self, seconds: float, calls: int = 0, max_seconds: float = 0.0) -> float:
        """Take samples of at least one batch.

        Args:
            seconds: Time to measure at least.
            calls: Batches to measure at least, as far as ``max_seconds`` allows.
            max_seconds: Time after which no further batch is started for the sake of ``calls``.

        Returns:
            The seconds it took.
        """
        started = time.perf_counter()
        for turn, batch in enumerate(self._iterate_batches()):
            self._measure_batch(turn, batch)
            taken = time.perf_counter() - started
            if taken >= seconds and (turn + 1 >= calls or taken >= max_seconds):
                break
        return taken

    def _measure_batch(self, turn: int, batch: list[int]) -> None:
        """Add one sample per stage; ``turn`` decides whether the whole or the instrumented call goes first."""
        steps: list[Callable[[list[int]], dict[str, float]]] = [self._time_whole_call]
        if self._run_plain_encoder:
            steps.append(self._time_stages)
        if turn % 2:
            steps.reverse()
        if self._parser:
            steps.append(self._time_parser)
        if self._texts:
            steps.append(self._time_splitting)
        times: dict[str, float] = {}
        for step in steps:
            times |= step(batch)
        for stage, value in times.items():
            # A copy that only some batches need counts as 0 ms in the others.
            self.samples.setdefault(stage, [0.0] * len(self.sizes)).append(value)
        self.sizes.append((len(batch), sum(len(self._sentences[index].words) for index in batch)))
        for values in self.samples.values():
            values.extend([0.0] * (len(self.sizes) - len(values)))

    def _time_whole_call(self, batch: list[int]) -> dict[str, float]:
        sentences = [self._sentences[index] for index in batch]
        started = time.perf_counter()
        self._model.pipeline.run(sentences, self._batch_size)
        return {"whole": 1000 * (time.perf_counter() - started)}

    def _time_stages(self, batch: list[int]) -> dict[str, float]:
        """Time the stages of an instrumented call, then the plain encoder on the same arrays."""
        sentences, recorder = [self._sentences[index] for index in batch], self._recorder
        recorder.clear()
        with device.record_copies(recorder.copies):
            started = time.perf_counter()
            recorder.pipeline.run(sentences, self._batch_size)
            ended = time.perf_counter()
        times = recorder.split_stages(started, ended) if self._split else {}
        for arrays in recorder.encoder_inputs:
            self.padded_subwords += arrays["attention_mask"].size
            self.real_subwords += int(arrays["attention_mask"].sum())
        assert self._run_plain_encoder is not None
        started = time.perf_counter()
        for arrays in recorder.encoder_inputs:
            self._run_plain_encoder(arrays)
        return times | {"plain encoder": 1000 * (time.perf_counter() - started)}

    def _time_parser(self, batch: list[int]) -> dict[str, float]:
        assert self._parser is not None
        words = [self._sentences[index].words for index in batch]
        started = time.perf_counter()
        self._parser.parse(words)
        return {"parse": 1000 * (time.perf_counter() - started)}

    def _time_splitting(self, batch: list[int]) -> dict[str, float]:
        from ...runtime.text.tokenization import DEFAULT_RULES, split_sentences

        rules = DEFAULT_RULES._replace(language=self._language)
        started = time.perf_counter()
        for index in batch:
            split_sentences(self._texts[index], rules)
        return {"split": 1000 * (time.perf_counter() - started)}
