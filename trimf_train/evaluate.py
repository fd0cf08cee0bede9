"""Predictions of a pipeline on annotated sentences, counted (paper 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trimf.runtime.backend import open_backend
from trimf.runtime.bundle import Bundle, open_pipeline
from trimf.runtime.errors import BackendError, BundleError
from trimf.runtime.labels import Labels
from trimf.runtime.parser import Parser, load_parser
from trimf.runtime.pipeline import ParsedSentence, Pipeline, Result
from trimf_train import metrics
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence, with_parse
from trimf_train.metrics import Annotation, Evaluation


def predict(
    pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> list[Annotation]:
    """What the pipeline finds in prepared sentences, in their order."""
    return [annotated(result, labels) for result in run(pipeline, sentences, batch_size)]


def evaluate(
    pipeline: Pipeline,
    labels: Labels,
    sentences: Sequence[Sentence],
    batch_size: int = 32,
    *,
    calibration: bool = False,
) -> Evaluation:
    """Precision, recall and F1 of the pipeline on prepared sentences, as ``trimf_train.metrics`` counts them.

    Where the pipeline parses by itself, its arcs are compared with those of the sentences that have some. With
    ``calibration`` also its scores with how often they are right.
    """
    results = run(pipeline, sentences, batch_size)
    predicted = [annotated(result, labels) for result in results]
    scores = metrics.evaluate([metrics.annotation(one) for one in sentences], predicted, labels.symmetric)
    parsed = [(one, result.tree) for one, result in zip(sentences, results, strict=True) if one.heads and result.tree]
    if pipeline.parses and parsed:
        gold = [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one, _ in parsed]
        scores["syntax"] = metrics.attachment(gold, [tree for _, tree in parsed])
    if calibration:
        judged = judge(results, sentences, labels)
        scores["calibration"] = {
            "entities": metrics.calibration(*judged.entities),
            "relations": metrics.calibration(*judged.relations),
        }
    return scores


class Judged(NamedTuple):
    """Scores of everything found, in order, and whether it is right: of entities and of relations."""

    entities: tuple[list[float], list[bool]]
    relations: tuple[list[float], list[bool]]


def judge(results: Sequence[Result], sentences: Sequence[Sentence], labels: Labels) -> Judged:
    """Compare what was found with gold, item by item, relations strictly."""
    judged = Judged(([], []), ([], []))
    for result, sentence in zip(results, sentences, strict=True):
        said, gold = annotated(result, labels), metrics.annotation(sentence)
        entities = set(gold.entities)
        relations = {metrics.strict(one, labels.symmetric) for one in gold.relations}
        judged.entities[0].extend(entity.score for entity in result.found.entities)
        judged.entities[1].extend(entity in entities for entity in said.entities)
        judged.relations[0].extend(relation.score for relation in result.found.relations)
        judged.relations[1].extend(metrics.strict(one, labels.symmetric) in relations for one in said.relations)
    return judged


def run(pipeline: Pipeline, sentences: Sequence[Sentence], batch_size: int = 32) -> list[Result]:
    """The pipeline's results on prepared sentences, in their order; with its arcs, where it parses by itself."""
    given = [ParsedSentence(one.tokens, one.heads or [], one.labels or []) for one in sentences]
    return pipeline.run(given, batch_size, trees="arcs" if pipeline.parses else None)


def annotated(result: Result, labels: Labels, threshold: float = 0.0) -> Annotation:
    """What was found, by names; of the relations those with a score above ``threshold``."""
    entities = [(entity.start, entity.end, labels.entities[entity.label]) for entity in result.found.entities]
    relations = [
        (entities[relation.head], entities[relation.tail], labels.relations[relation.label])
        for relation in result.found.relations
        if relation.score > threshold
    ]
    return Annotation(entities, relations)


def evaluate_file(
    model: str | Path,
    data: str | Path,
    batch_size: int = 32,
    threads: int | None = None,
    backend: str = "auto",
    *,
    calibration: bool = False,
) -> Evaluation:
    """Evaluate a checkpoint, a bundle or ``default`` on a data file of any format.

    Sentences without a dependency parse are parsed first, by the parser the model was trained on, unless it parses by
    itself. ``backend`` runs a bundle; a checkpoint runs in PyTorch. With ``calibration`` as :func:`evaluate`.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        DataError: the data cannot be used.
        BackendError: the parser is needed and not installed.
    """
    sentences = list(read_sentences(data))
    opened = open_model(model, threads, backend)
    given = sentences if opened.pipeline.parses else parsed(sentences, opened.parser)
    return evaluate(opened.pipeline, opened.labels, given, batch_size, calibration=calibration)


class Opened(NamedTuple):
    """A model ready to run, its labels, and the parser it learnt from."""

    pipeline: Pipeline
    labels: Labels
    parser: str


def open_model(model: str | Path, threads: int | None = None, backend: str = "auto") -> Opened:
    """A checkpoint in PyTorch, or a bundle (``default`` is the one inside the package) on a backend.

    Raises:
        BundleError: ``model`` is neither, or is damaged.
        BackendError: PyTorch, or the backend, cannot run it.
    """
    folder = Path(model)
    if str(model) != "default" and (folder / "trimf.json").is_file():
        try:
            import torch

            from trimf_train import checkpoint as checkpoints
            from trimf_train import inference
        except ModuleNotFoundError as error:
            raise BackendError(f'a checkpoint needs {error.name}; pip install "trimf[train]"') from error
        if threads:
            torch.set_num_threads(threads)
        checkpoint = checkpoints.load(folder)
        return Opened(inference.pipeline(checkpoint), checkpoint.description.labels, checkpoint.description.parser.name)
    if str(model) == "default" or (folder / "manifest.json").is_file():
        bundle = Bundle(model)
        pipeline = open_pipeline(bundle, open_backend(backend, threads, bundle))
        return Opened(pipeline, bundle.manifest.labels, bundle.manifest.parser.name)
    raise BundleError(f"{model}: neither a checkpoint (trimf.json) nor a bundle (manifest.json)")


def parsed(sentences: Sequence[Sentence], parser: str | Parser) -> list[Sentence]:
    """The sentences, those without a dependency parse now with one by a parser, or by one of that name."""
    bare = [one for one in sentences if one.heads is None]
    if not bare:
        return list(sentences)
    loaded = load_parser(parser) if isinstance(parser, str) else parser
    parses = iter(loaded.parse([one.tokens for one in bare]))
    return [with_parse(one, next(parses)) if one.heads is None else one for one in sentences]
