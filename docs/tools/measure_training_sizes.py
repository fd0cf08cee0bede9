"""Measure F1 on CoNLL04 test by the number of training sentences, with and without ``trimf train --data``.

Run ``python docs/tools/measure_training_sizes.py data/conll04 WORK``. ``data/conll04`` has SpERT's train.json, dev.json
and test.json. The training sets are the first n sentences of train.json; dev and test stay as they are. *Before* is the
recipe conll04-syntax without its additional sentences, for 18 + 12 epochs; *after* is ``trimf train --data`` with no
further setting. Both have the in-model parser.

Each run lies in ``WORK/RECIPE-SIZE-SEED`` and is made once, so that the command can be stopped and given again, with
other ``--sizes``, ``--seeds`` and ``--recipes``. After each run, all finished runs in WORK are written to
``docs/results/training-sizes.json``; ``--collect`` does that alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "docs" / "results" / "training-sizes.json"
RECIPES = ("before", "after")
TITLES = {"before": "fixed 18 + 12 epochs", "after": "`trimf train --data`"}


def run_trimf(*arguments: str) -> str:
    """Run a command of TriMF on one thread and return what it prints on stdout."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "trimf.cli", *arguments]
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def train(recipe: str, train_data: Path, dev_data: Path, seed: int, output: Path) -> None:
    """Train one model, or resume its training.

    Args:
        recipe: one of ``RECIPES``.
        train_data: SpERT file of the training sentences.
        dev_data: SpERT file of the development sentences.
        seed: seed of the run.
        output: folder of the run.
    """
    if recipe == "after":
        data = ["--data", str(train_data), "--dev", str(dev_data), "--output", str(output)]
        run_trimf("train", *data, "--set", f"seed={seed}")
        return
    prepared = [path.with_suffix(".prepared.jsonl") for path in (train_data, dev_data)]
    for source, target in zip((train_data, dev_data), prepared, strict=True):
        run_trimf("prepare", str(source), str(target))
    settings = [
        f"data.train={json.dumps([str(prepared[0])])}",
        f"data.dev={prepared[1]}",
        "train.extra_syntax=[]",
        "train.extra_share=0",
        f"seed={seed}",
        f"output={output}",
    ]
    run_trimf("train", "conll04-syntax", *(part for setting in settings for part in ("--set", setting)))


def measure(data: Path, work: Path, recipe: str, size: int, seed: int) -> None:
    """Train and evaluate one model, unless its scores are there; write them to ``scores.json`` in its folder."""
    output = work / f"{recipe}-{size}-{seed}"
    scores = output / "scores.json"
    if scores.exists():
        return
    inputs = work / "data"
    inputs.mkdir(parents=True, exist_ok=True)
    train_data, dev_data = inputs / f"train-{size}.json", inputs / "dev.json"
    train_data.write_text(json.dumps(json.loads((data / "train.json").read_text(encoding="utf-8"))[:size]))
    dev_data.write_bytes((data / "dev.json").read_bytes())
    if not (output / "best").exists() or (output / "state.pt").exists():
        train(recipe, train_data, dev_data, seed, output)
    result = json.loads(run_trimf("eval", str(output / "best"), str(data / "test.json"), "--json", "--threads", "1"))
    result["epochs"] = count_epochs(output)
    scores.write_text(json.dumps(result), encoding="utf-8")


def count_epochs(run: Path) -> int:
    """Return the number of epochs that a run trained for."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["type"] == "epoch" for line in lines)


def collect(work: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of all finished runs by recipe and size, such as ``before-50``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(work.glob("*/scores.json")):
        key = path.parent.name.rpartition("-")[0]
        found.setdefault(key, []).append(json.loads(path.read_text(encoding="utf-8")))
    return found


def format_mean(values: list[float]) -> str:
    """Return the mean of a score over the seeds, with the standard deviation where there are several."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def build_rows(found: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Return a row of the table for each size and recipe, smallest size first."""
    rows = []
    for key in sorted(found, key=lambda key: (int(key.rpartition("-")[2]), RECIPES.index(key.rpartition("-")[0]))):
        recipe, _, size = key.rpartition("-")
        runs = found[key]
        rows.append(
            [
                size,
                TITLES[recipe],
                format_mean([run["entities"]["micro"]["f1"] for run in runs]),
                format_mean([run["relations"]["strict"]["micro"]["f1"] for run in runs]),
                " ".join(str(run["epochs"]) for run in runs),
                str(len(runs)),
            ]
        )
    return rows


def write_results(rows: list[list[str]], device: str, commit: str, target: Path = RESULT) -> None:
    """Write the results file from which the pages are rendered."""
    content = {
        "title": "CoNLL04 test by number of training sentences, PyTorch fp32",
        "columns": ["training sentences", "trained by", "entity F1", "relation F1", "epochs", "seeds"],
        "rows": rows,
        "measured": [
            {
                "command": "python docs/tools/measure_training_sizes.py data/conll04 runs/sizes",
                "device": device,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "commit": commit,
            }
        ],
        "note": "Strict micro F1; mean and standard deviation where there are several seeds. The first sentences of "
        "train, all of dev. In-model parser, MiniLM-L6 encoder.",
    }
    target.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments, make the runs that are missing, and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 150, 400, 922])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--device", default=f"{os.cpu_count()} cores, {platform.machine()}")
    parser.add_argument("--collect", action="store_true", help="train nothing; write the results file")
    options = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    for size in options.sizes:
        for seed in options.seeds:
            for recipe in options.recipes:
                if not options.collect:
                    measure(options.data, options.work, recipe, size, seed)
                if rows := build_rows(collect(options.work)):
                    write_results(rows, options.device, commit)


if __name__ == "__main__":
    main()
