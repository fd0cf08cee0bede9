"""Atomic files and folders."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from trimf.runtime.errors import InputError
from trimf.runtime.files import atomic as files
from trimf.runtime.files.atomic import atomic_folder, atomic_path
from trimf.runtime.files.folder_kinds import BENCHMARK, BUNDLE, CHECKPOINT, FolderKind


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


def make_folder(path: Path, kind: FolderKind) -> None:
    """Write a folder of a kind with all the files that it may hold."""
    marker = {
        **dict.fromkeys(kind.keys, 1),
        "files": {"a.onnx": 1, "engines/encoder.tensorrt.sm_89.0123abcd.engine": 1},
    }
    for name in {kind.marker, *kind.list_files(marker)}:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(marker))


@pytest.mark.parametrize("kind", [BUNDLE, CHECKPOINT, BENCHMARK])
def test_overwriting_replaces_the_whole_folder(tmp_path: Path, kind: FolderKind) -> None:
    make_folder(tmp_path / "model", kind)
    with atomic_folder(tmp_path / "model", kind, overwrite=True) as temporary:
        (temporary / "new").touch()
        assert kind.marker in names(tmp_path / "model")
    assert names(tmp_path / "model") == ["new"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    "foreign",
    ["notes.txt", "annotations/month.json", ".git/HEAD", "engines/mine.engine", "encoder/other.json", "empty/"],
)
@pytest.mark.parametrize("kind", [BUNDLE, CHECKPOINT, BENCHMARK])
def test_a_folder_with_anything_else_is_not_replaced(tmp_path: Path, kind: FolderKind, foreign: str) -> None:
    target = tmp_path / "model"
    make_folder(target, kind)
    if foreign.endswith("/"):
        (target / foreign).mkdir()
    else:
        (target / foreign).parent.mkdir(parents=True, exist_ok=True)
        (target / foreign).touch()
    message = f"holds {foreign.rstrip('/')}, which is no part of a {kind.name}; it is not replaced"
    with pytest.raises(InputError, match=message), atomic_folder(target, kind, overwrite=True):
        pytest.fail("the block ran")
    assert (target / foreign).exists()


@pytest.mark.parametrize("kind", [BUNDLE, CHECKPOINT, BENCHMARK, None])
@pytest.mark.parametrize("other", [BUNDLE, CHECKPOINT, BENCHMARK])
def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path, kind: FolderKind | None, other: FolderKind) -> None:
    if kind is other:
        return
    make_folder(tmp_path / "model", other)
    with pytest.raises(InputError, match="it is not replaced"), atomic_folder(tmp_path / "model", kind, overwrite=True):
        pytest.fail("the block ran")
    assert other.marker in names(tmp_path / "model")


@pytest.mark.parametrize(
    "content", ["{}", "[]", "no JSON", '{"name": "an extension", "manifest_version": 3}', "[" * 10**5]
)
def test_a_manifest_of_others_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="is not a bundle"), atomic_folder(tmp_path / "model", BUNDLE, overwrite=True):
        pytest.fail("the block ran")


def test_a_file_put_into_the_old_folder_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    make_folder(target, BUNDLE)
    replace = files.os.replace

    def add_first(source: Path, destination: Path) -> None:
        if Path(source) == target:
            (target / "notes.txt").write_text("mine")
        replace(source, destination)

    monkeypatch.setattr(files.os, "replace", add_first)
    with pytest.raises(InputError, match=r"holds notes\.txt"), atomic_folder(target, BUNDLE, overwrite=True):
        pass
    assert (target / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == ["model"]


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    make_folder(target, BENCHMARK)
    replace = files.os.replace
    calls = []

    def failing(source: Path, destination: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError("no space")
        replace(source, destination)

    monkeypatch.setattr(files.os, "replace", failing)
    with pytest.raises(OSError, match="no space"), atomic_folder(target, BENCHMARK, overwrite=True) as temporary:
        (temporary / "new").touch()
    assert "report.json" in names(target)
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_way_of_a_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "model").write_text("file")
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "model", overwrite=overwrite):
        pytest.fail("the block ran")
    assert (tmp_path / "model").read_text() == "file"


WRITE = """
import sys, time
from pathlib import Path
from trimf.runtime.files.atomic import atomic_folder, atomic_path
with {function}(sys.argv[1]) as temporary:
    Path(temporary, *{inside}).write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


def start_writing(target: Path, function: str) -> "subprocess.Popen[str]":
    """Start a process that is in the middle of writing a file or a folder."""
    code = WRITE.format(function=function, inside=["a"] if function == "atomic_folder" else [])
    process = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("function", "write"), [("atomic_path", atomic_path), ("atomic_folder", atomic_folder)])
def test_a_second_writer_is_refused_and_a_dead_one_is_cleaned_up_after(
    tmp_path: Path, function: str, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    target = tmp_path / "out"
    process = start_writing(target, function)
    with pytest.raises(InputError, match="another process is writing it"), write(target):
        pytest.fail("the block ran")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(names(tmp_path)) == 2  # what was written, and the lock
    bystander = tmp_path / ".out.notes.tmp"
    bystander.touch()
    with write(target) as temporary:
        (temporary / "a" if function == "atomic_folder" else temporary).write_text("whole")
    assert names(tmp_path) == [".out.notes.tmp", "out"]


def test_a_folder_that_a_dead_process_moved_aside_comes_back(tmp_path: Path) -> None:
    make_folder(tmp_path / ".model.0123456789abcdef.old", BUNDLE)
    with pytest.raises(StopError), atomic_folder(tmp_path / "model", BUNDLE, overwrite=True) as temporary:
        fail(temporary / "a")
    assert (tmp_path / "model" / "manifest.json").exists()
    assert names(tmp_path) == ["model"]


def test_two_threads_write_one_file_after_another(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with atomic_path(tmp_path / "a", wait=60) as temporary:
            temporary.write_text(str(number) * 1000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    assert len(set((tmp_path / "a").read_text())) == 1
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_the_umask_and_the_old_file_decide_on_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "weights").touch(mode=0o600)
        with atomic_path(tmp_path / "new") as temporary:
            temporary.touch()
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(0o604)
        with atomic_path(tmp_path / "old") as temporary:
            temporary.touch()
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model", "model/weights", "new", "old")]
    assert modes == [0o750, 0o640, 0o640, 0o604]
