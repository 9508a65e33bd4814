"""What runs are called in figures, tables and pages, and in which colour; the one place to name a new experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nnlib.errors import InputError
from stages.reporting import colours


class Label(NamedTuple):
    text: str
    colour: str


# The experiments in the order in which they are shown.
LABELS = {
    "experiment-1": Label("1 plain", colours.BLUE),
    "experiment-2": Label("2 batch norm + L2", colours.RED),
    "experiment-3": Label("3 L2", colours.GREEN),
    "experiment-4": Label("4 batch norm", colours.PINK),
    "experiment-2-exact": Label("2-exact", colours.OCHRE),
    "experiment-4-exact": Label("4-exact", colours.VIOLET),
}


def check_label(key: str) -> None:
    """Refuse an experiment that has no label, before anything is trained for it."""
    if key not in LABELS:
        raise InputError(f"{key}: expected a label of its own in LABELS of stages/reporting/labels.py, got none")


def cell_label(settings: Mapping[Any, Any]) -> str:
    """What a cell of the grid is called, by its settings."""
    return f"batch {settings['batch_size']}, {settings['epochs']} epochs, λ {settings['L2']:g}"
