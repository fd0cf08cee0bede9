"""Atomic files and folders, and lines of UTF-8."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.bundle import atomic_io as files
from trimf.runtime.bundle.atomic_io import atomic_folder, atomic_path, read_lines
from trimf.runtime.errors import InputError


class StopError(Exception):
    """Raised by a test in the middle of writing."""


def fail(temporary: Path) -> None:
    temporary.write_text("half")
    raise StopError


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_a_file_is_replaced_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(StopError), atomic_path(target) as temporary:
        fail(temporary)
    assert target.read_text() == "old"
    with atomic_path(str(target)) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_a_file_never_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    link = tmp_path / "link"
    link.symlink_to("real")
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_folder_appears_whole_with_its_parents(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file").write_text("new")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "new"
    assert names(target.parent) == ["model"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StopError), atomic_folder(tmp_path / "model") as temporary:
        fail(temporary / "file")
    assert names(tmp_path) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "file").write_text("new")
    assert names(tmp_path / "model") == ["file"]
    assert names(tmp_path) == ["model"]


def test_a_full_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(InputError, match="is not empty"), atomic_folder(tmp_path / "model"):
        pytest.fail("the block ran")
    assert names(tmp_path / "model") == ["old"]
    assert names(tmp_path) == ["model"]


def test_a_folder_filled_meanwhile_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def work() -> None:
        with atomic_folder(target) as temporary:
            (temporary / "new").touch()
            target.mkdir()
            (target / "theirs").touch()

    with pytest.raises(InputError, match="is not empty"):
        work()
    assert names(target) == ["theirs"]
    assert names(tmp_path) == ["model"]


def test_overwriting_replaces_the_whole_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with atomic_folder(tmp_path / "model", overwrite=True) as temporary:
        (temporary / "new").touch()
        assert names(tmp_path / "model") == ["old"]
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    replace = files.os.replace
    calls = []

    def failing(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError("no space")
        replace(source, destination)

    monkeypatch.setattr(files.os, "replace", failing)
    with pytest.raises(OSError, match="no space"), atomic_folder(target, overwrite=True) as temporary:
        (temporary / "new").touch()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_of_a_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "model").write_text("file")
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "model", overwrite=overwrite):
        pytest.fail("the block ran")
    assert (tmp_path / "model").read_text() == "file"


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
