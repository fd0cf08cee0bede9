"""Open the pipeline and the dependency parser of a bundle."""

from __future__ import annotations

from contextlib import ExitStack

from .bundle.checks import check_output_shapes
from .bundle.labels import Labels
from .bundle.manifest import EFFECTS_FILE, Manifest, ParserInfo
from .bundle.reader import Bundle
from .engine.backend import Backend
from .engine.contract import Subgraph
from .engine.cpu_info import has_saturating_int8_matmul
from .errors import BundleError, InputError, describe_value
from .model_settings import CANDIDATE_FLOOR, ModelSettings, Threshold, resolve_thresholds
from .pipeline import Pipeline
from .text.parser import DEFAULT_PARSER, Parser, load_parser
from .text.subwords import SubwordTokenizer
from .text.tokenization import load_tokenizer_rules
from .triggers.effect_estimator import EffectEstimator

#: Number of padding subwords that cost a CPU about as much as another call of the subgraphs.
CPU_SPLIT_COST = 8

#: Like ``CPU_SPLIT_COST``, for int8 models on a CPU with int8 dot-product instructions, where a subword costs less.
CPU_SPLIT_COST_INT8 = 24


def open_pipeline(bundle: Bundle, backend: Backend, *, has_external_parser: bool = False) -> Pipeline:
    """Load the subgraphs and the tokenizer of a bundle.

    Args:
        bundle: Bundle to load.
        backend: Backend that runs the subgraphs.
        has_external_parser: Whether a parser of the caller parses the sentences, rather than the model.

    Returns:
        The pipeline.

    Raises:
        BundleError: A file is damaged, or a subgraph or the tokenizer does not match the manifest.
        BackendError: The backend cannot load a subgraph.
    """
    with ExitStack() as opened:  # an error closes what is open by then
        graphs: dict[str, Subgraph] = {}
        uses_model_parser = bundle.manifest.parser.source == "encoder" and not has_external_parser
        for name in backend.choose_subgraphs(bundle, uses_model_parser):
            graphs[name] = backend.open(name, bundle)
            opened.callback(graphs[name].close)
        files = {name: backend.name_file(name, bundle) for name in graphs}
        check_output_shapes(bundle.manifest, bundle.path, graphs, files)
        tokenizer = SubwordTokenizer.from_bytes(
            bundle.read("tokenizer.json"), f"{bundle.path}/tokenizer.json", bundle.manifest.casing
        )
        settings = read_settings(bundle.manifest)
        if tokenizer.special_token_count >= settings.max_subwords:
            raise BundleError(
                f"{bundle.path}/manifest.json: sizes.max_subwords must be > {tokenizer.special_token_count}, the "
                f"number of special tokens in tokenizer.json, got {settings.max_subwords}"
            )
        split_cost = _estimate_split_cost(bundle.manifest, backend)
        effects = read_effects(bundle)
        pipeline = Pipeline(graphs, tokenizer, settings, split_cost_subwords=split_cost, effects=effects)
        opened.pop_all()
    return pipeline


def read_effects(bundle: Bundle) -> EffectEstimator | None:
    """Read the estimator of the effects of words.

    Args:
        bundle: Bundle of the model.

    Returns:
        The estimator; None if the bundle has none.

    Raises:
        BundleError: It is damaged or does not fit the model.
    """
    manifest = bundle.manifest
    if manifest.triggers != "effect":
        return None
    content, name = bundle.read(EFFECTS_FILE), f"{bundle.path}/{EFFECTS_FILE}"
    types = len(manifest.labels.relation_types)
    return EffectEstimator.from_bytes(content, name, manifest.sizes.hidden, types)


def read_settings(manifest: Manifest) -> ModelSettings:
    """Return the label ids, thresholds and window limits of a bundle's model.

    Args:
        manifest: Manifest of the bundle.

    Returns:
        The settings.
    """
    decoding, sizes = manifest.decoding, manifest.sizes
    settings = ModelSettings.from_labels(
        manifest.labels, decoding.relation_threshold, decoding.overlap, sizes.max_subwords, sizes.max_words
    )
    return settings._replace(trigger_floor=manifest.trigger_floor) if manifest.triggers == "effect" else settings


def set_thresholds(
    pipeline: Pipeline,
    labels: Labels,
    threshold: Threshold | None = None,
    entity_threshold: Threshold | None = None,
    *,
    candidates: bool = False,
) -> None:
    """Set the thresholds of a pipeline before it is used.

    Args:
        pipeline: The pipeline.
        labels: Label sets of its model.
        threshold: Score that a relation must exceed, or scores by relation type; None leaves that of the model.
        entity_threshold: Score that an entity must exceed, or scores by entity type; None is no threshold.
        candidates: Also return what lies above ``model_settings.CANDIDATE_FLOOR``.

    Raises:
        InputError: A threshold is no number from 0 to 1, or names a label that the model does not have.
    """
    settings = pipeline.settings
    if threshold is not None:
        default = settings.relation_thresholds
        settings = settings._replace(
            thresholds_by_type=resolve_thresholds("threshold", threshold, labels.relation_types, default)
        )
    if entity_threshold is not None:
        default = (0.0,) * len(labels.entity_types)
        settings = settings._replace(
            entity_thresholds=resolve_thresholds("entity_threshold", entity_threshold, labels.entity_types, default)
        )
    pipeline.settings = settings._replace(candidate_floor=CANDIDATE_FLOOR if candidates else None)


def open_parser(trained: ParserInfo, requested: Parser | str | None, language: str) -> Parser | None:
    """Return the parser to run before a model, and load the tokenization rules.

    Args:
        trained: Parser of the model, from its manifest.
        requested: Parser of the caller, or the name of a spaCy pipeline, which is used instead.
        language: Language of the texts.

    Returns:
        The parser; None if the in-model parser is used.

    Raises:
        BackendError: The spaCy pipeline, or a package that the language needs, is not installed.
        InputError: ``requested`` is no parser.
    """
    if isinstance(requested, str):
        requested = load_parser(str.__str__(requested))
    elif requested is None and trained.source == "spacy":
        requested = load_parser(trained.name)
    elif requested is not None and not (hasattr(requested, "name") and callable(getattr(requested, "parse", None))):
        raise InputError(
            "parser must be the name of a spaCy pipeline or an object with name, labels and parse, such as "
            f"trimf.load_parser('{DEFAULT_PARSER}'), got {describe_value(requested)}"
        )
    load_tokenizer_rules(language)
    return requested


def describe_parser_mismatch(trained: ParserInfo, requested: Parser | None) -> str:
    """Return a warning if the caller's parser is not the one that the model was trained with, else an empty string."""
    if requested is None or (trained.source == "spacy" and requested.name == trained.name):
        return ""
    return f"parser mismatch: parsed by {requested.name}, expected {trained}"


def _estimate_split_cost(manifest: Manifest, backend: Backend) -> int | None:
    """Return the cost of a call in subwords of padding, or None on a GPU, where batches are never split."""
    if backend.name != "cpu":
        return None
    fast_int8 = manifest.precision == "int8" and not has_saturating_int8_matmul()
    return CPU_SPLIT_COST_INT8 if fast_int8 else CPU_SPLIT_COST
