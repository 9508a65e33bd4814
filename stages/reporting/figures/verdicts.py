"""The study's claims, and what the replicas say of them."""

from __future__ import annotations

from textwrap import fill

from matplotlib.figure import Figure

from stages.reporting.colours import GREEN, GREY, PAPER, RED
from stages.reporting.figures.style import WIDE, Layout, one_panel, row_labels
from stages.reporting.results import Results

VERDICT_STYLE = {
    "supported": (GREEN, "o"),
    "contradicted": (RED, "X"),
    "undecided": (GREY, "s"),
    "not tested": (GREY, "."),
}


def verdicts(r: Results, layout: Layout) -> Figure:
    """For each claim, the share of replicas in which its decisive comparison held, coloured by the verdict."""
    rows = r.claims
    figure, ax = one_panel(layout, (0.42 if layout is WIDE else 0.6) * len(rows) + 1.1)
    for y, row in enumerate(rows):
        colour, marker = VERDICT_STYLE[row["verdict"]]
        ax.plot([row["held_low"], row["held_high"]], [y, y], color=colour, lw=3, alpha=0.35, solid_capstyle="round")
        ax.plot(row["held"], y, marker, color=colour, ms=8, mec=PAPER)
        ax.text(1.04, y, row["verdict"], color=colour, va="center", weight="bold", fontsize=8.5)
    row_labels(ax, layout, [fill(row["says"], 62) for row in rows])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("share of replicas in which the claim's decisive comparison held, with 95 % interval")
    return figure
