"""A process that trains and scores one run, given as JSON on stdin; what it did before it was killed is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from trimf.runtime.errors import TrimfError
from trimf.runtime.files import atomic_path
from trimf_train import checkpoint as checkpoints
from trimf_train import inference
from trimf_train.config import Config
from trimf_train.data.readers import read_sentences
from trimf_train.evaluate import evaluate
from trimf_train.experiments.cells import Result
from trimf_train.train import train


class Job(msgspec.Struct, frozen=True):
    """A configuration and the file to score it on; ``command`` is recorded as what started it."""

    config: Config
    test: str
    command: str


def do(job: Job) -> None:
    """Train, unless that is done, score, and write ``result.json`` into the run's folder."""
    folder = Path(job.config.output)
    best = folder / "best"
    if (folder / "state.pt").exists() or not best.exists():
        train(job.config, command=job.command)
    checkpoint = checkpoints.load(best)
    labels = checkpoint.description.labels
    scores = evaluate(inference.pipeline(checkpoint), labels, list(read_sentences(job.test)))
    noted = checkpoint.description.provenance
    lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    epochs = [one for one in map(msgspec.json.decode, lines) if one["type"] == "epoch"]
    result = Result(
        epoch=noted["epoch"],
        parameters=sum(one.numel() for one in checkpoint.model.parameters()),
        seconds=sum(one["seconds"] for one in epochs),
        test=dict(scores),
        dev=noted.get("dev"),
    )
    with atomic_path(folder / "result.json") as new:
        new.write_bytes(msgspec.json.encode(result))


def main() -> int:
    """Do the job on stdin; an error is one line on stderr."""
    try:
        do(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    except TrimfError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
