"""Measure a bundle on the pages of plain sentences, and say what it got wrong.

Run ``python docs/tools/measure_plain_sentences.py default``; another bundle is given by its folder. ``--mode exact``
finds triggers by leaving words out. ``--write`` puts the scores into ``docs/results/plain-triggers.json`` and
``plain-news.json``, beside those of other bundles; ``render_results.py`` fills the page with them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_plain_sentences import (
    MODES,
    NEWS_PAGE,
    ROOT,
    TRIGGER_PAGE,
    JudgedRelation,
    JudgedText,
    judge_news,
    judge_triggers,
    percent,
    read_page,
    score_news,
    score_triggers,
)

import trimf

RESULTS = ROOT / "docs" / "results"
TRIGGER_TABLE = {
    "title": "Triggers of 100 plain sentences, entities given",
    "columns": [
        *("bundle", "triggers", "relation type", "relations found"),
        *("first trigger right, of relations with a marked one", "right, of first triggers shown"),
        "none shown, of relations with none marked",
    ],
    "note": "The last three columns count the relations that the bundle finds between the given entities.",
}
NEWS_TABLE = {
    "title": "Relations of 40 plain sentences",
    "columns": ["bundle", "expected", "right", "missed", "wrong", "precision", "recall", "rightly left empty"],
    "note": "A relation is right if its type and the text of both names are; an article before a name does not count.",
}


def build_trigger_rows(bundle: str, mode: str, judged: Sequence[JudgedRelation]) -> list[list[str]]:
    """Return the rows of the table of triggers: all relations, then each type."""
    labels = sorted({relation.triple[1] for relation in judged})
    rows = []
    for label in ("all", *labels):
        score = score_triggers(relation for relation in judged if label in ("all", relation.triple[1]))
        shares = (
            (score.found, score.expected),
            (score.marked_right, score.marked),
            (score.marked_right, score.shown),
            (score.unmarked_right, score.unmarked),
        )
        name = label if label == "all" else f"`{label}`"
        rows.append([f"`{bundle}`", mode, name, *(format_share(*share) for share in shares)])
    return rows


def build_news_rows(bundle: str, judged: Sequence[JudgedText]) -> list[list[str]]:
    """Return the row of a bundle in the table of triples."""
    score = score_news(judged)
    counts = (score.right + score.missed, score.right, score.missed, score.wrong)
    shares = score.to_percent()
    last = (f"{shares['precision']:.0f} %", f"{shares['recall']:.0f} %", f"{score.left_empty} of {score.empty}")
    return [[f"`{bundle}`", *map(str, counts), *last]]


def format_share(part: int, whole: int) -> str:
    """Return a share as counts and per cent; empty for a share of nothing."""
    return f"{part} of {whole} ({percent(part, whole):.0f} %)" if whole else ""


def describe_trigger_faults(judged: Sequence[JudgedRelation]) -> list[str]:
    """Return a line for each relation that is not found or has a wrong first trigger."""
    return [
        f"{'wrong trigger' if relation.found else 'not found'}: {' '.join(relation.triple)}; marked"
        f" {' | '.join(relation.marked) or 'none'}; shown {', '.join(relation.shown) or 'none'}; {relation.text}"
        for relation in judged
        if not relation.is_right
    ]


def describe_news_faults(judged: Sequence[JudgedText]) -> list[str]:
    """Return a line for each triple that is missed or wrong."""
    return [
        f"{name}: {' '.join(triple)}; {text.text}"
        for text in judged
        for name, triples in (("missed", text.missed), ("wrong", text.wrong))
        for triple in sorted(triples)
    ]


def write_results(
    target: Path, table: dict[str, Any], rows: list[list[str]], keys: int, measurement: dict[str, str]
) -> None:
    """Put rows into a results file in place of the former ones of the same bundle and mode.

    Args:
        target: The results file; made if it does not exist.
        table: Title, columns and note of the file.
        rows: The rows, equal in their first cells.
        keys: Number of first cells that say what was measured.
        measurement: Command, device, date and commit.
    """
    measured = {"rows": ", ".join(rows[0][:keys]), **measurement}
    former = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"rows": [], "measured": []}
    all_rows = [row for row in former["rows"] if row[:keys] != rows[0][:keys]] + rows
    all_measured = [entry for entry in former["measured"] if entry["rows"] != measured["rows"]] + [measured]
    content = {
        "title": table["title"],
        "columns": table["columns"],
        "rows": sorted(all_rows, key=lambda row: row[:keys]),
        "measured": sorted(all_measured, key=lambda entry: entry["rows"]),
        "note": table["note"],
    }
    target.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a bundle in the modes that are asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="default", help="default, or a folder")
    parser.add_argument("--mode", choices=list(MODES), nargs="+", default=["sensor"])
    parser.add_argument("--write", action="store_true", help="write the results files")
    parser.add_argument("--device", default=f"{os.cpu_count()} cores, {platform.machine()}")
    options = parser.parse_args(arguments)
    name = Path(options.bundle).name
    try:
        for mode in options.mode:
            with trimf.load(options.bundle, **MODES[mode]) as extractor:
                judged = judge_triggers(read_page(TRIGGER_PAGE), extractor.relate)
                news = judge_news(read_page(NEWS_PAGE), extractor)
            trigger_rows, news_rows = build_trigger_rows(name, mode, judged), build_news_rows(name, news)
            for columns, rows in ((TRIGGER_TABLE["columns"], trigger_rows), (NEWS_TABLE["columns"], news_rows)):
                print(*("\t".join(row) for row in [columns, *rows]), sep="\n", end="\n\n")
            print(*describe_trigger_faults(judged), *describe_news_faults(news), sep="\n")
            if options.write:
                command = f"python docs/tools/measure_plain_sentences.py {name}"
                about = {
                    "device": options.device,
                    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                    "commit": read_commit(),
                }
                measured = {"command": f"{command} --mode {mode}", **about}
                write_results(RESULTS / "plain-triggers.json", TRIGGER_TABLE, trigger_rows, 2, measured)
                write_results(RESULTS / "plain-news.json", NEWS_TABLE, news_rows, 1, {**measured, "command": command})
    except trimf.TrimfError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def read_commit() -> str:
    """Return the short name of the commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
