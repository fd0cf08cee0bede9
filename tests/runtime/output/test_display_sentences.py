"""What a console and a page show alike: notes, and any text at all without a character that could do harm."""

import re

import pytest
from hypothesis import given, settings

from trimf.runtime.results import Extraction

from .examples import extractions, page, read, shown


@pytest.mark.parametrize("text", ["", "Nothing here.", " \n"])
def test_nothing_found_says_so(text: str) -> None:
    extraction = Extraction(text)
    assert shown(extraction).splitlines()[-1] == "No entities found."
    assert "No entities found." in page(extraction)


def test_notices_are_shown() -> None:
    extraction = Extraction("Word.", notices=("word 0 [bold] was\x1b cut",))
    assert "Note: word 0 [bold] was␛ cut" in shown(extraction)
    assert "Note: word 0 [bold] was␛ cut" in page(extraction)


@settings(deadline=None)
@given(extractions())
def test_anything_can_be_shown(extraction: Extraction) -> None:
    out = shown(extraction)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)
    html = page(extraction)
    html.encode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", html)
    read(html)
