"""What the networks got right: strips of replicas, and the seeds side by side."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from stages.reporting.colours import BLUE, GREY, INK, PINK, SERIES
from stages.reporting.figures.style import (
    DARKEST,
    Layout,
    Strip,
    curve,
    log_axis,
    margin,
    one_panel,
    only_words,
    row_labels,
    shades,
    strip_height,
    strips,
    tiles,
)
from stages.reporting.labels import LABELS, cell_label
from stages.reporting.results import Results

# How a run that came out below the threshold is marked; "" is for all others.
MARKS = {"diverged": "–", "collapsed": "×", "undertrained": "↑", "": ""}


def experiments(r: Results, layout: Layout) -> Figure:
    """Test accuracy of every experiment."""
    rows = [
        Strip(*LABELS[key][:1], r.tables[key]["test_accuracy"], LABELS[key].colour, r.printed(key, "test_accuracy"))
        for key in r.experiments
    ]
    return _strips(rows, layout, "test accuracy (%)")


def grid(r: Results, layout: Layout) -> Figure:
    """Test accuracy of every cell of the grid, a colour for each batch size."""
    sizes = sorted(set(r.grid["batch_size"]))
    rows = [
        Strip(
            cell_label(cell),
            r.tables[cell["run"]]["test_accuracy"],
            SERIES[sizes.index(cell["batch_size"]) % len(SERIES)],
            r.printed(cell["run"], "test_accuracy"),
        )
        for cell in r.grid.to_dict("records")
    ]
    return _strips(rows, layout, "test accuracy (%)")


def train_validation(r: Results, layout: Layout) -> Figure:
    """Training minus validation accuracy of every configuration, and what the claim calls close."""
    rows = [Strip(label, r.gap(key), BLUE, r.printed_gap(key)) for key, label in r.labels.items()]
    figure = _strips(rows, layout, "training minus validation accuracy (points)")
    margin(figure.axes[0], r.region("little-overfitting"))
    return figure


def seeds(r: Results, layout: Layout) -> Figure:
    """Test accuracy of every replica: a row for each configuration, a column for each seed."""
    table = r.by_seed
    labels = [r.labels[key] for key in table.index]
    values = table.to_numpy() * 100
    figure, ax = one_panel(layout, (0.4 if layout.narrow else 0.26) * len(table) + 1)
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if len(known) else (0, 100)
    colours = shades(high - values, high - low, above=BLUE, strongest=DARKEST)
    middles = [row + 0.5 for row in range(len(table))]
    if layout.narrow:  # a row of nothing above each, for its label
        colours = np.stack([np.zeros_like(colours), colours], 1).reshape(-1, *colours.shape[1:])
        middles = [2 * middle + 0.5 for middle in middles]
    tiles(ax, colours)
    few = len(table.columns) <= (6 if layout.narrow else 12)
    for (row, column), mark in np.ndenumerate(r.failures.to_numpy()):
        number = f"{values[row, column]:.1f}" if few and np.isfinite(values[row, column]) else ""
        if text := f"{number}{MARKS[mark]}":
            ax.text(column + 0.5, middles[row], text, ha="center", va="center", fontsize=8)
    ax.set_yticks(middles, [""] * len(labels) if layout.narrow else labels, fontsize=8)
    for middle, label in zip(middles, labels, strict=True) if layout.narrow else ():
        ax.text(0, middle - 0.6, label, fontsize=8)
    every = max(1, len(table.columns) // 10)
    ax.set_xticks(np.arange(0, len(table.columns), every) + 0.5, table.columns[::every])
    ax.set_xlabel("seed")
    return figure


def epochs(r: Results, layout: Layout) -> Figure:
    """What more epochs bring, in points of test accuracy, for each batch size and L2."""
    rows = r.epochs.to_dict("records")
    if not rows:
        return only_words(layout, "Every cell of the grid has as many epochs: there is nothing to compare.")
    figure, ax = one_panel(layout, strip_height(layout, len(rows)) - 0.3)
    for y, row in enumerate(rows):
        ends = [row["median_low"] * 100, row["median_high"] * 100]
        ax.plot(ends, [y, y], color=BLUE, lw=3, alpha=0.4, solid_capstyle="round")
        ax.plot(row["median"] * 100, y, "o", color=BLUE, ms=7)
    ax.axvline(0, color=INK, lw=0.9)
    row_labels(
        ax,
        layout,
        [f"batch {row['batch_size']}, λ {row['l2']:g}: {row['from_epochs']} → {row['to_epochs']}" for row in rows],
    )
    ax.set_xlabel("gain in test accuracy with more epochs (points)")
    return figure


def batchnorm(r: Results, layout: Layout) -> Figure:
    """Experiment 4 against 1: accuracy replica by replica, and the cost curves."""
    one, four = "experiment-1", "experiment-4"
    rows = [
        Strip(
            name,
            r.tables[four][f"{name}_accuracy"] - r.tables[one][f"{name}_accuracy"],
            PINK,
            r.printed_difference(four, one, f"{name}_accuracy"),
        )
        for name in ("train", "validation", "test")
    ]
    columns = layout.columns
    height = 3.4 if columns > 1 else 6.4
    figure = Figure(figsize=(layout.width, height), layout="constrained")
    performance, convergence = figure.subplots(*((2, 1) if layout.narrow else (1, 2)))
    strips(performance, layout._replace(columns=1) if layout.narrow else layout, rows)
    performance.axvline(0, color=INK, lw=0.9)
    performance.set_xlabel("accuracy, experiment 4 minus 1 (points)")
    for key, dash in ((one, "-"), (four, (0, (5, 2))), ("experiment-4-exact", (0, (1, 1.5)))):
        if key in r.curves:
            curve(convergence, r.curves[key], "validation_cost", LABELS[key].colour, dash, LABELS[key].text)
    log_axis(convergence)
    convergence.set_xlabel("gradient steps (thousands)")
    convergence.set_ylabel("validation cost")
    convergence.legend()
    return figure


def time(r: Results, layout: Layout) -> Figure:
    """What batch norm adds to the time of training, experiment 4 against 1, round by round."""
    study = r.study["seconds"]["experiment-4"] / r.study["seconds"]["experiment-1"] - 1
    rows = [
        Strip(label, r.slower[code], GREY, study if code == "loop" else None)
        for code, label in (("loop", "readable loop"), ("engine", "engine"))
    ]
    figure = _strips(rows, layout, "time added by batch norm (%)", dot="a round of timing")
    figure.axes[0].axvline(0, color=INK, lw=0.9)
    return figure


def _strips(rows: list[Strip], layout: Layout, label: str, dot: str = "a replica") -> Figure:
    figure, ax = one_panel(layout, strip_height(layout, len(rows)))
    strips(ax, layout, rows, dot=dot)
    ax.set_xlabel(label)
    return figure
