"""Figures of experiments: every name and every value is inside the axes, and a legend names what is drawn."""

import re
import warnings
from xml.etree import ElementTree

import pytest

from trimf_train.experiments.plots import draw_figure
from trimf_train.experiments.report import ExperimentReport, MeanAndDeviation, Row, ThresholdSweep
from trimf_train.experiments.triggers.measures import DeletionCurve, GroupMeasures
from trimf_train.experiments.triggers.resampling import Estimate
from trimf_train.experiments.triggers.study import TriggerStudy

pytest.importorskip("matplotlib", reason="needs matplotlib")


def make_report(experiment: str, **fields) -> ExperimentReport:
    texts = ("title", "source", "command", "protocol", "data", "held", "encoder", "parser")
    known = dict.fromkeys(texts, "") | {"seeds": 3, "quick": True, "config": {}, "environment": {}, "rows": []}
    return ExperimentReport(experiment=experiment, **(known | fields))


def make_row(name: str, entity: float = 80.0, relation: float = 60.0, deviation: float = 0.5) -> Row:
    figures = {"entity f1": MeanAndDeviation(entity, deviation), "relation f1": MeanAndDeviation(relation, deviation)}
    return Row(name, [], [], figures, None, None, {})


def list_texts(svg: str) -> list[str]:
    """Texts of a figure: matplotlib writes each as a comment beside its outlines."""
    ElementTree.fromstring(svg)
    return [text.strip() for text in re.findall(r"<!-- (.*?) -->", svg, re.DOTALL)]


def list_numbers(texts: list[str]) -> list[float]:
    """Numbers that stand at ticks; matplotlib writes a minus sign."""
    return [float(text.replace("−", "-")) for text in texts if re.fullmatch(r"−?\d+(\.\d+)?", text)]


def test_the_longest_name_leaves_room_for_the_bars():
    names = ["TriMF", "type combinations not seen in training allowed", "w/o subword-level MFA gradient"]
    svg = draw_figure(make_report("recipe", rows=[make_row(name) for name in names]))
    assert all(name in " ".join(" ".join(list_texts(svg)).split()) for name in names)
    width = float(re.search(r'viewBox="0 0 (\S+) ', svg).group(1))
    outlines = re.findall(r'id="patch_[27]">\s*<path d="M (\S+) .*?L (\S+) ', svg, re.DOTALL)
    panels = [float(right) - float(left) for left, right in outlines]
    assert panels
    assert min(panels) > width / 4


def test_error_bars_are_within_the_axes():
    svg = draw_figure(make_report("modules", rows=[make_row("a", deviation=9.0), make_row("b", deviation=9.0)]))
    assert max(number for number in list_numbers(list_texts(svg)) if number < 100) >= 85


def test_negative_drops_are_within_the_axes():
    def curve(method: str, fall: list[float]) -> DeletionCurve:
        return DeletionCurve(method, fall, [Estimate(1.0)] * len(fall))

    def report(*curves: DeletionCurve, relations: int = 4) -> ExperimentReport:
        group = GroupMeasures("all", relations, 3, 2, 0, 0.5, [], list(curves))
        return make_report("triggers", triggers=TriggerStudy(9, 0, 0.2, 100, 0, {}, [group], [], []))

    up, down = curve("sensor", [0.1, 0.2, 0.3]), curve("random words", [0.0, -0.2, -0.1])
    assert min(list_numbers(list_texts(draw_figure(report(up))))) == 0
    assert draw_figure(report(curve("sensor", [None]), relations=0)) is None
    texts = list_texts(draw_figure(report(up, down)))
    assert min(list_numbers(texts)) < 0
    assert texts[-2:] == ["sensor", "random words"]


def test_a_legend_is_below_the_axes():
    sweep = ThresholdSweep([0.1, 0.5, 0.9], [50, 60, 70], [90, 80, 70], [64, 69, 70], [1, 1, 1])
    stages = [make_row(f"{n} + {100 - n}") for n in range(0, 101, 20)]
    cases = (({"sweep": sweep}, {"precision", "recall", "F1"}), ({"rows": stages}, {"entity F1", "relation F1"}))
    for fields, labels in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            svg = draw_figure(make_report("stages", **fields))
        assert set(list_texts(svg)[-len(labels) :]) == labels
        bottom = float(re.search(r'id="patch_2">\s*<path d="M \S+ (\S+)', svg).group(1))
        first_label = re.search(r"translate\(\S+ ([\d.]+)\)", svg[svg.index('id="legend_1"') :])
        assert float(first_label.group(1)) > bottom


def test_one_row_has_no_figure():
    assert draw_figure(make_report("main", rows=[make_row("TriMF")])) is None
