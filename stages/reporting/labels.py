"""What runs are called in figures, tables and pages, and in which colour; the one place to name a new experiment.

Colours are Okabe and Ito's (2008), told apart without colour vision; every line has a dash of its own as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nnlib.errors import InputError

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#666666",
)
# For what has no label of its own: batch sizes, say.
SERIES = (BLUE, RED, GREEN, PINK, ORANGE, SKY)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))


class Label(NamedTuple):
    text: str
    colour: str


# The experiments in the order in which they are shown.
LABELS = {
    "experiment-1": Label("1  plain", BLUE),
    "experiment-2": Label("2  batch norm + L2", RED),
    "experiment-3": Label("3  L2", GREEN),
    "experiment-4": Label("4  batch norm", PINK),
    "experiment-2-exact": Label("2-exact", ORANGE),
    "experiment-4-exact": Label("4-exact", SKY),
}


def check_label(key: str) -> None:
    """Refuse an experiment that has no label, before anything is trained for it."""
    if key not in LABELS:
        raise InputError(f"{key}: expected a label of its own in LABELS of stages/reporting/labels.py, got none")


def cell_label(settings: Mapping[Any, Any]) -> str:
    """What a cell of the grid is called, by its settings."""
    return f"batch {settings['batch_size']}, {settings['epochs']} epochs, λ {settings['L2']:g}"
