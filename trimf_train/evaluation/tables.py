"""Show the result of an evaluation as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimf_train.evaluation.reachability import describe_unreachable
from trimf_train.evaluation.results import Evaluation, Scores

if TYPE_CHECKING:
    from rich.console import Group


def build_tables(result: Evaluation) -> Group:
    """Build the tables that ``trimf eval`` prints.

    Args:
        result: The scores of a model.

    Returns:
        One table each for entities, strict relations and boundary relations, with a row per type followed by the
        micro and macro averages, none for entities if they were given, and none for relations if there are neither gold
        nor predicted ones; then the tables of dependency arcs and calibration, if ``result`` has them.
    """
    from rich.console import Group

    from trimf.runtime.output.plain_table import build_plain_table

    given = result.get("given_entities", False)
    parts: dict[str, Scores] = {} if given else {"Entities": result["entities"]}
    if result["relations"]["strict"]["per_type"]:
        parts["Relations, strict"] = result["relations"]["strict"]
        parts["Relations, boundary"] = result["relations"]["boundary"]
    tables = []
    documents = result.get("documents")
    texts = "" if documents is None else f"{documents} document{'s' * (documents != 1)}, "
    for title, scores in parts.items():
        leaves = [*scores["per_type"].items(), ("micro", scores["micro"]), ("macro", scores["macro"])]
        rows = [
            [name, *(f"{leaf[key]:.2f}" for key in ("precision", "recall", "f1")), str(leaf["support"])]
            for name, leaf in leaves
        ]
        title = f"{title} ({texts}{result['sentences']} sentences)"
        columns = ("type", "precision", "recall", "F1", "support")
        tables.append(build_plain_table(title, *columns, rows=rows, figures=4, summary_rows=2))
    if syntax := result.get("syntax"):
        title = f"Dependency arcs ({syntax['words']} words without punctuation)"
        figures = [f"{syntax['uas']:.2f}", f"{syntax['las']:.2f}"]
        tables.append(build_plain_table(title, "UAS", "LAS", rows=[figures], figures=2))
    if calibrations := result.get("calibration"):
        rows = [
            [name, str(measured["found"]), *(f"{measured[key]:.3f}" for key in ("score", "right", "error"))]
            for name, measured in (("entities", calibrations["entities"]), ("relations", calibrations["relations"]))
        ]
        columns = ("", "predicted", "mean score", "share correct", "calibration error")
        tables.append(build_plain_table("Calibration of the scores", *columns, rows=rows, figures=4))
    return Group(*tables)


def describe_comparison(result: Evaluation) -> list[str]:
    """Describe how running text was compared, and what gold annotation no prediction can equal.

    Args:
        result: The scores of a model.

    Returns:
        Lines for the terminal; none if words were compared.
    """
    if "unreachable" not in result:
        return []
    gold = result["entities"]["micro"]["support"], result["relations"]["strict"]["micro"]["support"]
    return [
        f"compared by characters, in running text that was split as for extraction (language {result['language']!r})",
        *describe_unreachable(result["unreachable"], *gold),
    ]
