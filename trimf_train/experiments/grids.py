"""Define the rows of each table and figure of the paper's section 4, and the F1 that the paper reports.

The experiment ``recipe`` is not in the paper. Each of its rows adds one option to the paper's training recipe; an
option is adopted only if it helps on the development set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trimf_train.config import Config

#: Row with the full model, which other rows are compared with.
FULL_MODEL = "TriMF"

#: Experiment with options beyond the paper's recipe, evaluated on the development set.
RECIPE = "recipe"

#: Row of the recipe experiment whose teachers are the runs of the first row.
DISTILLED = "distilled from all seeds of the first row"

#: Entity F1 and relation F1 in per cent.
F1 = tuple[float, float]


class Grid(NamedTuple):
    """Rows of an experiment.

    Attributes:
        title: Title of the table or figure.
        source: Where it is in the paper.
        rows: Overrides of the configuration by row name.
        paper: Results of the paper by data set and row name.
    """

    title: str
    source: str
    rows: Mapping[str, Sequence[str]]
    paper: Mapping[str, Mapping[str, F1]] = {}


_FULL_ONLY: Mapping[str, Sequence[str]] = {FULL_MODEL: ()}
_SCIERC, _ACE05 = (70.17, 52.44), (87.61, 62.77)


def build_grid(name: str, config: Config, steps: int = 6) -> Grid:
    """Build the grid of an experiment.

    Args:
        name: A name of ``EXPERIMENTS``.
        config: The base configuration; ``stages`` divides its epochs, ``recipe`` varies its options.
        steps: Number of intervals between the divisions of ``stages``.

    Returns:
        The grid.
    """
    if name == "stages":
        return _stages_grid(config, steps)
    return _recipe_grid(config) if name == RECIPE else _GRIDS[name]


def shares_first_stage(name: str, quick: bool) -> bool:
    """Return True if all rows of an experiment start from a common first stage."""
    return name == RECIPE or (quick and name != "stages")


def _recipe_grid(config: Config) -> Grid:
    """Build the grid with one option per row, applied in the second stage after a common first stage.

    If the recipe already restricts relations to the type combinations seen in training, the row removes the
    restriction instead.
    """
    if config.decode.types == "seen":
        types = {"type combinations not seen in training allowed": ("decode.types=any",)}
    else:
        types = {"only type combinations seen in training": ("decode.types=seen",)}
    rows = {
        FULL_MODEL: (),
        "same learning rate for all parts": (f"train.head_lr={config.train.lr}",),
        "1.5 times the epochs in stage 2": (f"train.stage2.epochs={round(1.5 * config.train.stage2.epochs)}",),
        "negatives mined from the model's errors": ("train.mine=true",),
        **types,
        DISTILLED: (),
    }
    return Grid("Options beyond the paper's recipe, evaluated on dev", "not in the paper", rows)


def _stages_grid(config: Config, steps: int) -> Grid:
    """Build the grid of Figure 4: all divisions of the epochs, from none in stage 1 to none in stage 2."""
    epochs = config.train.stage1.epochs + config.train.stage2.epochs
    firsts = sorted({round(epochs * part / steps) for part in range(steps + 1)})
    rows = {
        f"{first} + {epochs - first}": (f"train.stage1.epochs={first}", f"train.stage2.epochs={epochs - first}")
        for first in firsts
    }
    return Grid("Effect of train stage division (epochs of stage 1 + stage 2)", "Figure 4", rows)


def _switch_off(*switches: str) -> tuple[str, ...]:
    """Return overrides that set switches of the model to false."""
    return tuple(f"model.{switch}=false" for switch in switches)


#: Fusion methods of Table 4 and their values in the configuration.
_FUSIONS = {
    "No graph": "none",
    "Semantic graph": "semantic",
    "Syntactic graph": "syntactic",
    "Mean fusion": "mean",
    "Sum fusion": "sum",
    "Max fusion": "max",
}

#: Grids that do not depend on the configuration, by experiment.
_GRIDS: Mapping[str, Grid] = {
    "main": Grid("Main results", "Table 1", _FULL_ONLY),
    "modules": Grid(
        "Effect of different modules",
        "Table 2",
        {
            FULL_MODEL: (),
            "w/o graph weighted fusion": ("model.fusion=none",),
            "w/o trigger sensor": _switch_off("trigger"),
            "w/o subword-level MFA": _switch_off("flow.subword.entity", "flow.subword.relation"),
            "w/o word-level MFA": _switch_off("flow.word.entity", "flow.word.relation"),
        },
        {
            "SciERC": {
                FULL_MODEL: _SCIERC,
                "w/o graph weighted fusion": (70.12, 51.83),
                "w/o trigger sensor": (70.19, 51.23),
                "w/o subword-level MFA": (70.11, 51.27),
                "w/o word-level MFA": (70.21, 51.78),
            },
            "ACE05": {
                FULL_MODEL: _ACE05,
                "w/o graph weighted fusion": (87.55, 61.68),
                "w/o trigger sensor": (87.45, 61.60),
                "w/o subword-level MFA": (87.09, 61.68),
                "w/o word-level MFA": (87.42, 62.02),
            },
        },
    ),
    "interaction": Grid(
        "Effect of interaction between NER and RE",
        "Table 3",
        {
            FULL_MODEL: (),
            "w/o MFA": _switch_off(
                "flow.subword.entity", "flow.subword.relation", "flow.word.entity", "flow.word.relation"
            ),
            "w/o relation MFA": _switch_off("flow.subword.relation", "flow.word.relation"),
            "w/o entity MFA": _switch_off("flow.subword.entity", "flow.word.entity"),
        },
        {
            "SciERC": {
                FULL_MODEL: _SCIERC,
                "w/o MFA": (70.04, 50.78),
                "w/o relation MFA": (70.07, 51.28),
                "w/o entity MFA": (70.17, 51.84),
            },
            "ACE05": {
                FULL_MODEL: _ACE05,
                "w/o MFA": (87.42, 62.19),
                "w/o relation MFA": (87.37, 62.06),
                "w/o entity MFA": (87.38, 62.64),
            },
        },
    ),
    "fusion": Grid(
        "Effect of different graph fusion methods",
        "Table 4",
        {FULL_MODEL: (), **{name: (f"model.fusion={value}",) for name, value in _FUSIONS.items()}},
        {
            # The paper prints 49.04 as entity F1 of the semantic graph; its precision and recall give 69.04.
            "SciERC": {
                FULL_MODEL: _SCIERC,
                "No graph": (70.10, 51.03),
                "Semantic graph": (69.04, 51.30),
                "Syntactic graph": (71.42, 51.37),
                "Mean fusion": (69.39, 51.38),
                "Sum fusion": (69.51, 51.24),
                "Max fusion": (69.38, 51.17),
            },
            "ACE05": {
                FULL_MODEL: _ACE05,
                "No graph": (87.21, 60.96),
                "Semantic graph": (87.63, 60.92),
                "Syntactic graph": (87.41, 61.07),
                "Mean fusion": (87.55, 61.28),
                "Sum fusion": (87.66, 61.17),
                "Max fusion": (87.56, 61.22),
            },
        },
    ),
    "gradients": Grid(
        "Effect of gradient flow to memory",
        "Table 6",
        {
            FULL_MODEL: (),
            "w/o trigger sensor gradient": _switch_off("memory.gradient.trigger"),
            "w/o subword-level MFA gradient": _switch_off("memory.gradient.subword_flow"),
            "w/o word-level MFA gradient": _switch_off("memory.gradient.word_flow"),
        },
        {
            "SciERC": {
                FULL_MODEL: _SCIERC,
                "w/o trigger sensor gradient": (70.14, 52.28),
                "w/o subword-level MFA gradient": (70.23, 52.03),
                "w/o word-level MFA gradient": (70.12, 52.14),
            },
            "ACE05": {
                FULL_MODEL: _ACE05,
                "w/o trigger sensor gradient": (87.55, 61.42),
                "w/o subword-level MFA gradient": (87.43, 61.23),
                "w/o word-level MFA gradient": (87.34, 61.85),
            },
        },
    ),
    "threshold": Grid("Effect of relation filtering threshold", "Figure 5", _FULL_ONLY),
    "triggers": Grid("Trigger words and the effect of deleting them", "Table 5", _FULL_ONLY),
    "attention": Grid("Memory flow attention", "Figure 6", _FULL_ONLY),
}

#: All experiments, in the order of the paper; the recipe experiment is last.
EXPERIMENTS = (
    "main", "modules", "interaction", "fusion", "triggers", "gradients", "stages", "threshold", "attention", RECIPE,
)  # fmt: skip
