"""Whatever a text holds, what is shown of it neither moves the cursor nor reorders its line."""

import sys

from support.shown_text import list_unsafe

from trimf.runtime.output.plain_text import make_visible


def test_every_character() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    visible = make_visible(everything)
    assert len(visible) == len(everything)
    assert "\n" not in visible
    assert list_unsafe(visible) == []


def test_characters_that_spell_words_stay() -> None:
    text = "می\u200cخواهم 👩\u200d🚀 \ue000 a\u00a0b"
    assert make_visible(text) == text
