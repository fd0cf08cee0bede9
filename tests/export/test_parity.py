"""Parity: a planted difference is found and named, and every limit holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from msgspec import UNSET

from trimf.export import extraction_parity, parity, parity_limits
from trimf.export.half_precision import convert_to_half
from trimf.runtime.bundle.parity_report import ArcParity, ParityReport, WorstSentence
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf.runtime.engine.onnx_cpu import OnnxCpuBackend
from trimf.runtime.errors import BundleError
from trimf.runtime.pipeline import Pipeline
from trimf_train.data.sentence import Sentence
from trimf_train.model import torch_backend as inference


class Altered:
    """A subgraph that answers something else."""

    def __init__(self, graph: Any, change: Callable[[dict[str, Any]], None]) -> None:
        self.inputs, self.outputs, self.types = graph.inputs, graph.outputs, graph.types
        self._graph, self._change = graph, change

    def run(self, arrays: Mapping[str, Any], *, extra: bool = False) -> dict[str, Any]:
        given = self._graph.run(arrays, extra=True) if extra else self._graph.run(arrays)
        outputs = {name: value.copy() for name, value in given.items()}
        self._change(outputs)
        return outputs

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def labels(tiny_checkpoint: Any) -> Any:
    return tiny_checkpoint.description.labels


@pytest.fixture(scope="module")
def reference(tiny_checkpoint: Any) -> Pipeline:
    return inference.build_pipeline(tiny_checkpoint)


@pytest.fixture(scope="module")
def exported(reference: Pipeline, traced: Any) -> Pipeline:
    backend = OnnxCpuBackend(threads=1)
    graphs = {name: backend.load(name, model.SerializeToString()) for name, model in traced("bert").items()}
    return Pipeline(graphs, reference.tokenizer, reference.settings)


def altered(pipeline: Pipeline, name: str, change: Callable[[dict[str, Any]], None]) -> Pipeline:
    graphs = {**pipeline.graphs, name: Altered(pipeline.graphs[name], change)}
    return Pipeline(graphs, pipeline.tokenizer, pipeline.settings)


def test_the_same_is_the_same(reference: Pipeline, exported: Pipeline, labels: Any, sentences: list[Sentence]) -> None:
    found = parity.compare_pipelines(reference, exported, labels, sentences)
    outputs = ("encoder.words", "encoder.cls", "fusion.nodes", "entities.entity_logits", "relations.relation_logits")
    assert set(found.subgraphs) == {*outputs, "relations.triggers", "relations.word_logits"}
    for one in found.subgraphs.values():
        for error in (one, one.relative):
            assert 0 <= error.mean <= error.p99 <= error.max < 1e-3
    extractions = found.extractions
    assert (extractions.sentences, extractions.identical) == (12, 100.0)
    assert extractions.agreement.entities == extractions.agreement.relations == 100.0
    assert extractions.reference == extractions.exported
    assert extractions.reference
    assert extractions.reference.support == (24, 12)
    assert extractions.worst is UNSET
    parity_limits.check_limits(found, "fp32")


def test_errors_are_of_one_subgraph_and_relative_to_its_values(
    reference: Pipeline, exported: Pipeline, labels: Any, sentences: list[Sentence]
) -> None:
    def change(outputs: dict[str, Any]) -> None:
        outputs["nodes"] *= 1.5

    found = parity.compare_pipelines(reference, altered(exported, "fusion", change), labels, sentences).subgraphs
    calls = parity.record_calls(reference, labels, sentences)["fusion"]
    nodes = np.concatenate([np.asarray(outputs["nodes"])[inputs["word_mask"]].ravel() for inputs, outputs in calls])
    error = found.pop("fusion.nodes")
    np.testing.assert_allclose(error.max, np.abs(nodes).max() / 2, rtol=1e-3)
    np.testing.assert_allclose(error.mean, np.abs(nodes).mean() / 2, rtol=1e-3)
    np.testing.assert_allclose(error.p99, np.percentile(np.abs(nodes) / 2, 99), rtol=1e-3)
    root = np.sqrt(np.square(nodes.astype(np.float64)).mean())
    for name in ("max", "mean", "p99"):
        np.testing.assert_allclose(getattr(error.relative, name), getattr(error, name) / root, rtol=1e-3)
    assert all(one.relative.max < 1e-3 for one in found.values())


def test_spans_beyond_their_sentence_do_not_count(
    reference: Pipeline, exported: Pipeline, labels: Any, sentences: list[Sentence]
) -> None:
    """A backend that pads a batch further reads other padding there."""

    def outside(outputs: dict[str, Any]) -> None:
        outputs["entity_logits"][:, -1, 1:] += 100  # two words and more, from the last word of the longest sentence

    def inside(outputs: dict[str, Any]) -> None:
        outputs["entity_logits"][:, 0, 0] += 100

    same = parity.compare_pipelines(reference, altered(exported, "entities", outside), labels, sentences)
    assert same.subgraphs["entities.entity_logits"].max < 1e-3
    assert same.extractions.identical == 100.0
    other = parity.compare_pipelines(reference, altered(exported, "entities", inside), labels, sentences)
    assert other.subgraphs["entities.entity_logits"].max > 99


def test_the_worst_sentence_is_named_with_what_is_missing(
    reference: Pipeline, exported: Pipeline, labels: Any, sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, worst = extraction_parity.run_pipeline, 4

    def planted(pipeline: Pipeline, given: Sequence[Sentence], batch_size: int) -> list[Any]:
        found = predict(pipeline, given, batch_size)
        if pipeline.graphs is exported.graphs:
            person, place = found[worst].decoded.entities
            other = person._replace(type_index=labels.entity_types.index("Loc"))
            of_worst = found[worst].decoded._replace(entities=[other, place], relations=[])
            found[worst] = found[worst]._replace(decoded=of_worst)
            found[2] = found[2]._replace(decoded=found[2].decoded._replace(relations=[]))
        return found

    monkeypatch.setattr(extraction_parity, "run_pipeline", planted)
    found = parity.compare_pipelines(reference, exported, labels, sentences).extractions
    assert found.identical == pytest.approx(100 * 10 / 12, abs=1e-3)
    person, _, _, *place, _ = sentences[worst].tokens
    assert found.worst == WorstSentence(
        id=sentences[worst].id,
        text=" ".join(sentences[worst].tokens),
        missing=[f"[{person}]Peop", f"[{person}]Peop Live_In [{' '.join(place)}]Loc"],
        added=[f"[{person}]Loc"],
    )
    assert found.agreement.relations < 100
    assert found.exported
    assert found.reference
    assert found.exported.relations < found.reference.relations


@pytest.mark.parametrize(
    ("name", "output", "value", "said"),
    [
        ("encoder", "cls", np.nan, r"parity: encoder\.cls contains NaN; all outputs must be finite"),
        ("fusion", "nodes", -np.inf, r"parity: fusion\.nodes contains infinity"),
        ("relations", "triggers", np.nan, r"parity: relations\.triggers contains NaN"),
    ],
)
def test_what_is_not_finite_is_refused_by_name(
    reference: Pipeline,
    exported: Pipeline,
    labels: Any,
    sentences: list[Sentence],
    name: str,
    output: str,
    value: float,
    said: str,
) -> None:
    def change(outputs: dict[str, Any]) -> None:
        outputs[output].flat[-1] = value

    with pytest.raises(BundleError, match=said):
        parity.compare_pipelines(reference, altered(exported, name, change), labels, sentences)


def test_sentences_without_annotation(reference: Pipeline, exported: Pipeline, labels: Any) -> None:
    plain = [Sentence(tokens=["."], heads=[0], labels=["ROOT"], id="dot")]
    found = parity.compare_pipelines(reference, exported, labels, plain).extractions
    assert found.identical == 100.0
    assert found.exported is UNSET


def report(sentences: int = 1000, relative: float = 1e-6, largest: float = 1e-3, **changes: Any) -> ParityReport:
    same = {"entities": 100.0, "relations": 100.0, "support": [500, 200]}
    gold = {"entities": 80.0, "relations": 60.0, "support": [500, 200]}
    extractions = {"sentences": sentences, "identical": 100.0, "data": "x", "agreement": same}
    error = {"max": largest, "mean": 0.0, "p99": 0.0}
    content = {
        "subgraphs": {
            f"{SUBGRAPHS[0]}.words": {**error, "relative": {**error, "p99": relative}},
            f"{SUBGRAPHS[1]}.nodes": {**error, "relative": {**error, "p99": relative / 2}},
        },
        "extractions": {**extractions, "reference": gold, "exported": gold, **changes},
    }
    return msgspec.convert(content, ParityReport)


@pytest.mark.parametrize("largest", [1.1e-3, float("nan")])
def test_a_single_number_may_not_be_far_off_in_fp32(largest: float) -> None:
    with pytest.raises(BundleError, match=r"encoder\.words has an absolute error of .*, maximum 0\.001 for fp32"):
        parity_limits.check_limits(report(largest=largest), "fp32")
    parity_limits.check_limits(report(largest=1.1e-3), "fp16")


@pytest.mark.parametrize(("part", "refused"), [(1e-6, False), (0.9e-4, False), (1.1e-4, True), (float("nan"), True)])
def test_the_limit_of_a_number_is_in_proportion_to_large_values(part: float, refused: bool) -> None:
    given = msgspec.to_builtins(report(largest=3.0))
    given["subgraphs"] = {"encoder.words": {"max": 3.0, "mean": 0.0, "p99": 0.0, "relative": {"max": part, "p99": 0.0}}}
    found = msgspec.convert(given, ParityReport)
    if not refused:
        parity_limits.check_limits(found, "fp32")
        return
    said = (
        r"absolute error of 3, maximum 0\.001 for fp32, and it is .* of the values' root mean square, maximum 0\.0001"
    )
    with pytest.raises(BundleError, match=said):
        parity_limits.check_limits(found, "fp32")


def scores(entities: float, relations: float, support: Sequence[int] = (500, 200)) -> dict[str, Any]:
    return {"entities": entities, "relations": relations, "support": list(support)}


@pytest.mark.parametrize("precision", parity_limits.LIMITS)
def test_every_limit(precision: str) -> None:
    limits = parity_limits.LIMITS[precision]
    parity_limits.check_limits(report(), precision)
    parity_limits.check_limits(report(relative=limits.max_relative_error), precision)
    with pytest.raises(
        BundleError, match=rf"encoder\.words has a relative error of .*maximum {limits.max_relative_error} for"
    ):
        parity_limits.check_limits(report(relative=limits.max_relative_error * 1.01), precision)
    with pytest.raises(BundleError, match=r"encoder\.words has a relative error of nan"):
        parity_limits.check_limits(report(relative=float("nan")), precision)
    parity_limits.check_limits(report(identical=limits.min_identical), precision)
    with pytest.raises(BundleError, match=rf"of 1000 sentences .*minimum .* for {precision}; .*is encoder\.words"):
        parity_limits.check_limits(report(identical=limits.min_identical - 0.1), precision)
    differing = min(99.5, limits.min_identical) if limits.min_identical < 100 else 100.0  # more than one, but allowed
    for kind, least in (("entities", limits.min_entity_agreement), ("relations", limits.min_relation_agreement)):
        just, below = ({"entities": 100.0, "relations": 100.0, kind: least - less} for less in (0, 0.01))
        parity_limits.check_limits(report(identical=differing, agreement=scores(**just)), precision)
        said = rf"{kind} agree with F1 .*minimum {least:g} for {precision}; .*is encoder\.words"
        with pytest.raises(BundleError, match=said):
            parity_limits.check_limits(report(identical=differing, agreement=scores(**below)), precision)


@pytest.mark.parametrize("precision", parity_limits.LIMITS)
def test_f1_may_fall_by_the_limit_or_one_annotation(precision: str) -> None:
    limit = parity_limits.LIMITS[precision].max_f1_loss
    for place, kind in enumerate(("entities", "relations")):
        for support in ((500, 200), (5000, 5000)):
            most = limit and max(limit, 100 / support[place])
            for less, refused in ((most - 1e-6, False), (most + 1e-3, True)):
                fallen = {"entities": 80.0, "relations": 60.0, "support": list(support)}
                fallen[kind] -= less
                given = report(reference=scores(80.0, 60.0, support), exported=fallen)
                if not refused:
                    parity_limits.check_limits(given, precision)
                    continue
                with pytest.raises(BundleError, match=rf"F1 of {kind} drops by .*, maximum {limit} for {precision}"):
                    parity_limits.check_limits(given, precision)
    parity_limits.check_limits(report(exported=scores(90.0, 90.0)), precision)


def test_one_sentence_may_differ_but_not_in_fp32() -> None:
    one = {"sentences": 10, "identical": 90.0, "agreement": scores(95.0, 80.0, (20, 5))}
    for precision in ("fp16", "bf16", "int8", "int8-qdq"):
        parity_limits.check_limits(report(**one), precision)
    with pytest.raises(BundleError, match="90% of 10 sentences are identical, minimum 100% for fp32"):
        parity_limits.check_limits(report(**one), "fp32")
    with pytest.raises(BundleError, match="80% of 10 sentences are identical, minimum 99% for fp16"):
        parity_limits.check_limits(report(**one | {"identical": 80.0}), "fp16")


@pytest.mark.parametrize("precision", parity_limits.LIMITS)
def test_nothing_found_at_all(precision: str) -> None:
    nothing = scores(0.0, 0.0, (0, 0))
    parity_limits.check_limits(report(agreement=nothing, reference=nothing, exported=nothing), precision)
    unfound = scores(0.0, 0.0)
    parity_limits.check_limits(report(agreement=nothing, reference=unfound, exported=unfound), precision)
    with pytest.raises(BundleError, match="entities agree with F1 0"):
        parity_limits.check_limits(
            report(agreement=unfound, identical=100.0 if precision == "fp32" else 99.0), precision
        )


def test_arcs_are_compared_word_by_word(
    parsing: Any, parsing_traced: dict[str, onnx.ModelProto], sentences: list[Sentence]
) -> None:
    labels, reference = parsing.description.labels, inference.build_pipeline(parsing)
    backend = OnnxCpuBackend(threads=1)
    graphs = {name: backend.load(name, model.SerializeToString()) for name, model in parsing_traced.items()}
    exported = Pipeline(graphs, reference.tokenizer, reference.settings)
    report = parity.compare_pipelines(reference, exported, labels, sentences)
    words = sum(len(one.tokens) for one in sentences)
    assert report.arcs == ArcParity(words=words, identical=100.0)
    assert not {"encoder.heads", "encoder.labels"} & report.subgraphs.keys()
    parity_limits.check_limits(report, "fp32")
    same = report

    def change(outputs: dict[str, Any]) -> None:
        outputs["heads"][0, 0] += 1
        outputs["labels"][0, 1] += 1

    report = parity.compare_pipelines(reference, altered(exported, "encoder", change), labels, sentences)
    calls = -(-len(sentences) // 8)
    assert report.arcs
    assert report.arcs.identical == round(100 * (words - 2 * calls) / words, 3)
    with pytest.raises(BundleError, match=f"of {words} words have the same arc, minimum 99.9% for fp16"):
        parity_limits.check_limits(msgspec.structs.replace(report, subgraphs={}), "fp16")
    arcs = ArcParity(words=60, identical=round(100 * 59 / 60, 3))
    parity_limits.check_limits(msgspec.structs.replace(same, arcs=arcs), "fp16")


def test_a_model_that_does_not_parse_has_no_arcs_to_compare(
    reference: Pipeline, exported: Pipeline, labels: Any, sentences: list[Sentence]
) -> None:
    assert parity.compare_pipelines(reference, exported, labels, sentences).arcs is UNSET


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_arcs_in_half_precision(parsing_traced: dict[str, onnx.ModelProto], precision: str) -> None:
    """Numbers of words and labels stay integers, and the rounded graph that parity is measured on has them too."""
    model = parsing_traced["encoder"]
    half = convert_to_half(model, precision)
    kinds = {value.name: value.type.tensor_type.elem_type for value in half.graph.output}
    assert kinds["heads"] == kinds["labels"] == onnx.TensorProto.INT64
    rounded = convert_to_half(model, precision, rounded=True)
    session = onnxruntime.InferenceSession(rounded.SerializeToString(), providers=["CPUExecutionProvider"])
    assert {output.name for output in session.get_outputs()} == {"words", "cls", "heads", "labels", "arc_scores"}
