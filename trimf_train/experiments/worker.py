"""Process that trains and evaluates one run, which it reads as JSON from stdin.

A run that was killed continues from its last saved state.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from trimf.runtime.errors import TrimfError
from trimf.runtime.files.atomic import atomic_path
from trimf_train.config import Config
from trimf_train.data.readers import read_sentences
from trimf_train.evaluation.evaluate import evaluate_pipeline
from trimf_train.experiments.cells import RunResult
from trimf_train.model import checkpoint as checkpoints
from trimf_train.model import torch_backend as inference
from trimf_train.training.train import train_model


class Job(msgspec.Struct, frozen=True):
    """Configuration and the file to evaluate on; ``command`` is recorded in the checkpoint as its origin."""

    config: Config
    test: str
    command: str


def run_job(job: Job) -> None:
    """Train unless training is finished, evaluate, and write ``result.json`` to the folder of the run.

    Args:
        job: The run.

    Raises:
        TrimfError: Training or evaluation failed.
    """
    folder = Path(job.config.output)
    best = folder / "best"
    if (folder / "state.pt").exists() or not best.exists():
        train_model(job.config, command=job.command)
    checkpoint = checkpoints.load_checkpoint(best)
    labels = checkpoint.description.labels
    scores = evaluate_pipeline(inference.build_pipeline(checkpoint), labels, list(read_sentences(job.test)))
    provenance = checkpoint.description.provenance
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    epochs = [record for record in map(msgspec.json.decode, lines) if record["type"] == "epoch"]
    result = RunResult(
        epoch=provenance["epoch"],
        parameters=sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        seconds=sum(record["seconds"] for record in epochs),
        test=scores,
        dev=provenance.get("dev"),
    )
    with atomic_path(folder / "result.json") as new:
        new.write_bytes(msgspec.json.encode(result))


def main() -> int:
    """Run the job on stdin; report a known error as one line on stderr.

    Returns:
        The exit status: 0, or 1 after a known error.
    """
    try:
        run_job(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    except TrimfError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
