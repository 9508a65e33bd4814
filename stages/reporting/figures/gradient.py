"""The missing derivative in one drawing: a layer's weights, and the step that they take."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from nnlib import train_replicas
from nnlib.evidence.inspection import step_cosine
from stages.reporting.colours import GREY, INK, named
from stages.reporting.data import one, records
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import WIDTH
from stages.reporting.formats import number

EXAMPLES = 512  # of which the gradient is taken


class Gradient(Drawing):
    """The weights of the last hidden layer, the step, and where it leads: with the true derivative, and without it."""

    @cached_property
    def cosines(self) -> pd.DataFrame:
        """Of each derivative, the cosine between a step and the layer's weights and biases, from the first seed after
        an epoch of training."""
        X, Y = self.networks.train
        few = X[:, :EXAMPLES], Y[:, :EXAMPLES]
        rows = []
        for run in (str(self.report.study.four.bn_l2_exact), str(self.report.study.four.bn_l2)):
            settings = self.report.settings[run].replace(epochs=1)
            trained = train_replicas((X, Y), few, settings, self.report.params.seeds[:1])
            cosine = step_cosine(one(trained.parameters, 0), few, settings)
            rows.append({"run": run, "steps": trained.step, "cosine": round(cosine, 6)})
        return pd.DataFrame(rows)

    def draw(self) -> Figure:
        figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
        titles = ("true derivative", "derivative left out")
        for ax, title, row in zip(figure.subplots(1, 2), titles, records(self.cosines), strict=True):
            _arrows(ax, title, row["cosine"], named(self.report.colour(row["run"])))
        return figure

    def facts(self) -> dict[str, Any]:
        true, left_out = self.cosines["cosine"]
        return {"true": true, "left_out": left_out, "steps": int(self.cosines["steps"].iloc[0])}

    def table(self) -> pd.DataFrame:
        return self.cosines


def _arrows(ax: Axes, title: str, cosine: float, colour: str) -> None:
    """The weights as an arrow of length 1, the step from its head, at the angle that was measured."""
    direction = np.array([0.35, 0.937])
    across = np.array([direction[1], -direction[0]])
    end = direction + 0.6 * (cosine * direction + np.sqrt(max(0.0, 1 - cosine**2)) * across)
    ax.add_patch(Circle((0, 0), 1, fill=False, color=GREY, lw=0.8, ls=":"))
    ax.plot([0, end[0]], [0, end[1]], color=colour, lw=1.2, ls=(0, (3, 2)))
    for start, stop, shade in (((0.0, 0.0), direction, INK), (direction, end, colour)):
        arrow = {"arrowstyle": "-|>", "color": shade, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (stop[0], stop[1]), (start[0], start[1]), arrowprops=arrow)
    ax.text(0.12, 0.55, "W, b", color=INK, fontsize=9, ha="right")
    ax.text(end[0] + 0.05, end[1] + 0.03, "after the\nstep", color=colour, fontsize=8.5, va="center")
    ax.text(0.45, -0.12, f"cosine of step and\nweights: {number(cosine, 2)}", fontsize=8.5, ha="center", va="top")
    ax.set_title(title, color=colour)
    ax.set_xlim(-0.5, 1.55)
    ax.set_ylim(-0.6, 1.7)
    ax.set_aspect("equal")
    ax.set_axis_off()
