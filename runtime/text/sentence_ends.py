"""Decide whether a full stop ends a sentence, by the words on both sides of it."""

from __future__ import annotations

import re

from .abbreviations import AbbreviationKind

#: Marks that end a sentence, in any script: those of spaCy's ``Sentencizer``.
FULL_STOPS = frozenset(
    "!.?\u0589\u061f\u06d4\u0700\u0701\u0702\u07f9\u0964\u0965\u104a\u104b\u1362\u1367\u1368\u166e\u1735\u1736"
    "\u1803\u1809\u1944\u1945\u1aa8\u1aa9\u1aaa\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d"
    "\u2047\u2048\u2049\u2e2e\u2e3c\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d"
    "\uaa5e\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\U00010a56\U00010a57\U00011047\U00011048"
    "\U000110be\U000110bf\U000110c0\U000110c1\U00011141\U00011142\U00011143\U000111c5\U000111c6\U000111cd\U000111de"
    "\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9"
    "\U000115ca\U000115cb\U000115cc\U000115cd\U000115ce\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4"
    "\U000115d5\U000115d6\U000115d7\U00011641\U00011642\U0001173c\U0001173d\U0001173e\U00011a42\U00011a43\U00011a9b"
    "\U00011a9c\U00011c41\U00011c42\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U0001bc9f\U0001da88"
    "\uff61\u3002"
)

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
