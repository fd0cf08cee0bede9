"""Run a pipeline on sentences of usual sizes, so that no user waits for what a backend does once for each size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NamedTuple

import numpy as np

from .decoding.pair_blocks import iterate_pair_blocks
from .pipeline import Pipeline
from .text.parser import ROOT_LABEL, Parse

#: Numbers of entities of a sentence whose pairs are run.
ENTITY_COUNTS = (2, 3, 4, 5)

#: Word that the sentences consist of.
_WORD = "the"


class WarmUpPlan(NamedTuple):
    """What is run.

    Attributes:
        subword_counts: Lengths of the sentences.
        runs: Number of runs of each size.
    """

    subword_counts: tuple[int, ...]
    runs: int


#: The buckets that most sentences fall into. A GPU runs a size normally the first time, captures it the second time,
#: and checks the replay the third time.
_GPU_PLAN = WarmUpPlan((16, 32, 48, 64, 80, 96), 3)

#: A CPU does nothing for each size, but allocates memory and starts threads.
_CPU_PLAN = WarmUpPlan((32,), 1)


def warm_up_pipeline(pipeline: Pipeline, batch_sizes: tuple[int, ...], workers: int, *, gpu: bool) -> None:
    """Run every usual size in the calling thread, and in as many others as will run batches at once.

    Args:
        pipeline: The pipeline.
        batch_sizes: Numbers of sentences.
        workers: Number of threads that will run batches; 1 is the calling thread.
        gpu: Whether the pipeline runs on a GPU.

    Raises:
        BackendError: The backend fails.
    """
    plan = _GPU_PLAN if gpu else _CPU_PLAN
    _run_plan(pipeline, plan, batch_sizes)
    if workers == 1:
        return
    start = Barrier(workers)

    def warm_thread() -> None:
        start.wait()  # a thread that starts after another has ended would take over what that one has warmed up
        _run_plan(pipeline, plan, batch_sizes)

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(warm_thread) for _ in range(workers)]:
            done.result()


def _run_plan(pipeline: Pipeline, plan: WarmUpPlan, batch_sizes: tuple[int, ...]) -> None:
    (encoded,) = pipeline.tokenizer.encode([[_WORD]])
    special = pipeline.tokenizer.special_token_count
    for size in batch_sizes:
        for subwords in plan.subword_counts:
            words = (min(subwords, pipeline.settings.max_subwords) - special) // (len(encoded.ids) - special)
            sentences = [[_WORD] * max(1, min(words, pipeline.settings.max_words))] * size
            for _ in range(plan.runs):
                _run_batch(pipeline, sentences)


def _run_batch(pipeline: Pipeline, sentences: list[list[str]]) -> None:
    """Run all subgraphs, the relations for words that need not be entities."""
    arcs = None
    if not pipeline.has_parser:
        arcs = [Parse(np.arange(len(words)), [ROOT_LABEL] * len(words)) for words in sentences]
    arrays = pipeline.encode_sentences(pipeline.tokenizer.encode(sentences), arcs)
    if "entity_logits" not in arrays:
        arrays |= pipeline.graphs["entities"].run(arrays)
    np.asarray(arrays["entity_logits"])
    if not pipeline.settings.relation_count:
        return
    for counts in _iterate_counts(sentences):
        for far in (False, True):
            _run_relations(pipeline, arrays, counts, far)


def _iterate_counts(sentences: list[list[str]]) -> Iterator[list[int]]:
    """Yield numbers of entities of each sentence: the same in all of them, and in half of them."""
    for count in ENTITY_COUNTS:
        for some in sorted({len(sentences), (len(sentences) + 1) // 2}):
            yield [min(count, len(words)) if row < some else 0 for row, words in enumerate(sentences)]


def _run_relations(pipeline: Pipeline, arrays: Mapping[str, Any], counts: list[int], far: bool) -> None:
    """Run the relations of the first words of each sentence; with ``far``, its last word takes the place of one."""
    words, width = arrays["nodes"].shape[1:]
    spans = []
    for row, count in enumerate(counts):
        places = list(range(count - far)) + [words - 1] * far if count else []
        spans += [(row, place, place) for place in places]
    types = pipeline.settings.relation_count
    for block in iterate_pair_blocks(counts, np.array(spans), words, width, types):
        outputs = pipeline.graphs["relations"].run({**arrays, **block._asdict()})
        np.asarray(outputs["relation_logits"])
