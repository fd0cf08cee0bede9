"""Lines of UTF-8."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.errors import InputError
from trimf.runtime.files.lines import read_lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\n\r\nb", ["a", "", "b"]),
        (b"a\rb\r\r\n", ["a\rb\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        (" \t\u2028\x85\x0bx \n".encode(), [" \t\u2028\x85\x0bx "]),
        (b"a\0b\n", ["a\0b"]),
    ],
)
def test_lines(content: bytes, lines: list[str]) -> None:
    assert list(read_lines(io.BytesIO(content), "x")) == lines


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])).filter(lambda t: t[:1] != "\ufeff")
    )
)
def test_lines_come_back_as_written(lines: list[str]) -> None:
    for end in ("\n", "\r\n"):
        content = "".join(line + end for line in lines).encode()
        assert list(read_lines(io.BytesIO(content), "x")) == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ok\nab\xffc\n", r"data.jsonl, line 2: byte 0xFF at position 5 is not UTF-8"),
        (b"\xef\xbb\xbf\xe9t", r"line 1: byte 0xE9 at position 3 "),
        (b"ok\r\n\xed\xa0\x80", r"line 2: byte 0xED at position 4 "),
        (b"cut \xe2\x82", r"line 1: byte 0xE2 at position 4 "),
    ],
)
def test_what_is_not_utf8_is_refused_with_its_place(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read_lines(io.BytesIO(content), "data.jsonl"))


def test_good_lines_before_a_bad_one_are_given() -> None:
    lines = read_lines(io.BytesIO(b"good\n\xff\n"), "x")
    assert next(lines) == "good"
    with pytest.raises(InputError):
        next(lines)


def test_a_line_of_any_length() -> None:
    assert [len(line) for line in read_lines(io.BytesIO(b"x" * 5_000_000 + b"\ny"), "x")] == [5_000_000, 1]
