"""Every shipped bundle stays above its floors on the pages of plain sentences.

``floors.json`` has shares in per cent, about one relation below what was measured, because int8 kernels of another CPU
may decide a close case otherwise. Raise a floor when a bundle is better by more than that; never lower one.
"""

from __future__ import annotations

import json

import pytest
from score_plain_sentences import (
    MODES,
    NEWS_PAGE,
    PAGES,
    ROOT,
    TRIGGER_PAGE,
    judge_news,
    judge_triggers,
    read_page,
    score_news,
    score_triggers,
)

import trimf

FLOORS = json.loads((PAGES / "floors.json").read_text(encoding="utf-8"))
BUNDLES = sorted(manifest.parent.name for manifest in (ROOT / "models").glob("*/manifest.json"))


def below(measured: dict[str, float], floors: dict[str, float]) -> dict[str, str]:
    assert measured.keys() == floors.keys()
    return {name: f"{measured[name]:.1f} < {floor}" for name, floor in floors.items() if measured[name] < floor}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_triggers(bundle: str, mode: str) -> None:
    floors = FLOORS["triggers"].get(bundle, {}).get(mode)
    if floors is None:
        pytest.skip(f"floors.json has no floor of triggers for bundle {bundle}, mode {mode}")
    with trimf.load(ROOT / "models" / bundle, threads=1, **MODES[mode]) as extract:
        score = score_triggers(judge_triggers(read_page(TRIGGER_PAGE), extract.relate))
    assert below(score.to_percent(), floors) == {}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_news(bundle: str) -> None:
    floors = FLOORS["news"].get(bundle)
    if floors is None:
        pytest.skip(f"floors.json has no floor of news for bundle {bundle}")
    with trimf.load(ROOT / "models" / bundle, threads=1) as extract:
        score = score_news(judge_news(read_page(NEWS_PAGE), extract))
    assert below(score.to_percent(), floors) == {}


def test_every_floor_is_of_a_shipped_bundle_and_a_known_mode() -> None:
    assert {*FLOORS["triggers"], *FLOORS["news"]} <= {*BUNDLES}
    assert {mode for modes in FLOORS["triggers"].values() for mode in modes} <= {*MODES}


def test_a_score_below_its_floor_is_named() -> None:
    assert below({"found": 70.0, "none": 50.0}, {"found": 71, "none": 50}) == {"found": "70.0 < 71"}
