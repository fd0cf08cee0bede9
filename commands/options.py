"""Define options that several commands have."""

from __future__ import annotations

import click

THREADS = click.option("--threads", type=int, help="Intra-op threads. Default: all cores.")
THRESHOLD = click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score from 0 to 1 that a relation must exceed, for all types or for one. Repeatable. "
    "Default: that of the model.",
)
ENTITY_THRESHOLD = click.option(
    "--entity-threshold",
    "entity_thresholds",
    multiple=True,
    metavar="[LABEL=]X",
    help="Score that an entity must exceed; others are left out before relations are looked for. Repeatable.",
)
BACKEND_NAMES = "auto, cpu, cuda, tensorrt, tensorrt-ep or tensorrt-rtx-ep"
