"""Profile the nodes of a bundle: run batches with the profiler of the inference library, apart from what is timed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import islice

from ...runtime.bundle.reader import Bundle
from ...runtime.engine.backend_selection import open_backend
from ...runtime.engine.profiled_backend import ProfiledBackend
from ...runtime.pipeline_loading import open_pipeline
from ..report.schema import Profile, ProfiledNode, SubgraphProfile
from .corpus import load_corpus
from .jobs import WARM_UP_BATCHES, Job
from .latency import count_distinct_batches, iterate_batches

#: Most batches of a profile; the trace of a batch takes a quarter of a megabyte and more.
MAX_BATCHES = 200


def profile_nodes(job: Job) -> Profile:
    """Run the batches of a latency case with a profiler and return the time of every node.

    Args:
        job: The job, of a bundle.

    Returns:
        The times after a warm-up; a subgraph that the data does not need has no runs and no nodes.

    Raises:
        BundleError: The bundle is damaged.
        BackendError: The bundle cannot run here, or the library gives no times.
    """
    bundle = Bundle(job.path)
    backend = ProfiledBackend(open_backend(job.backend, job.threads, bundle))
    pipeline = open_pipeline(bundle, backend)
    sentences = load_corpus(job.data).to_parsed_sentences()

    def run_batches(is_done: Callable[[int, float], bool], limit: int) -> int:
        started = time.perf_counter()
        for turn, batch in enumerate(islice(iterate_batches(len(sentences), job.batch_size), limit), start=1):
            pipeline.run([sentences[index] for index in batch], job.batch_size)
            if is_done(turn, time.perf_counter() - started):
                break
        return turn

    distinct = count_distinct_batches(len(sentences), job.batch_size)
    runs: Counter[str] = Counter()
    with pipeline.observe(lambda call: runs.update([call.name])):
        run_batches(
            lambda turn, seconds: turn >= job.warm_up_batches and seconds >= job.warm_up_seconds,
            WARM_UP_BATCHES if backend.name == "cpu" else max(WARM_UP_BATCHES, min(distinct, MAX_BATCHES)),
        )
        warm_up = Counter(runs)
        batches = run_batches(
            lambda turn, seconds: seconds >= job.seconds and (turn >= job.calls or seconds >= job.max_seconds),
            MAX_BATCHES,
        )
    profiles = []
    for name, profiler in backend.profilers.items():
        times = profiler.read(warm_up[name]) if runs[name] > warm_up[name] else None
        nodes = [ProfiledNode(**node._asdict()) for node in times.nodes] if times else []
        profiles.append(SubgraphProfile(subgraph=name, runs=times.runs if times else 0, nodes=nodes))
    pipeline.close()
    return Profile(
        model=job.model,
        backend=job.backend,
        threads=job.threads,
        batch_size=job.batch_size,
        batches=batches,
        subgraphs=profiles,
    )
