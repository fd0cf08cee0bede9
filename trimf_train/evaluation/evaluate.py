"""Evaluate a pipeline, checkpoint or bundle on annotated sentences (paper, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.bundle.reader import Bundle, open_pipeline
from trimf.runtime.engine.contract import open_backend
from trimf.runtime.errors import BackendError, BundleError
from trimf.runtime.pipeline import ParsedSentence, Pipeline, SentenceResult
from trimf.runtime.text.parser import Parser, load_parser
from trimf_train.data.readers import read_sentences
from trimf_train.data.sentence import Sentence, with_parse
from trimf_train.evaluation import metrics
from trimf_train.evaluation.metrics import Annotation, Evaluation


def predict_annotations(
    pipeline: Pipeline, labels: Labels, sentences: Sequence[Sentence], batch_size: int = 32
) -> list[Annotation]:
    """Predict the entities and relations of prepared sentences.

    Args:
        pipeline: The model to run.
        labels: The label names of the model.
        sentences: Prepared sentences; their gold annotation is ignored.
        batch_size: Maximum number of sentences per batch.

    Returns:
        One annotation per sentence, in the order of ``sentences``.
    """
    return [annotation_from_result(result, labels) for result in run_pipeline(pipeline, sentences, batch_size)]


def evaluate_pipeline(
    pipeline: Pipeline,
    labels: Labels,
    sentences: Sequence[Sentence],
    batch_size: int = 32,
    *,
    calibration: bool = False,
) -> Evaluation:
    """Compute precision, recall and F1 of a pipeline on prepared sentences.

    Args:
        pipeline: The model to run.
        labels: The label names of the model.
        sentences: Prepared sentences with gold annotation.
        batch_size: Maximum number of sentences per batch.
        calibration: Also measure how well the scores match the share of correct predictions.

    Returns:
        The scores of ``metrics.evaluate``. ``syntax`` is added if the model has an in-model parser
        and some sentences have a gold parse; ``calibration`` is added on request.
    """
    results = run_pipeline(pipeline, sentences, batch_size)
    predicted = [annotation_from_result(result, labels) for result in results]
    scores = metrics.compute_scores(
        [metrics.gold_annotation(sentence) for sentence in sentences], predicted, labels.symmetric
    )
    with_trees = [
        (sentence, result.tree)
        for sentence, result in zip(sentences, results, strict=True)
        if sentence.heads and result.tree
    ]
    if pipeline.parses and with_trees:
        gold = [
            ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence, _ in with_trees
        ]
        scores["syntax"] = metrics.attachment_scores(gold, [tree for _, tree in with_trees])
    if calibration:
        judged = score_predictions(results, sentences, labels)
        scores["calibration"] = {
            "entities": metrics.measure_calibration(*judged.entities),
            "relations": metrics.measure_calibration(*judged.relations),
        }
    return scores


class ScoredPredictions(NamedTuple):
    """Scores of all predictions and whether each prediction is correct, as parallel lists per kind."""

    entities: tuple[list[float], list[bool]]
    relations: tuple[list[float], list[bool]]


def score_predictions(
    results: Sequence[SentenceResult], sentences: Sequence[Sentence], labels: Labels
) -> ScoredPredictions:
    """Compare every predicted entity and relation with the gold annotation.

    Args:
        results: The pipeline's result for each sentence.
        sentences: The same sentences with gold annotation, in the same order.
        labels: The label names of the model.

    Returns:
        The score of each prediction and whether it is correct; relations are compared strictly.
    """
    judged = ScoredPredictions(([], []), ([], []))
    for result, sentence in zip(results, sentences, strict=True):
        predicted, gold = annotation_from_result(result, labels), metrics.gold_annotation(sentence)
        entities = set(gold.entities)
        relations = {metrics.strict_key(relation, labels.symmetric) for relation in gold.relations}
        judged.entities[0].extend(entity.score for entity in result.found.entities)
        judged.entities[1].extend(entity in entities for entity in predicted.entities)
        judged.relations[0].extend(relation.score for relation in result.found.relations)
        judged.relations[1].extend(
            metrics.strict_key(relation, labels.symmetric) in relations for relation in predicted.relations
        )
    return judged


def run_pipeline(pipeline: Pipeline, sentences: Sequence[Sentence], batch_size: int = 32) -> list[SentenceResult]:
    """Run a pipeline on prepared sentences.

    Args:
        pipeline: The model to run.
        sentences: Prepared sentences; their parses are used unless the model has an in-model parser.
        batch_size: Maximum number of sentences per batch.

    Returns:
        One result per sentence, in order; with the predicted dependency arcs if the model has an in-model parser.
    """
    inputs = [ParsedSentence(sentence.tokens, sentence.heads or [], sentence.labels or []) for sentence in sentences]
    return pipeline.run(inputs, batch_size, trees="arcs" if pipeline.parses else None)


def annotation_from_result(result: SentenceResult, labels: Labels, threshold: float = 0.0) -> Annotation:
    """Convert a pipeline result to an annotation with label names.

    Args:
        result: The pipeline's result for one sentence.
        labels: The label names of the model.
        threshold: Only relations with a score above this value are kept.

    Returns:
        The predicted entities and relations of the sentence.
    """
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
    """Evaluate a checkpoint, a bundle or the default bundle on an annotated data file.

    Unless the model has an in-model parser, sentences without a dependency parse are first parsed with the parser
    the model was trained on.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"`` for the bundle shipped with the package.
        data: A data file in any format of ``trimf_train.data.readers``.
        batch_size: Maximum number of sentences per batch.
        threads: CPU threads for inference; None uses the default of the library.
        backend: The backend that runs a bundle; a checkpoint always runs in PyTorch.
        calibration: Also measure how well the scores match the share of correct predictions.

    Returns:
        The scores, see ``evaluate_pipeline``.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        DataError: The data cannot be used.
        BackendError: PyTorch, the backend or a required parser is not available.
    """
    sentences = list(read_sentences(data))
    loaded = open_model(model, threads, backend)
    inputs = sentences if loaded.pipeline.parses else add_missing_parses(sentences, loaded.parser)
    return evaluate_pipeline(loaded.pipeline, loaded.labels, inputs, batch_size, calibration=calibration)


class LoadedModel(NamedTuple):
    """Model that is ready to run, with its labels and the name of the parser it was trained on."""

    pipeline: Pipeline
    labels: Labels
    parser: str


def open_model(model: str | Path, threads: int | None = None, backend: str = "auto") -> LoadedModel:
    """Open a checkpoint in PyTorch, or a bundle on a backend.

    Args:
        model: A checkpoint folder, a bundle folder, or ``"default"`` for the bundle shipped with the package.
        threads: CPU threads for inference; None uses the default of the library.
        backend: The backend that runs a bundle; ignored for a checkpoint.

    Returns:
        The pipeline with its labels and the name of its parser.

    Raises:
        BundleError: ``model`` is neither a checkpoint nor a bundle, or is damaged.
        BackendError: PyTorch or the backend is not available, or cannot run the model.
    """
    folder = Path(model)
    if str(model) != "default" and (folder / "trimf.json").is_file():
        try:
            import torch

            from trimf_train.model import checkpoint as checkpoints
            from trimf_train.model import torch_backend as inference
        except ModuleNotFoundError as error:
            raise BackendError(
                f'running a checkpoint needs {error.name}, which is not installed; pip install "trimf[train]"'
            ) from error
        if threads:
            torch.set_num_threads(threads)
        checkpoint = checkpoints.load_checkpoint(folder)
        return LoadedModel(
            inference.build_pipeline(checkpoint), checkpoint.description.labels, checkpoint.description.parser.name
        )
    if str(model) == "default" or (folder / "manifest.json").is_file():
        bundle = Bundle(model)
        pipeline = open_pipeline(bundle, open_backend(backend, threads, bundle))
        return LoadedModel(pipeline, bundle.manifest.labels, bundle.manifest.parser.name)
    raise BundleError(
        f"model not found: {model} is neither a checkpoint (no trimf.json) nor a bundle (no manifest.json)"
    )


def add_missing_parses(sentences: Sequence[Sentence], parser: str | Parser) -> list[Sentence]:
    """Parse the sentences that have no dependency parse yet; keep existing parses.

    Args:
        sentences: Sentences with or without a parse.
        parser: A parser, or the name of a parser, which is loaded only if it is needed.

    Returns:
        All sentences with a parse, in the same order.

    Raises:
        BackendError: The parser is needed and not installed.
    """
    unparsed = [sentence for sentence in sentences if sentence.heads is None]
    if not unparsed:
        return list(sentences)
    loaded = load_parser(parser) if isinstance(parser, str) else parser
    parses = iter(loaded.parse([sentence.tokens for sentence in unparsed]))
    return [with_parse(sentence, next(parses)) if sentence.heads is None else sentence for sentence in sentences]
