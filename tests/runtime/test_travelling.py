"""An extractor that is pickled, copied, or used in another process."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import trimf
from trimf.runtime.text.parser import Parse, Parser

TEXT = "Ann met Bob in Rome 7."


class FlatParser:
    """Every word hangs on the first."""

    name = "flat"
    labels = ("ROOT", "chain")

    def parse(self, sentences: Sequence[Sequence[str]]) -> list[Parse]:
        return [Parse([0] * len(one), ["ROOT", *["chain"] * (len(one) - 1)]) for one in sentences]


class StuckParser(FlatParser):
    """A parser that cannot be pickled."""

    def __init__(self) -> None:
        self.function = lambda: None


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_the_same_options_and_answers(tiny_bundle: Path, travel: Callable[[Any], Any]) -> None:
    options: Any = {"threads": 1, "triggers": 1, "syntax": "arcs", "threshold": {"knows": 0.9}, "candidates": True}
    with trimf.load(tiny_bundle, parser=FlatParser(), **options) as extract, travel(extract) as other:
        assert other(TEXT) == extract(TEXT)
        assert other.bundle.path == extract.bundle.path
        extract.close()
        assert other(TEXT).entities


def test_a_relative_path_travels_to_another_folder(
    parsing_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(parsing_bundle.parent)
    content = pickle.dumps(trimf.load(parsing_bundle.name, threads=1))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(content)(TEXT).entities


def test_a_parser_that_cannot_be_pickled(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)
    with trimf.load(tiny_bundle, threads=1, parser=StuckParser()) as extract:
        with pytest.raises(trimf.InputError, match="cannot be pickled because its parser") as caught:
            pickle.dumps(extract)
        assert "\n" not in str(caught.value)
        assert copy.copy(extract)(TEXT) == extract(TEXT)


def test_a_bundle_that_is_gone_and_an_extractor_that_is_closed(own_bundle: Path, chain_parser: Parser) -> None:
    extract = trimf.load(own_bundle, threads=1, parser=chain_parser)
    content = pickle.dumps(extract)
    own_bundle.rename(own_bundle.with_name("elsewhere"))
    with pytest.raises(trimf.BundleError, match="bundle not found"):
        pickle.loads(content)
    extract.close()
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(trimf.BackendError, match="is closed and cannot be"):
            travel(extract)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(parsing_bundle: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    with (
        trimf.load(parsing_bundle, threads=1) as extract,
        ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool,
    ):
        assert list(pool.map(extract, [TEXT] * 3)) == [extract(TEXT)] * 3
        with pytest.raises(trimf.InputError, match="text must be a str, got int"):
            pool.submit(extract, 7).result()


TEXTS = [
    "Lee Harvey Oswald was shot by Jack Ruby in Dallas.",
    "",
    "Zoë Ångström 🚀 wörks for Siemens AG in München, Germany. 巴拉克·奥巴马出生于夏威夷",
    "Jack Ruby lives in Dallas. " * 30,
    "Rome",
]


@pytest.mark.slow
def test_joblib(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="needs joblib")
    extract = trimf.load(threads=1, syntax="arcs", candidates=True)
    with joblib.parallel_config(backend="loky", temp_folder=str(tmp_path)):
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(extract)(text) for text in TEXTS)
        assert found == [extract(text) for text in TEXTS]
        batches = joblib.Parallel(n_jobs=2)(joblib.delayed(_stream)(extract, TEXTS[n::2]) for n in range(2))
        assert batches == [_stream(extract, TEXTS[n::2]) for n in range(2)]
        with pytest.raises(trimf.InputError, match="text must be a str, got int"):
            joblib.Parallel(n_jobs=2)(joblib.delayed(extract)(text) for text in (TEXTS[0], 7))


def _stream(extract: trimf.Extractor, texts: list[str]) -> list[trimf.Extraction]:
    return list(extract.stream(texts, batch_size=4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_uses_the_model_of_its_parent_and_ends(parsing_bundle: Path, threads: int) -> None:
    with trimf.load(parsing_bundle, threads=threads) as extract:
        expected = extract(TEXT)
        process = multiprocessing.get_context("fork").Process(target=_check, args=(extract, expected))
        process.start()
        process.join(60)
        assert process.exitcode == 0


def _check(extract: trimf.Extractor, expected: trimf.Extraction) -> None:
    assert extract(TEXT) == expected
    extract.close()
