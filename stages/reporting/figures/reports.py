"""The reports of the assignment side by side: what each printed, and what its own program gives with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.reporting.colours import BLUE, GREEN, GREY, INK, LINE, OCHRE, PAPER, PINK, RED, VIOLET
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import WIDTH, only_words

# The kinds of code as the picture names them, in its order, each in a colour and under a heading of its own. Of batch
# norm, all known kinds but the first lack the derivative.
KINDS = {
    "batch norm": ("with its derivative", GREEN),
    "derivative left out": ("derivative left out", RED),
    "whole matrix": ("one mean for the whole layer", OCHRE),
    "per example": ("over the units, not the images", VIOLET),
    "no normalization": ("no normalization", PINK),
    "off in prediction": ("switched off in prediction", BLUE),
    "unknown": ("not known", GREY),
    "L2 acts": ("λ shrinks the weights", GREEN),
    "L2 cannot act": ("λ cannot act: all is chance", GREY),
}
TITLES = {"bn_vs_none": "Batch norm minus none", "l2_vs_none": "L2 minus none"}
LIMIT = 10  # points; what lies beyond is drawn at the edge
GAP = 1.0  # rows, for a heading
MARKS = {"printed": ("D", INK, 5.5), "a second run": ("D", GREY, 4), "other seeds": ("o", GREY, 3.4)}


class Row(NamedTuple):
    """A report; its differences in points of test accuracy.

    Attributes
    ----------
    label, kind : what it is called, and what its code does
    printed : the difference that counts
    again : those that it printed of the same program once more
    own : those of single-run studies by its own protocol
    """

    label: str
    kind: str
    printed: float
    again: tuple[float, ...] = ()
    own: tuple[float, ...] = ()


class Reports(Drawing):
    """One experiment minus another by all reports that have both."""

    question: str

    def rows(self) -> list[Row]:
        tables = self.report.verdicts["reports"]
        return rows(tables["reports"], tables["differences"], self.question, self.report.study.key)

    def draw(self) -> Figure:
        return draw(self.rows(), TITLES[self.question])

    def facts(self) -> dict[str, Any]:
        return facts(self.rows())

    def table(self) -> pd.DataFrame:
        return self.report.verdicts["reports"]["reports"]


class ReportsBatchnorm(Reports):
    question = "bn_vs_none"


class ReportsL2(Reports):
    question = "l2_vs_none"


def rows(reports: pd.DataFrame, differences: pd.DataFrame, question: str, study: str) -> list[Row]:
    """The rows of a panel from the tables `reports` and `differences` of `nnlib.evidence.reports`, by kind and size;
    one of them is the study's own."""
    found = []
    for record in reports[~reports["doubtful"].astype(bool) & reports[question].notna()].to_dict("records"):
        there = differences[(differences["report"] == record["report"]) & (differences["question"] == question)]
        points = {source: tuple(100 * those["difference"]) for source, those in there.groupby("source")}
        found.append(
            Row(
                "the study" if record["report"] == study else record["report"],
                record[f"{question}_kind"],
                100 * record[question],
                points.get("again", ()),
                points.get("seed", ()),
            )
        )
    order = list(KINDS)
    return sorted(found, key=lambda row: (order.index(row.kind), -row.printed))


def draw(those: Sequence[Row], title: str) -> Figure:
    if not those:
        return only_words("No report prints two experiments that could be compared.")
    height = len(those) + GAP * len({row.kind for row in those})
    figure = Figure(figsize=(WIDTH, 0.2 * height + 0.95), layout="constrained")
    ax = figure.subplots()
    _panel(ax, those)
    ax.set_xlabel(f"{title} (points)")
    key = [Line2D([], [], ls="", label=name, **_style(name)) for name in MARKS]
    figure.legend(handles=key, ncols=3, loc="outside upper left", handletextpad=0.1, columnspacing=0.8)
    return figure


def _style(name: str, colour: str | None = None) -> dict[str, Any]:
    """Of the marks of that name; those that are printed are hollow."""
    marker, usual, size = MARKS[name]
    hollow = {"mfc": "none", "mew": 1.3, "zorder": 3} if marker == "D" else {"mew": 0}
    return {"marker": marker, "color": colour or usual, "ms": size} | hollow


def _panel(ax: Axes, those: Sequence[Row]) -> None:
    ax.axvline(0, color=INK, lw=1, zorder=1)
    y, kind, places = 0.0, None, []
    for row in those:
        heading, colour = KINDS[row.kind]
        if row.kind != kind:
            y, kind = y + GAP, row.kind
            style: Any = {"color": colour, "weight": "bold", "fontsize": 8, "va": "center"}
            ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}
            text = ax.text(0.01, y - 0.95, heading, transform=ax.get_yaxis_transform(), bbox=ground, **style)
            text.set_in_layout(False)
        _row(ax, y, row, colour)
        places.append(y)
        ax.axhline(y + 0.5, color=LINE, lw=0.7, zorder=0)
        y += 1
    ax.set_yticks(places, [row.label for row in those], fontsize=8)
    ax.set_xlim(-LIMIT - 0.5, LIMIT + 0.5)
    ax.set_ylim(y - 0.4, -0.4)
    ax.set_xticks([-10, -5, 0, 5, 10], ["−10", "−5", "0", "+5", "+10"])
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)


def _row(ax: Axes, y: float, row: Row, colour: str) -> None:
    height = np.linspace(-0.22, 0.22, len(row.own))[np.random.default_rng(0).permutation(len(row.own))]
    for values, at, style in (
        (row.own, y + height, _style("other seeds", colour) | {"alpha": 0.55}),
        (row.again, [y] * len(row.again), _style("a second run")),
        ([row.printed], [y], _style("printed")),
    ):
        if len(values):  # marks that are nowhere would have no place in the layout
            ax.plot(np.clip(values, -LIMIT, LIMIT), at, ls="", clip_on=False, **style)
    if abs(row.printed) > LIMIT:
        side = np.sign(row.printed)
        text = f"{row.printed:+.1f}".replace("-", "−")
        ax.text((LIMIT - 0.8) * side, y, text, va="center", ha="right" if side > 0 else "left", fontsize=8)


def facts(those: Sequence[Row]) -> dict[str, Any]:
    """How many reports print better and worse; of how many there are other seeds, and of how many of these on both
    sides of none; how many cannot be but chance; and every row."""
    trained = [row for row in those if row.own]
    return {
        "better": sum(row.printed > 0 for row in those),
        "worse": sum(row.printed < 0 for row in those),
        "trained": len(trained),
        "both": sum(min(row.own) < 0 < max(row.own) for row in trained),
        "placebos": sum(row.kind == "L2 cannot act" for row in those),
        "rows": [
            {"label": row.label, "kind": KINDS[row.kind][0], "printed": row.printed, "again": row.again}
            | {"seeds": len(row.own), "low": min(row.own, default=None), "high": max(row.own, default=None)}
            for row in those
        ],
    }
