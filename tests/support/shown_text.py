"""What must never reach a terminal, by Unicode's own categories rather than by the product's list."""

import unicodedata

_CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def list_unsafe(text: str) -> list[str]:
    """List the control characters but line breaks, the surrogates, and the marks that reorder the text around them."""
    return [
        letter
        for letter in text
        if letter != "\n"
        and (unicodedata.category(letter) in _CONTROLS or unicodedata.bidirectional(letter) in _REORDERING)
    ]
