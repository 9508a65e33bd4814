"""What L2 does to the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.reporting.colours import BLUE, DASHES, GREEN
from stages.reporting.data import Report
from stages.reporting.figures.accuracies import region
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import Strip, margin, panels, strip_height, strips
from stages.reporting.formats import number


def layers(report: Report) -> list[str]:
    """W1 to WL."""
    return list(dict.fromkeys(report.weight_table["layer"]))


def pair(report: Report) -> list[str]:
    """The runs without and with L2."""
    return [str(report.study.four.none), str(report.study.four.l2)]


class WeightDistributions(Drawing):
    """The weights of each layer, without and with L2, all replicas together."""

    def draw(self) -> Figure:
        names, runs = layers(self.report), pair(self.report)
        figure, axes = panels(len(names), 1.7)
        for ax, name in zip(axes, names, strict=True):
            both = [self.networks.models[run].parameters[name].flatten().numpy() for run in runs]
            both = [values[np.isfinite(values)] for values in both]
            edge = float(np.quantile(np.abs(np.concatenate(both)), 0.998)) if sum(map(len, both)) else 1.0
            bins = np.linspace(-edge, edge, 61 if len(both[0]) > 500_000 else 25)
            words = ("without", "with")
            for values, colour, ls, label, run in zip(both, (BLUE, GREEN), DASHES, words, runs, strict=False):
                density = np.histogram(values, bins=bins, density=True)[0] if len(values) else np.zeros(len(bins) - 1)
                ax.stairs(density, bins, color=colour, alpha=0.12, fill=True)
                ax.stairs(density, bins, color=colour, ls=ls, lw=1.4, fill=False)
                deviation = self.report.values(run, f"std_{name}").mean()
                ax.plot([], [], color=colour, ls=ls, label=f"{label} L2,\nstd {number(deviation, 3)}")
            ax.set_title(name)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
            ax.set_xlabel("weight")
            ax.locator_params(axis="x", nbins=7)
            ax.legend(loc="upper right")
        return figure

    def facts(self) -> dict[str, Any]:
        without, with_l2 = pair(self.report)
        rows: list[dict[str, Any]] = []
        for name in layers(self.report):
            before, after = (self.report.values(run, f"std_{name}").mean() for run in (without, with_l2))
            rows.append({"layer": name, "without": before, "with": after, "change": after / before - 1})
        return {
            "rows": rows,
            "narrower": sum(row["change"] < 0 for row in rows),
            "labels": [self.report.label(run) for run in (without, with_l2)],
            "replicas": self.report.params.replicas,
        }

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.facts()["rows"])


class WeightDifferences(Drawing):
    """How far L2 shifts the mean weight of each layer, replica by replica."""

    def draw(self) -> Figure:
        without, with_l2 = pair(self.report)
        rows = []
        for name in layers(self.report):
            printed = [self.report.printed(run, f"mean_{name}") for run in (without, with_l2)]
            difference = None if None in printed else printed[0] - printed[1]  # type: ignore[operator]
            shifts = self.report.weight_table.loc[self.report.weight_table["layer"] == name, "mean_difference"]
            rows.append(Strip(name, shifts, BLUE, difference))
        figure, (ax,) = panels(1, strip_height(len(rows)))
        strips(ax, rows, scale=1)
        margin(ax, region(self.report, "mean_W1"), scale=1)
        ax.set_xlabel("mean of W without L2 minus that with L2")
        return figure

    def facts(self) -> dict[str, Any]:
        medians = self.report.weight_table.groupby("layer")["mean_difference"].median()
        rows = [{"layer": name, "median": medians[name]} for name in layers(self.report)]
        return {"rows": rows, "region": region(self.report, "mean_W1")}

    def table(self) -> pd.DataFrame:
        return self.report.weight_table
