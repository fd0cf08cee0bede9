"""The frozen rules are those of the spaCy that is installed, and are all that English needs."""

import subprocess
import sys
from collections.abc import Iterable

import freeze_word_rules
import pytest
import spacy
from spacy.pipeline import Sentencizer

from trimf.runtime.text.sentence_ends import FULL_STOPS
from trimf.runtime.text.word_rules import FOLDER, VERSION_FILE, find_frozen_rules
from trimf.runtime.triggers.trigger_words import STOP_WORD_FILE

COMMAND = "python docs/tools/freeze_word_rules.py"


def read_version(text: str) -> list[int]:
    return [int(number) for number in text.split(".")[:3]]


def check_frozen(frozen: object, current: object) -> None:
    version = VERSION_FILE.read_text(encoding="ascii").strip()
    if frozen != current and read_version(spacy.__version__) < read_version(version):
        pytest.skip(f"the rules are those of spaCy {version}; spaCy {spacy.__version__} is installed")
    assert frozen == current, f"run `{COMMAND}`"


def read_files(languages: Iterable[str]) -> dict[str, str]:
    return {language: (FOLDER / f"{language}.json").read_text(encoding="ascii") for language in languages}


@pytest.mark.parametrize("language", ["en", "xx", "de"])
def test_rules_are_those_of_spacy(language: str) -> None:
    check_frozen(read_files([language]), freeze_word_rules.render_rules([language]))


@pytest.mark.slow
def test_files_are_those_of_the_command() -> None:
    languages = freeze_word_rules.list_languages()
    check_frozen(read_files(path.stem for path in FOLDER.glob("*.json")), freeze_word_rules.render_rules(languages))


def test_stop_words_and_full_stops_are_those_of_spacy() -> None:
    check_frozen(STOP_WORD_FILE.read_text(encoding="utf-8"), freeze_word_rules.render_stop_words())
    check_frozen(FULL_STOPS, frozenset(Sentencizer.default_punct_chars))


@pytest.mark.parametrize("language", ["", "qq", "../xx", "xx.json", "EN", "en-US", "fr", "zh", "ja", "e\0n", "x" * 999])
def test_other_languages_have_no_frozen_rules(language: str) -> None:
    assert find_frozen_rules(language) is None


def test_the_notice_of_spacy_is_beside_the_rules() -> None:
    notice = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "The MIT License" in notice
    assert "spaCy" in notice


def test_splitting_imports_no_spacy() -> None:
    code = (
        "import sys\nsys.modules['spacy'] = None\nfrom trimf.runtime.text.tokenization import SplittingRules as R\n"
        "from trimf.runtime.text.tokenization import split_sentences\n"
        "for language in ('en', 'de', 'zh', 'xx'):\n"
        "    print(*(len(s.words) for s in split_sentences(\"It's :) here. Don't (stop)!\", R(language))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[0] == "5 6"
    assert len(done.stdout.splitlines()) == 4
