"""Write the word rules of languages to ``runtime/text/rules``, and the stop words, from the spaCy that is installed.

A new version of spaCy may bring other rules; a bundle keeps the words it was trained on as long as these files stay.

Run ``python docs/tools/freeze_word_rules.py``, and run the tests of ``tests/runtime/text`` then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pkgutil import iter_modules
from typing import Any

import spacy
import spacy.lang
from spacy.lang.en.stop_words import STOP_WORDS

from trimf.runtime.text.spacy_words import read_spacy_rules
from trimf.runtime.text.word_rules import FOLDER, NEUTRAL_LANGUAGE, VERSION_FILE
from trimf.runtime.triggers.trigger_words import STOP_WORD_FILE

#: Maximum number of bytes of the rules of a language. French stays in spaCy: it has a pattern of 1.4 MB.
MAX_BYTES = 1_000_000


def render_rules(languages: Iterable[str]) -> dict[str, str]:
    """Return the content of the file of each of the languages that gets one."""
    neutral = _read_fields(NEUTRAL_LANGUAGE)
    files = {}
    for language in languages:
        fields = _read_fields(language)
        own = {key: value for key, value in fields.items() if language == NEUTRAL_LANGUAGE or value != neutral.get(key)}
        content = _render(own)
        if fields and len(content) <= MAX_BYTES:
            files[language] = content
    return files


def list_languages() -> list[str]:
    """Return the codes of all languages of spaCy."""
    return [module.name for module in iter_modules(spacy.lang.__path__) if module.ispkg]


def render_stop_words() -> str:
    """Return the content of the file of stop words."""
    return "".join(f"{word}\n" for word in sorted(STOP_WORDS))


def _read_fields(language: str) -> dict[str, Any]:
    """Return the fields of the rules of a language; none if its tokenizer is of another kind."""
    try:
        rules = read_spacy_rules(spacy.blank(language))
    except ImportError:  # a tokenizer of its own, whose package is not installed
        return {}
    fields = {} if rules is None else rules._asdict()
    for key, value in fields.items():
        if isinstance(value, re.Pattern):
            if value.flags != re.UNICODE:
                return {}
            fields[key] = value.pattern
    return fields


def _render(fields: dict[str, Any]) -> str:
    """Return fields as JSON with a line for each special case."""
    lines = []
    for key, value in fields.items():
        content = "[\n" + ",\n".join(map(json.dumps, value)) + "\n]" if isinstance(value, tuple) else json.dumps(value)
        lines.append(f"{json.dumps(key)}: {content}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for language, content in render_rules(list_languages()).items():
        (FOLDER / f"{language}.json").write_text(content, encoding="ascii")
    VERSION_FILE.write_text(f"{spacy.__version__}\n", encoding="ascii")
    STOP_WORD_FILE.write_text(render_stop_words(), encoding="utf-8")
