"""How the costs fell, and how the weights grew."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from nnlib.evidence.fidelity import implied_weights
from stages.reporting.colours import BLUE, DASHES, GREY, INK, SERIES, named
from stages.reporting.data import Report
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import curve, end_labels, log_axis, panels
from stages.reporting.formats import number

COSTS = {"train_cost": ("training, the step's mini-batch", GREY), "validation_cost": ("validation", BLUE)}


class GridCosts(Drawing):
    """Validation cost of the batch sizes in the longest runs: against steps and against epochs."""

    def cells(self) -> list[str]:
        longest = max(self.report.settings[run].epochs for run in self.report.grid)
        return [run for run in self.report.grid if self.report.settings[run].epochs == longest]

    def draw(self) -> Figure:
        cells = self.cells()
        strengths = sorted({self.report.settings[run].L2 for run in cells})
        sizes = sorted({self.report.settings[run].batch_size for run in cells})
        figure, axes = panels(2 * len(strengths), 2.3, sharey=True)
        for row, strength in enumerate(strengths):
            for run in (run for run in cells if strength == self.report.settings[run].L2):
                settings = self.report.settings[run]
                index = sizes.index(settings.batch_size)
                style = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)], f"batch {settings.batch_size}"
                an_epoch = settings.replace(epochs=1).last_step(self.report.examples["train"])
                curve(axes[2 * row], self.report.curves[run], "validation_cost", *style)
                curve(axes[2 * row + 1], self.report.curves[run], "validation_cost", *style, per=an_epoch)
            for ax, against in zip(axes[2 * row :], ("gradient steps (thousands)", "epochs"), strict=False):
                ax.set_title(f"λ {strength:g}, against {against.removeprefix('gradient ').split(' (')[0]}")
                ax.set_xlabel(against)
                ax.set_ylabel("validation cost")
                log_axis(ax)
        axes[0].legend()
        return figure

    def facts(self) -> dict[str, Any]:
        rows = [
            {"label": self.report.label(run), "roughness": self.report.median(run, "roughness")}
            | {name: self.report.median(run, f"{name}_validation_cost") for name in ("early_steps", "early_epochs")}
            for run in self.cells()
        ]
        return {"rows": rows, "epochs": max(self.report.settings[run].epochs for run in self.report.grid)}

    def table(self) -> pd.DataFrame:
        return curves(self.report, self.cells(), ["validation_cost"])


class ExperimentCosts(Drawing):
    """Training and validation cost against steps, a panel for each experiment, the study's last costs beside."""

    def draw(self) -> Figure:
        runs = self.report.added
        figure, axes = panels(len(runs), 1.9)
        for ax, run in zip(axes, runs, strict=True):
            table = self.report.curves[run]
            for name, (label, colour) in COSTS.items():
                curve(ax, table, name, colour, "-", label)
                printed = self.report.printed(run, name)
                if printed is not None:
                    beside = table["step"].iloc[-1] / 1000 * 1.06
                    ax.plot(beside, printed, "D", mfc="none", mec=colour, mew=1.3, ms=5.5)
            ax.set_title(self.report.label(run))
            ax.set_xlabel("gradient steps (thousands)")
            ax.set_ylabel("cost")
            log_axis(ax)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return figure

    def facts(self) -> dict[str, Any]:
        names = ("train_cost", "validation_cost")
        rows = [
            {"label": self.report.label(run)} | {name: self.report.median(run, name) for name in names}
            for run in self.report.added
        ]
        return {"rows": rows}

    def table(self) -> pd.DataFrame:
        return curves(self.report, self.report.added, list(COSTS))


class WeightsSquared(Drawing):
    """Σ W² against steps of the experiments, log scale, with the value that the study's costs imply."""

    def draw(self) -> Figure:
        figure, (ax,) = panels(1, 3.3)
        for index, run in enumerate(self.report.added):
            colour, dash = named(self.report.colour(run)), DASHES[index % len(DASHES)]
            curve(ax, self.report.curves[run], "sum_squared_weights", colour, dash, self.report.label(run))
        found = implied(self.report)
        if found:
            ax.axhline(found["squares"], color=INK, lw=0.9, ls=":")
            text = f"the study's costs: {number(found['squares'])}"
            ax.text(0.01, found["squares"] * 1.4, text, fontsize=8, transform=ax.get_yaxis_transform())
        ax.margins(x=0.01)
        log_axis(ax)
        ends = [
            (self.report.median(run, "sum_squared_weights"), short(self.report, run), named(self.report.colour(run)))
            for run in self.report.added
        ]
        end_labels(ax, ends)
        ax.set_xlabel("gradient steps (thousands)")
        ax.set_ylabel("Σ W², all layers")
        return figure

    def facts(self) -> dict[str, Any]:
        rows = [
            {"label": self.report.label(run), "median": self.report.median(run, "sum_squared_weights")}
            for run in self.report.added
        ]
        return {"rows": rows, "implied": implied(self.report)}

    def table(self) -> pd.DataFrame:
        return curves(self.report, self.report.added, ["sum_squared_weights"])


def short(report: Report, run: str) -> str:
    """A label that fits beside a figure."""
    cell = {name: cell for cell, name in report.study.four.names().items()}[run]
    words = {"none": "plain", "bn": "BN", "l2": "L2", "bn_l2": "BN + L2"}
    exact = cell.endswith("_exact")
    return words[cell.removesuffix("_exact")] + (",\ntrue deriv." if exact else "")


def implied(report: Report) -> dict[str, Any] | None:
    """What the study's two costs of one run tell: Σ W² and the cross-entropy; with the numbers of the two equations."""
    told = report.study.explosion
    if told is None:
        return None
    costs = {name: float(report.study.published[told.run][name]) for name in ("train_cost", "validation_cost")}
    squares, entropy = implied_weights(**costs, L2=told.L2, m_train=told.m_train, m_validation=told.m_validation)
    return (
        {"squares": squares, "entropy": entropy, "run": told.run, "label": report.label(told.run)}
        | costs
        | {name: getattr(told, name) for name in ("L2", "m_train", "m_validation")}
    )


def curves(report: Report, runs: list[str], names: list[str]) -> pd.DataFrame:
    """The curves of some runs: run, step, and of each name the median, the lowest, the highest replica."""
    columns = ["step", *(name + end for name in names for end in ("", "_low", "_high"))]
    return pd.concat([report.curves[run][columns].assign(run=run) for run in runs])[["run", *columns]]
