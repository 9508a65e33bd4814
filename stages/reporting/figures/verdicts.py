"""The study's claims, and what the replicas say of them."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from stages.reporting.colours import BLUE, GREEN, GREY, INK, PAPER, RED
from stages.reporting.figures.style import Layout, one_panel, row_labels
from stages.reporting.results import Results

VERDICT_STYLE = {
    "supported": (GREEN, "o"),
    "partly supported": (GREEN, "P"),
    "contradicted": (RED, "X"),
    "equivalent": (BLUE, "D"),
    "undecided": (GREY, "s"),
    "not tested": (GREY, "|"),
}


def verdicts(r: Results, layout: Layout) -> Figure:
    """A row for each claim, in the order of the verdicts; in it each comparison at the share of seeds in which it held,
    with its interval, marked by its own verdict, and hollow the share of seeds within its margin."""
    order = list(VERDICT_STYLE)
    claims = sorted(r.asked_by("study") + r.asked_by("readers"), key=lambda claim: order.index(claim["verdict"]))
    figure, ax = one_panel(layout, (0.9 if layout.narrow else 0.5) * len(claims) + 1.1)
    for y, claim in enumerate(claims):
        parts = [part for part in claim["comparisons"] if part["replicas"]]
        for place, part in zip(y + _places(len(parts), layout), parts, strict=True):
            colour, marker = VERDICT_STYLE[part["verdict"]]
            ax.plot([part["share_low"], part["share_high"]], [place] * 2, color=colour, lw=1.3, alpha=0.5)
            ax.plot(part["share"], place, marker, color=colour, ms=5, mec=PAPER, mew=0.4, clip_on=False)
            if not np.isnan(part["margin"]):
                ax.plot(part["within"] / part["replicas"], place, "D", mfc="none", mec=INK, ms=4, clip_on=False)
        colour, _ = VERDICT_STYLE[claim["verdict"]]
        at, side = (1, "right") if layout.narrow else (1.04, "left")
        ax.text(
            at, y + (0.4 if layout.narrow else 0), claim["verdict"], color=colour, ha=side, va="center", weight="bold"
        )
    ax.axvline(0.5, color=INK, lw=0.9, ls=":", zorder=1)
    row_labels(ax, layout, [fill(claim["says"], 44 if layout.narrow else 52) for claim in claims])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("share of seeds in which a comparison held")
    return figure


def _places(count: int, layout: Layout) -> np.ndarray:
    """The heights of a claim's comparisons around its row; on a narrow page between its label and its verdict."""
    low, high = (0.0, 0.26) if layout.narrow else (-0.3, 0.3)
    return np.linspace(low, high, count) if count > 1 else np.full(count, (low + high) / 2)
