"""Decide whether a full stop ends a sentence, by the words on both sides of it."""

from __future__ import annotations

import re

from .abbreviations import AbbreviationKind

_STARTERS_TEXT = """
    A About According Additionally After Afterwards Again Also Although Among An And Another Are As At Because
    Before Both But By Can Could Despite Did Do Does During Each Either Eventually Every Few Finally For From
    Furthermore Has Have Having He Hence Her Here His How However I If In Indeed Instead Into Is It Its Later
    Many Meanwhile Moreover Most My Neither Nevertheless Nor Nonetheless Not Now Often On Once Only Or Our
    Perhaps Please Previously Recently Several She Should Similarly Since So Some Soon Still Such That The Their
    Then There Therefore These They This Those Though Through Throughout Thus To Today Together Two Until Upon
    Was We Were What When Where Whereas Whether Which While Who Why With Within Without Would Yesterday Yet
    You Your Mr. Mrs. Ms.
"""

#: Capitalized function words that start a sentence after an abbreviation, and can hardly be a name.
_STARTERS = frozenset(_STARTERS_TEXT.split())

_NO_NAMES_TEXT = """
    A An Are As Did Do Each Few For He Her Here I Into Many May My So Still Such To
"""

#: Those of them that are not the name of a person either: "Mr. He", "Lt. So", "Ms. An" are names.
_NO_NAMES = _STARTERS - frozenset(_NO_NAMES_TEXT.split())

#: A number, a letter, or a Roman numeral, which may carry digits: 3, A, IV, S1, 3b.
_LABEL = re.compile(r"[#(\[]?(?:[A-Z]?\d.*|[A-Z]|[IVXLC]+|[ivx]+)")


def stop_ends_sentence(kind: AbbreviationKind | None, word: str) -> bool:
    """Return True if the full stop of a word ends the sentence.

    Args:
        kind: Kind of abbreviation that the word in front of the full stop is; None if it is none.
        word: The next word, after any closing and opening quotes and brackets.
    """
    if kind is None:
        return True
    if kind is AbbreviationKind.PREFIX:
        return False
    if kind is AbbreviationKind.NUMBERED:
        return not _LABEL.fullmatch(word)
    # Capitals throughout: "THE FIRM".
    form = word.capitalize() if len(word) > 2 and word.isupper() else word
    if kind is AbbreviationKind.TITLE:
        return form in _NO_NAMES
    if kind is AbbreviationKind.EITHER:
        return form in _STARTERS
    return word[0].isupper()
