"""The colours of figures and page, light and dark: one table.

Figures are drawn, and their files written, in the light colours; inside the page each becomes a CSS variable, so that a
dark page has dark figures. As letters or as lines, every colour but `line` and `paper` has a contrast of 4.5 to 1 and
more against `paper`. Only training and validation costs are told apart by colour alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Colour(NamedTuple):
    light: str
    dark: str


COLOURS = {
    "ink": Colour("#1c1f23", "#e8e8e4"),
    "muted": Colour("#5d6269", "#a4a8ae"),
    "line": Colour("#d9dad6", "#3a3d42"),
    "paper": Colour("#fdfdfb", "#16181b"),
    "blue": Colour("#0072b2", "#5cb3f0"),
    "red": Colour("#b84a00", "#ff8f4d"),
    "green": Colour("#007a58", "#3ecf9f"),
    "pink": Colour("#b0417d", "#f08cc0"),
    "ochre": Colour("#806000", "#e0b43c"),
    "violet": Colour("#6a4bb8", "#b3a0f5"),
}
INK, GREY, LINE, PAPER, BLUE, RED, GREEN, PINK, OCHRE, VIOLET = (colour.light for colour in COLOURS.values())
# For what has no colour of its own, batch sizes, say: none that stands for an experiment.
SERIES = (GREY, INK, "#8a8f96")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))


def named(name: str | None) -> str:
    """The light colour of that name; that of text without one."""
    return COLOURS[name].light if name else INK


_VARIABLE = {colour.light: f"var(--{name}, {colour.light})" for name, colour in COLOURS.items()}


def variable(colour: str) -> str:
    """A light colour of the table as a CSS variable of the page; any other as it is."""
    return _VARIABLE.get(colour, colour)


def themed(svg: str) -> str:
    """The SVG with every colour of the table as a CSS variable of the page that it stands in."""
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda match: variable(match[0]), svg)


def darkened(svg: str) -> str:
    """The SVG in the dark colours."""
    dark = {colour.light: colour.dark for colour in COLOURS.values()}
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda match: dark.get(match[0], match[0]), svg)


def variables(scheme: str) -> str:
    """The table as declarations of CSS variables, for a scheme, light or dark."""
    return " ".join(f"--{name}: {getattr(colour, scheme)};" for name, colour in COLOURS.items())
