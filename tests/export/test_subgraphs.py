"""The folded subgraphs against the literal model, and their ONNX files against the subgraphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimf.bench.measure.encoder_baseline import cut_transformer
from trimf.export.onnx_conversion import FORBIDDEN_OPERATORS, TRANSFORMER_OUTPUT, convert_to_onnx, create_example_inputs
from trimf.export.subgraphs import build_subgraphs
from trimf.runtime.engine.contract import SUBGRAPHS
from trimf_train.config import EncoderConfig, FlowConfig, FlowSwitches, ModelConfig, SpanConfig, SyntaxConfig
from trimf_train.model.encoder import load_encoder
from trimf_train.model.pooling import pool_words
from trimf_train.model.trimf import TriMF

SPAN = SpanConfig(max_width=3, width_dim=2)
WINDOW = EncoderConfig(max_words=40)

#: Sentences, subwords, words, spans and pairs of a batch.
SIZES = [(1, 3, 1, 1, 1), (1, 40, 30, 5, 20), (4, 17, 9, 6, 2), (7, 12, 33, 3, 3), (2, 40, 40, 9, 72)]
VARIANTS = {
    "default": {},
    "bases": {"syntax": SyntaxConfig(bases=2)},
    "inverse": {"syntax": SyntaxConfig(inverse=True)},
    "inverse bases": {"syntax": SyntaxConfig(inverse=True, bases=2)},
    "add": {"flow": FlowConfig(residual="add")},
    "add sum": {"flow": FlowConfig(residual="add", slots="sum")},
    "no residual": {"flow": FlowConfig(residual="none")},
    "as printed": {"flow": FlowConfig(residual="none", slots="sum")},
    "one memory a level": {
        "flow": FlowConfig(subword=FlowSwitches(entity=False), word=FlowSwitches(relation=False)),
    },
    "no flow": {
        "flow": FlowConfig(
            subword=FlowSwitches(entity=False, relation=False), word=FlowSwitches(entity=False, relation=False)
        )
    },
    "concat": {"context": "concat"},
    "no trigger": {"trigger": False},
    "own arcs": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3)},
    "own arcs both ways": {"syntax": SyntaxConfig(source="encoder", arc_dim=4, label_dim=3, inverse=True)},
    **{name: {"fusion": name} for name in ("mean", "sum", "max", "syntactic", "semantic", "none")},
}


def config(variant):
    return ModelConfig(**{"span": SPAN, "encoder": WINDOW, **VARIANTS[variant]})


def close(left, right):
    np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_folded_subgraphs_equal_the_model(build_model, build_inputs, ranges_of, variant, stage, lengths, seed):
    model = build_model(config(variant), seed=seed)
    graphs = build_subgraphs(model, stage)
    inputs = build_inputs(lengths, seed=seed)
    with torch.no_grad():
        words, cls = model.pool_to_words(
            model.encode_subwords(inputs.input_ids, inputs.attention_mask)[0],
            inputs.attention_mask,
            inputs.pieces,
            stage,
        )
        got_words, got_cls, *arcs = graphs["encoder"](inputs.input_ids, inputs.attention_mask, inputs.pieces)
        mask = inputs.word_mask
        if model.parser is not None:
            states, _ = model.encode_subwords(inputs.input_ids, inputs.attention_mask)
            for got, expected in zip(arcs[:2], model.parse(states, inputs.pieces), strict=True):
                assert torch.equal(got, expected)
            dependent, head, *_ = model.parser.project_views(pool_words(states, inputs.pieces))
            close(arcs[2], model.parser.arc_scores(dependent, head, mask))
        close(got_words[mask], words[mask])
        close(got_cls, cls)
        nodes = model.fuse_graphs(words, cls, mask, inputs.heads, inputs.labels)
        close(graphs["fusion"](words, cls, mask, inputs.heads, inputs.labels)[mask], nodes[mask])
        expected = model.entity_logits(nodes)
        got = graphs["entities"](nodes)
        for row, length in enumerate(lengths):
            for first in range(length):
                widths = min(SPAN.max_width, length - first)
                close(got[row, first, :widths], expected[row, first, :widths])
        if len(inputs.pairs):
            logits, triggers = model.relation_logits(nodes, mask, inputs.entities, inputs.pairs, stage)
            ranges = map(torch.from_numpy, ranges_of(inputs.entities, inputs.pairs))
            got_logits, got_triggers, added = graphs["relations"](nodes, mask, inputs.entities, inputs.pairs, *ranges)
            close(got_logits, logits)
            close(got_triggers, triggers)
            close(added, model.trigger_word_logits(nodes, stage))


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, traced):
    """The four subgraphs of a tiny BERT as modules and as ONNX."""
    graphs = traced("bert")
    model = tiny_checkpoint.model.eval()
    model.encoder.set_attn_implementation("eager")
    return build_subgraphs(model, 2), graphs, model


def sized_inputs(ranges_of, width, size, subwords, words, spans, pairs, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def numbers(high, *shape):
        return torch.randint(high, shape, generator=generator)

    first = numbers(words, spans)
    last = torch.minimum(first + numbers(3, spans), torch.tensor(words - 1))
    whole = torch.stack([torch.sort(numbers(size, spans)).values, first, last], 1)
    ends = numbers(spans, pairs, 2)
    ranges, gaps = map(torch.from_numpy, ranges_of(whole, ends))
    return {
        "input_ids": numbers(30, size, subwords),
        "attention_mask": (torch.arange(subwords) < 1 + numbers(subwords, size, 1)).long(),
        "pieces": numbers(subwords, size, words, 2),
        "words": torch.randn(size, words, width, generator=generator),
        "cls": torch.randn(size, width, generator=generator),
        "word_mask": torch.arange(words) < 1 + numbers(words, size, 1),
        "heads": numbers(words, size, words),
        "labels": numbers(2, size, words),
        "nodes": torch.randn(size, words, width, generator=generator),
        "spans": whole,
        "pairs": ends,
        "ranges": ranges,
        "gaps": gaps,
    }


@pytest.mark.parametrize("name", SUBGRAPHS)
@pytest.mark.parametrize("sizes", SIZES)
def test_onnx_equals_the_module_at_any_size(exported, ranges_of, name, sizes):
    modules, models, model = exported
    inputs = sized_inputs(ranges_of, model.width, *sizes)
    session = onnxruntime.InferenceSession(models[name].SerializeToString(), providers=["CPUExecutionProvider"])
    assert tuple(entry.name for entry in session.get_inputs()) == modules[name].inputs
    with torch.no_grad():
        expected = modules[name](*(inputs[key] for key in modules[name].inputs))
    expected = expected if isinstance(expected, tuple) else (expected,)
    got = session.run(list(modules[name].outputs), {key: inputs[key].numpy() for key in modules[name].inputs})
    for left, right in zip(got, expected, strict=True):
        close(left, right)


@pytest.mark.parametrize("name", SUBGRAPHS)
def test_onnx_is_plain_and_names_no_machine(exported, name):
    _, models, _ = exported
    model = models[name]
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN_OPERATORS
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert next(entry.version for entry in model.opset_import if entry.domain == "") >= 18
    content = model.SerializeToString()
    for trace in (b".py", b"site-packages", b"/home", b"torch.nn"):
        assert trace not in content
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param in {"batch", "spans", "pairs", "ranges"}


def test_the_relations_do_not_rearrange_the_words(exported):
    """In half precision, ONNX Runtime 1.31 loses on CUDA what a transposed copy of the word logits is multiplied by."""
    _, models, _ = exported
    graph = models["relations"].graph
    readers = {node.op_type for node in graph.node if "word_logits" in node.input}
    assert readers == {"Gather"}
    assert not {node.op_type for node in graph.node} & {"Transpose", "Range"}


def test_the_transformers_states_have_a_name(exported):
    _, models, model = exported
    graph = onnx.shape_inference.infer_shapes(models["encoder"])
    part = onnx.utils.Extractor(graph).extract_model(["input_ids", "attention_mask"], [TRANSFORMER_OUTPUT])
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = torch.tensor([[2, 7, 9, 4, 3], [2, 5, 3, 0, 0]])
    mask = (ids > 0).long()
    (states,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    with torch.no_grad():
        close(states, model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [None, 1])
def test_an_encoder_that_parses_in_onnx(encoders, names, ranges_of, layer):
    torch.manual_seed(5)
    syntax = SyntaxConfig(source="encoder", arc_dim=8, label_dim=4, layer=layer)
    model = TriMF(load_encoder(encoders["bert"]), 16, names, ModelConfig(syntax=syntax, span=SPAN)).eval()
    model.encoder.set_attn_implementation("eager")
    module = build_subgraphs(model, 2)["encoder"]
    examples = create_example_inputs(16, torch.Generator().manual_seed(0))
    examples["input_ids"] %= 30
    graph = convert_to_onnx(module, examples)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert any(TRANSFORMER_OUTPUT in node.output for node in graph.graph.node)
    for sizes in SIZES:
        inputs = sized_inputs(ranges_of, 16, *sizes)
        given = {name: inputs[name] for name in module.inputs}
        with torch.no_grad():
            expected = module(*given.values())
            states = model.encoder(given["input_ids"], given["attention_mask"]).last_hidden_state
        got = session.run(list(module.outputs), {name: value.numpy() for name, value in given.items()})
        for left, right in zip(got, expected, strict=True):
            close(left, right)
        (transformer,) = plain_session(graph).run(
            [TRANSFORMER_OUTPUT], {name: given[name].numpy() for name in module.inputs[:2]}
        )
        close(transformer, states)


def plain_session(graph):
    """What ``trimf bench`` compares with: the last layer, whatever layer the parser reads."""
    return onnxruntime.InferenceSession(cut_transformer(graph.SerializeToString()), providers=["CPUExecutionProvider"])
