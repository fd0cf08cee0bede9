"""Streams on real processes: texts in, results out, and what happens when one of them, or the caller, dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.parsers import ObedientParser

import trimf

GOOD = "Ann met Bob in Rome 7."
TEXTS = [f"Ann{i} met {'Bob ' * (i % 7)}. Jack left." for i in range(60)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def extract(tiny_bundle: Path) -> Iterator[trimf.Extractor]:
    with trimf.load(tiny_bundle, threads=1, parser=ObedientParser(), syntax="arcs", candidates=True) as extractor:
        yield extractor


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_the_same_results_as_in_one_process(extract: trimf.Extractor) -> None:
    pairs = [(text, object()) for text in TEXTS]
    found = list(extract.stream(pairs, 2, processes=2, as_tuples=True))
    assert found == list(extract.stream(pairs, 2, as_tuples=True))
    assert found[6][0].relations[0].head is found[6][0].entities[0]
    words = [text.split() for text in TEXTS[:9]] + [[]]
    assert list(extract.words(words, 2, processes=np.int64(2))) == list(extract.words(words, 2))


def test_texts_that_cannot_be_read(extract: trimf.Extractor) -> None:
    texts: list[Any] = [GOOD, None, "a\ud800", "", 3.0, GOOD]
    for options in ({"processes": 2}, {"workers": 2}):
        skipping = extract.stream(texts, 2, on_error="skip", **options)  # type: ignore[call-overload]
        assert [one.text for one in skipping] == [GOOD, "", GOOD]
        assert [bad.index for bad in skipping.bad_texts.first] == [1, 2, 4]
        before = []
        with pytest.raises(trimf.InputError, match=r"^3 texts could not be read: text 1 must be a str"):
            before.extend(extract.stream(texts, 2, **options))
        stopping = extract.stream(texts, 2, on_error="stop", **options)  # type: ignore[call-overload]
        assert next(stopping).text == GOOD
        with pytest.raises(trimf.InputError, match=r"^text 1 must be a str"):
            next(stopping)


def test_a_text_that_fails_and_one_that_warns(extract: trimf.Extractor) -> None:
    texts = [GOOD, "Ann, beware of Bob.", "Jack, beware.", "It is bad.", GOOD]
    for options in ({"processes": 2}, {"workers": 2}):
        found = []
        with pytest.warns(RuntimeWarning, match="beware of the text") as caught, pytest.raises(ValueError, match="bad"):
            found.extend(extract.stream(texts, 8, **options))
        assert [one.text for one in found] == texts[:3]
        assert {Path(one.filename).name for one in caught} == {"parsers.py"}
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            found = []
            with pytest.raises(RuntimeWarning, match="beware"):
                found.extend(extract.stream(texts, 8, **options))
            assert [one.text for one in found] == texts[:1]


def test_an_exception_that_cannot_be_sent(extract: trimf.Extractor) -> None:
    with pytest.raises(trimf.BackendError, match=r"^StuckError: it is stuck") as caught:
        list(extract.stream(["I am stuck."], processes=2))
    assert "parsers.py" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("exit", "ended with exit code 7"),
        pytest.param(
            "die",
            r"was killed by signal 9 \(SIGKILL\)",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no signals here"),
        ),
    ],
)
def test_a_process_that_dies(extract: trimf.Extractor, word: str, end: str) -> None:
    texts = [*TEXTS[:20], f"Now {word}.", *TEXTS]
    found = []
    message = rf"^process \d+ of the stream {end} while it worked on texts (\d+) to (\d+); the others were stopped\. If"
    with pytest.raises(trimf.BackendError, match=message) as caught:
        found.extend(extract.stream(texts, 2, processes=2))
    first, last = (int(part) for part in str(caught.value).split("texts ")[1].split(";")[0].split(" to "))
    assert first <= 20 <= last
    assert [one.text for one in found] == texts[:first]


def test_a_stream_that_is_left(extract: trimf.Extractor) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield GOOD

    never = extract.stream(endless(), processes=2)
    assert multiprocessing.active_children() == []
    never.close()
    for _ in extract.stream(endless(), 2, processes=2):
        break
    assert multiprocessing.active_children() == []
    with closing(extract.stream([GOOD, *["It may hang."] * 9], 1, processes=2)) as hanging:
        next(hanging)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    with suppress(ZeroDivisionError):
        for _ in extract.stream(endless(), 2, processes=2):
            raise ZeroDivisionError
    assert multiprocessing.active_children() == []


def test_few_texts_start_few_processes(extract: trimf.Extractor) -> None:
    stream = extract.stream([GOOD, GOOD], processes=8)
    next(stream)
    assert len(multiprocessing.active_children()) == 1
    assert next(stream).text == GOOD
    assert list(extract.stream([], processes=8)) == []
    stream.close()


def test_what_is_refused_at_once(extract: trimf.Extractor, tiny_bundle: Path) -> None:
    for value, words in ((0, ">= 1, got 0"), (-1, ">= 1, got -1"), (True, "an integer >= 1"), (2.0, "an integer >= 1")):
        with pytest.raises(trimf.InputError, match=f"^processes must be {words}"):
            extract.stream([GOOD], processes=value)  # type: ignore[call-overload]
        with pytest.raises(trimf.InputError, match=f"^processes must be {words}"):
            extract.words([[GOOD]], processes=value)  # type: ignore[call-overload]
    with pytest.raises(trimf.InputError, match="workers and processes cannot both be more than 1, got 3 and 2"):
        extract.stream([GOOD], workers=3, processes=2)
    with pytest.raises(trimf.InputError, match="batch_size must be >= 1"):
        extract.stream([GOOD], 0, processes=2)
    own = trimf.load(tiny_bundle, parser=ObedientParser(), sentences=lambda text: [(0, len(text))])
    with own, pytest.raises(trimf.InputError, match="cannot be pickled because its sentences, <function"):
        own.stream([GOOD], processes=2)
    with pytest.raises(trimf.BackendError, match="is closed"):
        own.stream([GOOD], processes=2)


def test_a_bundle_that_is_gone(own_bundle: Path) -> None:
    with trimf.load(own_bundle, threads=1, parser=ObedientParser()) as extract:
        own_bundle.rename(own_bundle.with_name("elsewhere"))
        with pytest.raises(trimf.BundleError, match="bundle not found"):
            next(extract.stream([GOOD], processes=2))


def start_script(code: str, tmp_path: Path, bundle: Path) -> subprocess.Popen[str]:
    """Run a script that makes an extractor ``x`` first."""
    script = tmp_path / "script.py"
    head = "import sys, trimf\nfrom support.parsers import ObedientParser\n"
    load = f"x = trimf.load({str(bundle)!r}, threads=1, parser=ObedientParser())\n"
    guard = "if __name__ == '__main__':\n    "
    body = load + code
    script.write_text(head + (body if code.startswith("#") else guard + body.replace("\n", "\n    ")))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )


HANG = """import multiprocessing, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background does not have
stream = x.stream(["Ann met Bob.", *["It may hang."] * 9], 1, processes=2)
next(stream)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
next(stream)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_caller_that_is_ended_leaves_no_process(number: int, tmp_path: Path, tiny_bundle: Path) -> None:
    with start_script(HANG, tmp_path, tiny_bundle) as caller:
        assert caller.stdout is not None
        children = [int(number) for number in caller.stdout.readline().split()]
        assert len(children) == 2
        if number == signal.SIGINT:  # as the keyboard sends it, to all processes of the terminal
            os.killpg(caller.pid, number)
        else:
            caller.send_signal(number)
        caller.wait(120)
        deadline = time.monotonic() + 120
        while any(map(is_running, children)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_running, children))
        assert caller.stderr is not None
        assert caller.stderr.read().count("Traceback") == (number == signal.SIGINT)


def is_running(process: int) -> bool:
    """Whether there is such a process; one whose parent has not asked for its end does not count."""
    state = Path(f"/proc/{process}/stat")
    if Path("/proc/self/stat").exists():
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_stream_left_open_does_not_keep_the_interpreter(tmp_path: Path, tiny_bundle: Path) -> None:
    with start_script(HANG.rpartition("next")[0], tmp_path, tiny_bundle) as caller:
        out, err = caller.communicate(timeout=300)
        assert (caller.returncode, err) == (0, "")
        if sys.platform != "win32":
            assert not any(is_running(int(number)) for number in out.split())


def test_a_script_without_a_guard_is_told_so(tmp_path: Path, tiny_bundle: Path) -> None:
    code = "# no guard\nprint(len(list(x.stream(['Ann.'], processes=2))))\n"
    with start_script(code, tmp_path, tiny_bundle) as caller:
        out, err = caller.communicate(timeout=300)
    assert caller.returncode == 1
    assert out == ""
    assert err.splitlines()[-1].endswith("a file and start processes only below if __name__ == '__main__':")
