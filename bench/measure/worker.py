"""``python -m trimf.bench.measure.worker``: do one benchmark job in a separate process.

The job is read from stdin and the answer is written to stdout, both as JSON. Nothing heavy is imported before the clock
runs, because the imports that a model needs are part of its load time.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ...runtime.errors import BackendError, InputError, TrimfError, one_line
from ..report.schema import Measurement, Parity, Profile
from .jobs import MARK_PREFIX, DevicePeaks, EncoderWork, F1Scores, Job, ModelCheck

if TYPE_CHECKING:
    from .corpus import Corpus


def main() -> int:
    """Do the job from stdin and write its answer to stdout.

    Returns:
        The exit status: 0, or 1 if the job failed; then the last line of stderr is the reason.
    """
    # Send what libraries print to stderr, so that it cannot mix with the JSON.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        result = _JOBS[job.kind](job)
    except TrimfError as error:
        print(one_line(error), file=sys.stderr)
        return 1
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"{type(error).__name__}: {one_line(error)}", file=sys.stderr)
        return 1
    answer.write(msgspec.json.encode(result))
    answer.close()
    return 0


def _send_mark(word: str) -> None:
    """Tell the parent process that measuring started or stopped, or how many sentences are done."""
    print(f"{MARK_PREFIX}{word}", file=sys.stderr, flush=True)


def _measure_latency(job: Job) -> Measurement:
    started = time.perf_counter()
    from .model_under_test import load_model

    opened = load_model(job)
    load = 1000 * (time.perf_counter() - started)
    from .corpus import load_corpus as load_data
    from .latency import LatencyLoop

    corpus = load_data(job.data)
    parser, texts = None, []
    if job.kind == "latency" and job.engine == "onnx":
        from ...runtime.bundle.reader import Bundle
        from ...runtime.text.parser import load_parser

        note = Bundle(job.path).manifest.parser
        parser = load_parser(note.name) if note.source == "spacy" and job.parses else None
        texts = corpus.sentence_texts or corpus.texts
    loop = LatencyLoop(
        opened,
        None if job.whole_only else opened.load_plain_encoder(),
        corpus.to_parsed_sentences(),
        job.batch_size,
        parser,
        texts,
        corpus.language,
        split=job.kind == "latency",
        warm_up_batches=job.warm_up_batches,
        warm_up_seconds=job.warm_up_seconds,
    )
    first = loop.warm_up()
    _send_mark("start")
    seconds = loop.measure(job.seconds, job.calls, job.max_seconds)
    _send_mark("stop")
    padding = 1 - loop.real_subwords / loop.padded_subwords if loop.padded_subwords else 0.0
    captured = {name: getattr(graph, "uses_cuda_graphs", None) for name, graph in opened.pipeline.graphs.items()}
    return Measurement(
        load=load,
        first=first,
        samples=loop.samples,
        sizes=loop.sizes,
        seconds=seconds,
        padding=padding,
        cuda_graphs={name: value for name, value in captured.items() if value is not None},
    )


def _measure_stream(job: Job) -> Measurement:
    started = time.perf_counter()
    from ...runtime.extractor import load

    # Processes divide the threads among themselves.
    extractor = load(job.path, backend=job.backend, threads=job.threads * job.processes)
    taken = 1000 * (time.perf_counter() - started)
    from . import throughput as stream
    from .corpus import load_corpus as load_data

    measure = stream.measure_soak if job.kind == "soak" else stream.measure_throughput
    with extractor:
        return measure(job, load_data(job.data), extractor, taken, _send_mark)


def _check_model(job: Job) -> ModelCheck:
    """Run a model on one sentence and describe it."""
    from .corpus import load_corpus
    from .model_under_test import load_model

    if job.engine == "compile":
        from .torch_model import explain_missing_compiler

        if reason := explain_missing_compiler(job.backend):
            raise BackendError(f"torch.compile does not work here: {reason}")
    corpus = load_corpus(job.data)
    opened = load_model(job)
    if job.engine != "compile":  # its first run takes minutes
        opened.pipeline.run(corpus.to_parsed_sentences()[:1], 1)
    tokenizer, limit = opened.pipeline.tokenizer, opened.pipeline.settings.max_subwords
    encoded = tokenizer.encode([sentence.tokens for sentence in corpus.sentences])
    median = sorted(len(subwords.ids) for subwords in encoded)[len(encoded) // 2]
    for length in job.lengths:
        if not tokenizer.special_token_count < length <= limit:
            raise InputError(
                f"lengths must be {tokenizer.special_token_count + 1} to {limit} subwords for {job.model}, got {length}"
            )
    lengths = {
        length: _collect_words(corpus, encoded, length - tokenizer.special_token_count) for length in job.lengths
    }
    products: dict[str, dict[str, int]] = {}
    work: dict[int, EncoderWork] = {}
    median = min(median, limit)
    if job.engine == "onnx":
        from ...runtime.bundle.reader import Bundle
        from ...runtime.engine.contract import list_subgraphs
        from . import encoder_baseline as plain
        from . import roofline as arithmetic

        bundle = Bundle(job.path)
        names = list_subgraphs(relations=bundle.manifest.labels.has_relations)
        products = {name: arithmetic.count_matmuls_by_dtype(bundle.read(f"{name}.onnx")) for name in names}
        if opened.has_plain_encoder and not job.whole_only:
            part = plain.cut_transformer(bundle.read("encoder.onnx"))
            work = {batch: arithmetic.count_encoder_work(part, batch, median) for batch in job.batch_sizes}
        if not job.whole_only:
            opened.load_plain_encoder()
    return ModelCheck(
        backend=opened.backend,
        reason=opened.reason,
        device=opened.device,
        products=products,
        median_subwords=median,
        work=work,
        lengths=lengths,
    )


def _collect_words(corpus: Corpus, encoded: list[Any], room: int) -> list[str]:
    """Return words that have exactly ``room`` subwords together.

    The words of the corpus are taken in order and repeated; a word that does not fit any more is skipped.

    Raises:
        InputError: The data has no word of a single subword, so the last position might stay empty.
    """
    sizes = [
        (word, int(last - first + 1))
        for sentence, subwords in zip(corpus.sentences, encoded, strict=True)
        for word, first, last in zip(sentence.tokens, subwords.first_positions, subwords.last_positions, strict=True)
    ]
    if all(size > 1 for _, size in sizes):
        raise InputError(
            "sentences of a fixed length need a word of a single subword, and the data has none;"
            ' use other data, or turn them off with --lengths ""'
        )
    words: list[str] = []
    while room:
        for word, size in sizes:
            if size <= room:
                words.append(word)
                room -= size
    return words


def _evaluate_model(job: Job) -> F1Scores:
    from trimf_train.evaluation.evaluate import evaluate_pipeline

    from .corpus import load_corpus
    from .model_under_test import load_model

    opened = load_model(job)
    if job.engine == "onnx":
        from ...runtime.bundle.reader import Bundle

        labels = Bundle(job.path).manifest.labels
    else:
        from pathlib import Path

        from trimf_train.model.checkpoint import load_checkpoint

        labels = load_checkpoint(Path(job.path)).description.labels
    result = evaluate_pipeline(opened.pipeline, labels, load_corpus(job.data).sentences)
    return F1Scores(entities=result["entities"]["micro"]["f1"], relations=result["relations"]["strict"]["micro"]["f1"])


def _measure_peaks(job: Job) -> DevicePeaks:
    from ...runtime.bundle.reader import Bundle
    from ...runtime.engine.backend_selection import open_backend
    from . import device_peaks as peaks

    return peaks.measure_peaks(open_backend(job.backend, job.threads, Bundle(job.path)), tuple(job.precisions))


def _profile_nodes(job: Job) -> Profile:
    from .node_profile import profile_nodes

    return profile_nodes(job)


def _verify_bundle(job: Job) -> Parity:
    from .parity_check import check_parity

    return check_parity(job)


_JOBS = {
    "check": _check_model,
    "latency": _measure_latency,
    "length": _measure_latency,
    "throughput": _measure_stream,
    "soak": _measure_stream,
    "evaluate": _evaluate_model,
    "peaks": _measure_peaks,
    "profile": _profile_nodes,
    "verify": _verify_bundle,
}

if __name__ == "__main__":
    sys.exit(main())
