"""Encoders of three families, and a checkpoint's way to disk and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trimf.runtime.bundle.labels import Labels
from trimf.runtime.engine.contract import CASE_MULTIPLIER
from trimf.runtime.errors import BundleError, ConfigError, InputError
from trimf.runtime.pipeline import ParsedSentence
from trimf.runtime.text import batch_arrays as features
from trimf_train.config import DecodeConfig
from trimf_train.data.sentence import Sentence
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.model.checkpoint import Checkpoint
from trimf_train.model.encoder import load_encoder, load_tokenizer, max_subword_count, resolve_encoder
from trimf_train.model.trimf import TrainingBatch

FAMILIES = ["bert", "mpnet", "roberta"]
POSITIONS = {"bert": 40, "mpnet": 40, "roberta": 64}
FILES = {"trimf.json", "model.safetensors", "tokenizer.json", "encoder/config.json"}


def inputs_of(checkpoint: Checkpoint, sentences: list[Sentence]) -> TrainingBatch:
    """Every span of the sentences and all pairs of their entities."""
    tokenizer = inference.load_tokenizer(checkpoint)
    numbers = checkpoint.description.pipeline_settings.dependency_label_to_id
    items, spans, entities, pairs = [], [], [], []
    encoded = tokenizer.encode([sentence.tokens for sentence in sentences])
    for row, (sentence, subwords) in enumerate(zip(sentences, encoded, strict=True)):
        items.append(
            features.EncodedSentence(
                subwords, *features.encode_arcs(sentence.heads or [], sentence.labels or [], numbers)
            )
        )
        length = len(sentence.tokens)
        spans += [(row, i, j) for i in range(length) for j in range(i, min(length, i + 3))]
        offset = len(entities)
        entities += [(row, entity.start, entity.end - 1) for entity in sentence.entities]
        pairs += [(offset, offset + 1), (offset + 1, offset)]
    arrays = [torch.from_numpy(array) for array in features.pad_batch(items)]
    return TrainingBatch(*arrays, torch.tensor(spans), torch.tensor(entities), torch.tensor(pairs))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_comes_back_the_same(
    create: Callable[..., Checkpoint], tmp_path: Path, sentences: list[Sentence], family: str
) -> None:
    one = create(family)
    one.model.eval()
    inputs = inputs_of(one, sentences)
    with torch.no_grad():
        expected = one.model(inputs, 2)
    one.save(tmp_path / "model")
    files = {str(path.relative_to(tmp_path / "model")) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert files == FILES
    state = torch.random.get_rng_state()
    other = checkpoints.load_checkpoint(tmp_path / "model")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not other.model.training
    assert other.description == one.description
    assert other.tokenizer_json == one.tokenizer_json
    weights = other.model.state_dict()
    assert weights.keys() == one.model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in one.model.state_dict().items())
    with torch.no_grad():
        found = other.model(inputs_of(other, sentences), 2)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_window_is_as_long_as_the_encoder_can_place(create: Callable[..., Checkpoint], family: str) -> None:
    one = create(family)
    limit = POSITIONS[family]
    assert max_subword_count(one.model.encoder) == limit
    assert one.description.model.encoder.max_subwords == limit
    assert one.description.pipeline_settings.max_subwords == limit
    ids = torch.full((1, limit), 7)
    states = one.model.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert states.shape == (1, limit, 16)
    longer = torch.full((1, limit + 1), 7)
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        one.model.encoder(input_ids=longer, attention_mask=torch.ones_like(longer))


def test_a_window_can_be_shorter(create: Callable[..., Checkpoint]) -> None:
    assert create("bert", encoder={"max_subwords": 12}).description.pipeline_settings.max_subwords == 12


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(create: Callable[..., Checkpoint], sentences: list[Sentence], family: str) -> None:
    model = (one := create(family)).model.eval()
    long, short = sentences[6], sentences[2]
    with torch.no_grad():
        alone, together = model(inputs_of(one, [short]), 2), model(inputs_of(one, [short, long]), 2)
    for single, both in zip(alone[:2], together[:2], strict=True):
        torch.testing.assert_close(both[: len(single)], single, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_letter_case_is_read_once_it_is_learnt(create: Callable[..., Checkpoint], tmp_path: Path, family: str) -> None:
    plain, one = create(family), create(family, encoder={"casing": True})
    words = [["Alice", "lives", "in", "NEW", "McXyz", "."]]
    ids = torch.from_numpy(inference.load_tokenizer(one).encode(words)[0].ids)[None]
    lower = torch.from_numpy(inference.load_tokenizer(plain).encode(words)[0].ids)[None]
    mask = torch.ones_like(ids)
    one.model.eval()
    plain.model.eval()
    with torch.no_grad():
        expected = plain.model.encode_subwords(lower, mask)[0]
        assert torch.equal(one.model.encode_subwords(ids, mask)[0], expected)
        table = one.model.encoder.get_input_embeddings()
        table.casing.normal_()
        by_hand = torch.nn.functional.embedding(lower, table.weight) + table.casing[ids // CASE_MULTIPLIER]
        wanted = plain.model.encoder(inputs_embeds=by_hand, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(one.model.encode_subwords(ids, mask)[0], wanted)
        assert not torch.allclose(wanted, expected, atol=1e-2)
    one.save(tmp_path / "model")
    other = checkpoints.load_checkpoint(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(other.model.encode_subwords(ids, mask)[0], wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_pooler_is_carried_along(create: Callable[..., Checkpoint], family: str) -> None:
    assert not [name for name in create(family).model.state_dict() if "pooler" in name]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_become_subwords(create: Callable[..., Checkpoint], family: str) -> None:
    tokenizer = inference.load_tokenizer(create(family))
    (found,) = tokenizer.encode([["Alice", "lives", "in", "Xyz", "."]])
    assert tokenizer.special_token_count == 2
    assert found.first_positions[0] == 1
    assert found.last_positions[-1] == len(found.ids) - 2
    assert np.array_equal(found.first_positions[1:], found.last_positions[:-1] + 1)
    assert found.last_positions[3] - found.first_positions[3] >= 2
    assert not found.unknown_words


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_encoder_stored_in_half_precision_is_used_in_single(
    encoders: dict[str, str], create: Callable[..., Checkpoint], tmp_path: Path, sentences: list[Sentence], dtype: Any
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(encoders["bert"], folder)
    load_encoder(encoders["bert"]).to(dtype).save_pretrained(folder)
    one = create(encoder={"name": str(folder)})
    assert {parameter.dtype for parameter in one.model.parameters()} == {torch.float32}
    one.model.eval()
    with torch.no_grad():
        expected = one.model(inputs_of(one, sentences[:2]), 2)[0]
    one.save(tmp_path / "model")
    other = checkpoints.load_checkpoint(tmp_path / "model")
    assert {parameter.dtype for parameter in other.model.parameters()} == {torch.float32}
    with torch.no_grad():
        assert torch.equal(other.model(inputs_of(other, sentences[:2]), 2)[0], expected)


def test_dropout_of_the_encoder_can_be_set(encoders: dict[str, str]) -> None:
    def rates(encoder: Any) -> set[float]:
        return {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}

    assert rates(load_encoder(encoders["bert"])) == {0.1}
    assert rates(load_encoder(encoders["bert"], 0.25)) == {0.25}
    assert rates(load_encoder(encoders["bert"], 0.0)) == {0.0}


def test_an_encoder_inside_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_encoder_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="has no folder 'model'"):
        resolve_encoder("some_encoder_package:model")
    (package / "model" / "config.json").write_text("{}")
    assert resolve_encoder("some_encoder_package:model") == str(package / "model")
    with pytest.raises(ConfigError, match="'no_such_package' is not installed"):
        resolve_encoder("no_such_package:model")
    assert resolve_encoder("bert-base-cased") == "bert-base-cased"


def test_encoders_that_cannot_be_loaded(encoders: dict[str, str], tmp_path: Path) -> None:
    for load in (load_encoder, load_tokenizer):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ConfigError) as caught:
            load(str(tmp_path / "empty"))
        assert "\n" not in str(caught.value)
        assert "empty" in str(caught.value)
    damaged = tmp_path / "damaged"
    shutil.copytree(encoders["bert"], damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ConfigError, match="damaged"):
        load_encoder(str(damaged))


@pytest.fixture
def folder(create: Callable[..., Checkpoint], tmp_path: Path) -> Path:
    create().save(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        checkpoints.load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def change(folder: Path, **values: Any) -> None:
    path = folder / "trimf.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refusal(folder)


def test_no_folder(tmp_path: Path) -> None:
    refusal(tmp_path / "nothing")


@pytest.mark.parametrize("name", sorted(FILES - {"tokenizer.json"}))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(folder: Path, name: str, share: float) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refusal(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_of_noise(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\x00noise")
    refusal(folder)


def test_another_schema(folder: Path) -> None:
    change(folder, schema_version=checkpoints.SCHEMA_VERSION + 1)
    assert f"schema_version {checkpoints.SCHEMA_VERSION + 1}" in refusal(folder)


def test_another_schema_with_fields_of_its_own(folder: Path) -> None:
    change(folder, schema_version=checkpoints.SCHEMA_VERSION + 1, invented=True)
    assert f"schema_version {checkpoints.SCHEMA_VERSION + 1}" in refusal(folder)


def with_removed(folder: Path, **used: Any) -> None:
    """Write a description as an earlier version did, with the settings that it still had."""
    model = json.loads((folder / "trimf.json").read_text())["model"]
    model["span"]["context"] = used.get("context", "none")
    change(folder, model={**model, "scaled": used.get("scaled", False)})


def test_a_checkpoint_with_removed_settings_that_are_off_still_loads(folder: Path) -> None:
    expected = checkpoints.load_checkpoint(folder)
    with_removed(folder)
    loaded = checkpoints.load_checkpoint(folder)
    assert loaded.description == expected.description
    for name, value in expected.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)


@pytest.mark.parametrize(("used", "setting"), [({"scaled": True}, "scaled"), ({"context": "cls"}, "span.context")])
def test_a_checkpoint_that_used_a_removed_setting_is_refused(folder: Path, used: dict[str, Any], setting: str) -> None:
    with_removed(folder, **used)
    assert refusal(folder) == (
        f"{folder}: the model was trained with model.{setting}, which was removed because it did not help "
        "(docs/results/recipe-steps.json); train it again"
    )


def test_a_checkpoint_from_before_the_mean_of_the_slots_keeps_their_sum(folder: Path) -> None:
    model = json.loads((folder / "trimf.json").read_text())["model"]
    assert model["flow"]["slots"] == "mean"
    del model["flow"]["slots"]
    change(folder, model=model)
    loaded = checkpoints.load_checkpoint(folder)
    assert loaded.description.model.flow.slots == "sum"
    assert (loaded.model.subword_flow.slots, loaded.model.word_flow.slots) == ("sum", "sum")
    loaded.save(folder)
    assert checkpoints.load_checkpoint(folder).description == loaded.description


@pytest.mark.parametrize("flow", [1, [], "sum", None])
def test_a_damaged_table_is_refused(folder: Path, flow: Any) -> None:
    model = json.loads((folder / "trimf.json").read_text())["model"]
    change(folder, model={**model, "flow": flow})
    assert "flow" in refusal(folder)


def test_a_description_with_an_unknown_field(folder: Path) -> None:
    change(folder, invented=True)
    assert "invented" in refusal(folder)


@pytest.mark.parametrize(
    "labels",
    [
        {"entities": ["Loc"], "relations": ["Know", "Live_In"], "dependencies": ["punct"]},
        {"entities": ["Loc", "Peop"], "relations": ["Know"], "dependencies": ["dobj"] * 6},
    ],
)
def test_weights_that_do_not_fit_the_labels(folder: Path, labels: dict[str, list[str]]) -> None:
    change(folder, labels=labels)
    assert "do not fit" in refusal(folder)


def test_weights_that_do_not_fit_the_configuration(folder: Path) -> None:
    model = json.loads((folder / "trimf.json").read_text())["model"]
    change(folder, model={**model, "trigger": False})
    assert "do not fit" in refusal(folder)


def test_weights_that_do_not_fit_the_encoder(folder: Path) -> None:
    path = folder / "encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_size": 8}))
    assert "do not fit" in refusal(folder)


def test_an_encoder_of_unknown_kind(folder: Path) -> None:
    (folder / "encoder" / "config.json").write_text('{"model_type": "nothing-known"}')
    refusal(folder)


def test_nothing_of_a_checkpoint_is_executed(folder: Path) -> None:
    """A configuration that points to code of its own does not get it run."""
    (folder / "encoder" / "evil.py").write_text("raise SystemExit('executed')")
    path = folder / "encoder" / "config.json"
    mapped = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": mapped}))
    checkpoints.load_checkpoint(folder)
    path.write_text(json.dumps({"model_type": "nothing-known", "auto_map": mapped}))
    refusal(folder)


def test_saving_replaces_a_checkpoint_whole(create: Callable[..., Checkpoint], folder: Path) -> None:
    (folder / "mine").touch()
    with pytest.raises(InputError, match="holds mine, which is no part of a checkpoint"):
        create(seed=9).save(folder)
    (folder / "mine").unlink()
    create(seed=9).save(folder)
    weights = create(seed=9).model.state_dict()
    assert all(
        torch.equal(value, weights[name])
        for name, value in checkpoints.load_checkpoint(folder).model.state_dict().items()
    )


def test_the_runtime_gets_its_settings(create: Callable[..., Checkpoint], names: Labels) -> None:
    one = create()
    settings = one.description.pipeline_settings
    assert settings.dependency_label_to_id == {name: number for number, name in enumerate(names.dependency_labels, 1)}
    assert settings.symmetric_relations == {0}
    assert settings.relation_threshold == DecodeConfig().relation_threshold
    assert settings.overlap is True


def test_predictions_survive_the_way_to_disk(folder: Path, create: Callable[..., Checkpoint], sentences: Any) -> None:
    parsed = [ParsedSentence(one.tokens, one.heads, one.labels) for one in sentences]
    before, after = (
        inference.build_pipeline(one).run(parsed) for one in (create(), checkpoints.load_checkpoint(folder))
    )
    assert sum(len(result.decoded.relations) for result in before) > 0
    for one, other in zip(before, after, strict=True):
        assert one.decoded.entities == other.decoded.entities
        assert [relation[:4] for relation in one.decoded.relations] == [
            relation[:4] for relation in other.decoded.relations
        ]
        for mine, yours in zip(one.decoded.relations, other.decoded.relations, strict=True):
            assert np.array_equal(mine.trigger_weights, yours.trigger_weights)


def test_a_layer_that_the_encoder_has_not(create: Callable[..., Checkpoint]) -> None:
    create(syntax={"source": "encoder", "layer": 2})
    with pytest.raises(ConfigError, match=r"model\.syntax\.layer must be <= 2, the number of layers of .*bert, got 3"):
        create(syntax={"source": "encoder", "layer": 3})
