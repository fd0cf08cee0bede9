"""The drawings of the architecture show the code as it is."""

import draw_rooms
import draw_sentence
import pytest


def test_rooms() -> None:
    assert draw_rooms.OUTPUT.read_text(encoding="utf-8") == draw_rooms.draw(), "run python docs/tools/draw_rooms.py"


def test_the_way_of_a_sentence() -> None:
    expected = draw_sentence.draw()
    assert draw_sentence.OUTPUT.read_text(encoding="utf-8") == expected, "run python docs/tools/draw_sentence.py"


def test_a_step_that_is_gone_is_named() -> None:
    with pytest.raises(ValueError, match=r"runtime/extractor.py has no Extractor.nope; update STEPS"):
        draw_sentence.returned_type("runtime/extractor.py", "Extractor.nope")
