"""What the networks got right: strips of replicas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nnlib.evidence.statistics import middle
from stages.reporting.colours import BLUE, INK, SERIES, named
from stages.reporting.data import Report, records
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import Strip, margin, only_words, panels, row_labels, strip_height, strips


def replicas(report: Report, runs: Iterable[str], measure: str) -> pd.DataFrame:
    """Every replica of some runs: run, seed, value."""
    return pd.concat(
        [
            pd.DataFrame({"run": run, "seed": report.replicas[run]["seed"], measure: report.values(run, measure)})
            for run in runs
        ]
    )


def spread(report: Report, run: str, measure: str) -> dict[str, Any]:
    """A run's label, what was printed of it, and of its replicas the median, the middle 90 %, the lowest, the
    highest."""
    values = report.values(run, measure)
    low, high = middle(values)
    return {
        "label": report.label(run),
        "printed": report.printed(run, measure),
        "median": values.median(),
        "low": low,
        "high": high,
        "lowest": values.min(),
        "highest": values.max(),
    }


class Experiments(Drawing):
    """Test accuracy of the four experiments."""

    def runs(self) -> list[str]:
        return self.report.study.experiments

    def draw(self) -> Figure:
        rows = [
            Strip(
                self.report.label(run),
                self.report.values(run, "test_accuracy"),
                named(self.report.colour(run)),
                self.report.printed(run, "test_accuracy"),
            )
            for run in self.runs()
        ]
        figure, (ax,) = panels(1, 0.44 * len(rows) + 0.75)  # low: it is the first screen of a phone
        strips(ax, rows)
        ax.set_xlabel("test accuracy (%)")
        return figure

    def facts(self) -> dict[str, Any]:
        rows = {run: spread(self.report, run, "test_accuracy") for run in self.runs()}
        outside = [
            row["label"]
            for row in rows.values()
            if row["printed"] is not None and not row["lowest"] <= row["printed"] <= row["highest"]
        ]
        overlap = max(row["lowest"] for row in rows.values()) < min(row["highest"] for row in rows.values())
        shared = {"outside": outside, "overlap": overlap}
        return {"rows": list(rows.values())} | shared

    def table(self) -> pd.DataFrame:
        return replicas(self.report, self.runs(), "test_accuracy")


class Grid(Experiments):
    """Test accuracy of every cell of the grid, a colour for each batch size."""

    def runs(self) -> list[str]:
        return self.report.grid

    def draw(self) -> Figure:
        sizes = sorted({self.report.settings[run].batch_size for run in self.report.grid})
        rows = [
            Strip(
                self.report.label(run),
                self.report.values(run, "test_accuracy"),
                SERIES[sizes.index(self.report.settings[run].batch_size) % len(SERIES)],
                self.report.printed(run, "test_accuracy"),
            )
            for run in self.report.grid
        ]
        figure, (ax,) = panels(1, strip_height(len(rows)))
        strips(ax, rows)
        ax.set_xlabel("test accuracy (%)")
        return figure


class TrainValidation(Experiments):
    """Training minus validation accuracy of every configuration, and what the claim calls small."""

    def runs(self) -> list[str]:
        return [*self.report.grid, *(run for run in self.report.study.experiments if run not in self.report.study.same)]

    def draw(self) -> Figure:
        rows = [
            Strip(
                self.report.label(run),
                self.report.values(run, "generalization_gap"),
                BLUE,
                self.report.printed(run, "generalization_gap"),
            )
            for run in self.runs()
        ]
        figure, (ax,) = panels(1, strip_height(len(rows)))
        strips(ax, rows)
        margin(ax, region(self.report, "generalization_gap"))
        ax.set_xlabel("training minus validation accuracy (points)")
        return figure

    def facts(self) -> dict[str, Any]:
        medians = {run: self.report.values(run, "generalization_gap").median() for run in self.runs()}
        within = region(self.report, "generalization_gap")
        beyond = [run for run, value in medians.items() if within and not within[0] < value < within[1]]
        rows = [spread(self.report, run, "generalization_gap") for run in medians]
        return {"rows": rows, "beyond": len(beyond), "region": within}

    def table(self) -> pd.DataFrame:
        return replicas(self.report, self.runs(), "generalization_gap")


def region(report: Report, measure: str) -> tuple[float, float] | None:
    """Between which two values a claim places this measure, if there is such a claim."""
    for claim in report.study.claims:
        for comparison in claim.comparisons:
            closed = comparison.low is not None and comparison.high is not None
            if closed and any(name.endswith(f"/{measure}") for name in comparison.names) and not comparison.over:
                return comparison.low, comparison.high  # type: ignore[return-value]
    return None


class Epochs(Drawing):
    """What more epochs bring, in points of test accuracy, for each batch size and L2."""

    def draw(self) -> Figure:
        rows = self.facts()["rows"]
        if not rows:
            return only_words("All cells of the grid have the same number of epochs: there is nothing to compare.")
        figure, (ax,) = panels(1, strip_height(len(rows)) - 0.3)
        for y, row in enumerate(rows):
            ends = [row["median_low"] * 100, row["median_high"] * 100]
            ax.plot(ends, [y, y], color=BLUE, lw=3, alpha=0.4, solid_capstyle="round")
            ax.plot(row["median"] * 100, y, "o", color=BLUE, ms=7)
        ax.axvline(0, color=INK, lw=0.9)
        row_labels(
            ax,
            [f"batch {row['batch_size']}, λ {row['l2']:g}: {row['from_epochs']} → {row['to_epochs']}" for row in rows],
        )
        ax.set_xlabel("gain in test accuracy (points)")
        return figure

    def facts(self) -> dict[str, Any]:
        rows = records(self.report.tables["epochs"])
        gains = [row["median"] for row in rows if np.isfinite(row["median"])]
        return {"rows": rows, "least": min(gains, default=None)}

    def table(self) -> pd.DataFrame:
        return self.report.tables["epochs"]
