"""Sentences, line ends and language of an extractor: what the caller chooses, and what the bundle says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import trimf
from trimf.cli import main
from trimf.runtime.bundle.reader import DEFAULT_BUNDLE, Bundle
from trimf.runtime.text.parser import Parser

LIST = "Ann visited Rome\nBob met Jack\nOslo is far from Bob\nJack met Ann\nAnn met Bob"


def count_sentences(bundle: Path, parser: Parser, text: str, **options: Any) -> int:
    with trimf.load(bundle, threads=1, parser=parser, **options) as extract:
        return len(extract(text).sentences)


def copy_with_language(bundle: Path, folder: Path, language: str) -> Path:
    shutil.copytree(bundle, folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"language": language}))
    return folder


@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        ({}, 5),
        ({"newlines": "space"}, 1),
        ({"newlines": "end"}, 5),
        ({"sentences": "whole"}, 1),
        ({"sentences": lambda text: [(0, 16), (16, len(text))]}, 2),
    ],
)
def test_the_caller_chooses_the_sentences(
    tiny_bundle: Path, chain_parser: Parser, options: dict[str, Any], sentences: int
) -> None:
    assert count_sentences(tiny_bundle, chain_parser, LIST, **options) == sentences


def test_offsets_of_given_sentences_count_characters_of_the_text(tiny_bundle: Path, chain_parser: Parser) -> None:
    text = "Bob | Ann visited Rome | Jack"
    with trimf.load(tiny_bundle, threads=1, parser=chain_parser, sentences=lambda _: [(6, 22)]) as extract:
        doc = extract(text)
    assert doc.sentences == ((6, 22),)
    assert [(entity.text, text[entity.start : entity.end]) for entity in doc.entities] == [
        ("Ann", "Ann"),
        ("Rome", "Rome"),
    ]


def test_ranges_that_do_not_fit_are_an_error_of_the_text(tiny_bundle: Path, chain_parser: Parser) -> None:
    with (
        trimf.load(tiny_bundle, threads=1, parser=chain_parser, sentences=lambda _: [(0, 99)]) as extract,
        pytest.raises(trimf.InputError, match=r"the range \(0, 99\) must have 0 <= start < end <= 3"),
    ):
        extract("Ann")


@pytest.mark.parametrize("options", [{"sentences": "none"}, {"newlines": "none"}, {"sentences": None}])
def test_unknown_options_are_refused(tiny_bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(trimf.InputError, match=r"unknown (sentences|newlines)"):
        trimf.load(tiny_bundle, **options)


def test_the_command_line_has_the_same_options(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Jack Ruby of Dallas\nLee Oswald of New Orleans\nAnna Bell of Oslo"
    answers = []
    for options in (["--newlines", "end"], ["--newlines", "space"], ["--sentences", "whole"]):
        assert main(["extract", "--syntax", "--format", "jsonl", *options, text]) == 0
        arcs = json.loads(capsys.readouterr().out)["arcs"]
        answers.append(sum(arc["head"] == index for index, arc in enumerate(arcs)))
    assert answers[0] >= answers[1] == answers[2]
    assert main(["extract", "--newlines", "none", text]) == 2


def test_the_bundle_says_the_language(tiny_bundle: Path, chain_parser: Parser, tmp_path: Path) -> None:
    assert Bundle(DEFAULT_BUNDLE).manifest.language == "en"
    text = "Don't. Ann"
    chinese = copy_with_language(tiny_bundle, tmp_path / "zh", "zh")
    with trimf.load(chinese, threads=1, parser=chain_parser) as extract:
        assert extract.splitting.language == "zh"
        assert not any("rules of language" in notice for notice in extract("王小明出生于北京。").notices)
        assert len(extract(text).sentences) == 2


@pytest.mark.parametrize("language", ["EN", "../x", "e", "", "english"])
def test_a_language_that_is_no_code_is_refused(tiny_bundle: Path, tmp_path: Path, language: str) -> None:
    with pytest.raises(trimf.BundleError, match=r"manifest.json: not a bundle manifest"):
        Bundle(copy_with_language(tiny_bundle, tmp_path / "x", language))


def test_a_language_without_rules_is_one_line(tiny_bundle: Path, chain_parser: Parser, tmp_path: Path) -> None:
    with pytest.raises(trimf.BackendError, match="language 'qq': spaCy has no rules for it"):
        trimf.load(copy_with_language(tiny_bundle, tmp_path / "qq", "qq"), threads=1, parser=chain_parser)
