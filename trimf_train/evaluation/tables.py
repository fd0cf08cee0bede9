"""Show the result of an evaluation as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trimf_train.evaluation.results import Evaluation, Scores

if TYPE_CHECKING:
    from rich.console import Group


def build_tables(result: Evaluation) -> Group:
    """Build the tables that ``trimf eval`` prints.

    Args:
        result: The scores of a model.

    Returns:
        One table each for entities, strict relations and boundary relations, with a row per type followed by the
        micro and macro averages; then the tables of dependency arcs and calibration, if ``result`` has them.
    """
    from rich.console import Group
    from rich.table import Table

    parts: Mapping[str, Scores] = {
        "Entities": result["entities"],
        "Relations, strict": result["relations"]["strict"],
        "Relations, boundary": result["relations"]["boundary"],
    }
    tables = []
    for title, scores in parts.items():
        view = Table(title=f"{title} ({result['sentences']} sentences)", title_justify="left")
        view.add_column("type")
        for column in ("precision", "recall", "F1", "support"):
            view.add_column(column, justify="right")
        rows = [*scores["per_type"].items(), ("micro", scores["micro"]), ("macro", scores["macro"])]
        for i, (name, leaf) in enumerate(rows):
            figures = [f"{leaf[key]:.2f}" for key in ("precision", "recall", "f1")]
            view.add_row(name, *figures, str(leaf["support"]), end_section=i == len(scores["per_type"]) - 1)
        tables.append(view)
    if syntax := result.get("syntax"):
        view = Table(title=f"Dependency arcs ({syntax['words']} words without punctuation)", title_justify="left")
        for column in ("UAS", "LAS"):
            view.add_column(column, justify="right")
        view.add_row(f"{syntax['uas']:.2f}", f"{syntax['las']:.2f}")
        tables.append(view)
    if calibrations := result.get("calibration"):
        view = Table(title="Calibration of the scores", title_justify="left")
        for column in ("", "predicted", "mean score", "share correct", "calibration error"):
            view.add_column(column, justify="right" if column else "left")
        for name, measured in (("entities", calibrations["entities"]), ("relations", calibrations["relations"])):
            view.add_row(name, str(measured["found"]), *(f"{measured[key]:.3f}" for key in ("score", "right", "error")))
        tables.append(view)
    return Group(*tables)
