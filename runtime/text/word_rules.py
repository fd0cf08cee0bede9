"""Word rules of languages: those of spaCy's rule tokenizers, frozen as files.

``rules/LANGUAGE.json`` has the fields of ``WordRules``; a field that it lacks is that of ``rules/xx.json``, the neutral
rules. ``python docs/tools/freeze_word_rules.py`` writes the files. Reading one takes a millisecond; the import of spaCy
takes a second and 70 MB.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

#: Folder of the files.
FOLDER = Path(__file__).with_name("rules")

#: File with the version of spaCy that they are taken from.
VERSION_FILE = FOLDER / "spacy_version.txt"

#: Language whose rules are neutral.
NEUTRAL_LANGUAGE = "xx"

_CODE = re.compile(r"[a-z]{2,3}")


Pattern = str | re.Pattern[str]


class WordRules(NamedTuple):
    """What a rule tokenizer of spaCy knows of a language. Patterns are regular expressions, None if there is none.

    Attributes:
        prefix: Pattern of what is split off the start of a chunk; a chunk is what stands between white space.
        suffix: Pattern of what is split off its end.
        infix: Pattern of what divides the rest.
        token_match: Pattern of the start of a chunk that no rule divides.
        url_match: Pattern of the start of a chunk, without prefixes and suffixes, that infixes do not divide.
        cases: The words of each special case, such as ("do", "n't"). The case is the words joined.
        phrases: The words, by the patterns alone, of each special case that is found inside of a chunk, too, such as
            (":", ")").
    """

    prefix: Pattern | None
    suffix: Pattern | None
    infix: Pattern | None
    token_match: Pattern | None
    url_match: Pattern | None
    cases: tuple[tuple[str, ...], ...]
    phrases: tuple[tuple[str, ...], ...]


def find_frozen_rules(language: str) -> WordRules | None:
    """Read the frozen rules of a language.

    Args:
        language: Code of the language, as spaCy names it.

    Returns:
        The rules; None if there are none for the language.
    """
    path = FOLDER / f"{language}.json"
    if not _CODE.fullmatch(language) or not path.is_file():
        return None
    fields = {**_read_neutral_fields(), **msgspec.json.decode(path.read_bytes())}
    fields |= {key: tuple(map(tuple, fields[key])) for key in ("cases", "phrases")}
    return WordRules(**fields)


@cache
def _read_neutral_fields() -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode((FOLDER / f"{NEUTRAL_LANGUAGE}.json").read_bytes())
    return fields
