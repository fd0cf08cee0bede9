"""Say how good a finished run is, and which commands come next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from trimf_train.config import Config


def describe_outcome(best: dict[str, Any], config: Config) -> list[str]:
    """Describe a finished run.

    Args:
        best: The record of the best epoch.
        config: The configuration of the run.

    Returns:
        A line with the scores of the best epoch, and the commands that evaluate, export and use its checkpoint.
    """
    checkpoint, bundle = str(Path(config.output, "best")), f"{Path(config.output)}-bundle"
    stages = config.train.syntax_stage, config.train.stage1, config.train.stage2
    head = f"best epoch {best['epoch']} of {sum(stage.epochs for stage in stages)} in {checkpoint}"
    if dev := best.get("dev"):
        head += f": dev entity F1 {dev['entities']['micro']['f1']:.2f}"
        if (relations := dev["relations"]["strict"])["per_type"]:
            head += f", relation F1 {relations['micro']['f1']:.2f}"
    else:
        head += ": the last one, as there is no dev data"
    commands = [
        ["trimf", "eval", checkpoint, config.data.dev or "test.jsonl"],
        ["trimf", "export", checkpoint, "--output", bundle],
        ["trimf", "extract", "--model", bundle, "Your text."],
    ]
    return [head, "next:", *(f"  {shlex.join(command)}" for command in commands)]
