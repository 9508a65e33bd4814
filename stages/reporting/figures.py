"""Every figure of the report: one function, one figure, one style.

Functions take tables (pandas) and tensors and return a matplotlib Figure; `save` writes it as SVG with the same bytes
every time. A diamond is what the study printed; dots are replicas; a bar or a band is said in the caption.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nnlib.data.files import written_whole
from stages.reporting.labels import BLUE, DASHES, GREEN, GREY, LABELS, PINK, RED, SERIES, cell_label

VERDICT_STYLE = {
    "supported": (GREEN, "o"),
    "contradicted": (RED, "X"),
    "undecided": (GREY, "s"),
    "not tested": (GREY, "."),
}

STYLE: Any = {
    "figure.dpi": 110,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "svg.hashsalt": "mnist-study",
    "svg.fonttype": "path",
}

Tables = Mapping[str, pd.DataFrame]
Published = Mapping[str, Mapping[str, float]]


@mpl.rc_context(STYLE)
def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as SVG, whole or not at all, without a date."""
    with written_whole(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")


@mpl.rc_context(STYLE)
def verdicts(table: pd.DataFrame) -> Figure:
    """For each claim, the share of replicas in which its decisive comparison held, coloured by the verdict."""
    rows = table[table["decisive"]].to_dict("records")
    figure, ax = _figure(7.6, 0.42 * len(rows) + 1.1)
    for y, row in enumerate(rows):
        colour, marker = VERDICT_STYLE[row["verdict"]]
        ax.plot([row["held_low"], row["held_high"]], [y, y], color=colour, lw=3, alpha=0.35, solid_capstyle="round")
        ax.plot(row["held"], y, marker, color=colour, ms=8, mec="white")
        ax.text(1.04, y, row["verdict"], color=colour, va="center", weight="bold", fontsize=8.5)
    _rows(ax, [fill(row["says"], 62) for row in rows], fontsize=8)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("share of replicas in which the claim's decisive comparison held, with interval")
    return figure


@mpl.rc_context(STYLE)
def accuracies(tables: Tables, published: Published, measure: str = "test_accuracy") -> Figure:
    """A measure of every experiment: every replica, the mean with its interval, the study's number; and the ECDFs."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    keys = [key for key in LABELS if key in tables]
    for y, key in enumerate(keys):
        label, colour = LABELS[key]
        _strip(left, y, tables[key][measure], colour, published.get(key, {}).get(measure))
        values = np.sort(tables[key][measure].dropna())
        right.step(
            np.concatenate([[0.0], values]) * 100,
            np.arange(len(values) + 1) / max(1, len(values)) * 100,
            where="post",
            color=colour,
            ls=DASHES[y % len(DASHES)],
            label=label,
        )
    _rows(left, [LABELS[key][0] for key in keys])
    left.set_xlabel(_percent_label(measure))
    right.set_xlabel(_percent_label(measure))
    right.set_ylabel("replicas at or below (%)")
    everything = pd.concat([tables[key][measure] for key in keys]) * 100
    if everything.notna().any():
        right.set_xlim(everything.min() - 0.5, everything.max() + 0.3)
    right.legend(fontsize=7, loc="upper left")
    return figure


@mpl.rc_context(STYLE)
def grid(tables: Tables, cells: pd.DataFrame, published: Published) -> Figure:
    """Test accuracy of the grid's cells: every replica, the mean with its interval, the study's number."""
    rows = cells.to_dict("records")
    figure, ax = _figure(7.2, 0.32 * len(rows) + 1)
    sizes = sorted(set(cells["batch_size"]))
    for y, cell in enumerate(rows):
        colour = SERIES[sizes.index(cell["batch_size"]) % len(SERIES)]
        known = published.get(cell["run"], {}).get("test_accuracy")
        _strip(ax, y, tables[cell["run"]]["test_accuracy"], colour, known)
    _rows(ax, [cell_label(cell) for cell in rows])
    ax.set_xlabel("test accuracy (%)")
    return figure


@mpl.rc_context(STYLE)
def train_validation(tables: Tables, labels: Mapping[str, str], published: Published) -> Figure:
    """Training against validation accuracy of every configuration: means, and every replica."""
    keys = list(labels)
    figure, ax = _figure(7.2, 0.32 * len(keys) + 1)
    for y, key in enumerate(keys):
        for name, colour, marker, dy in (("train", GREY, "s", -0.14), ("validation", BLUE, "o", 0.14)):
            values = tables[key][f"{name}_accuracy"].dropna() * 100
            ax.plot(values, np.full(len(values), y + dy), ".", color=colour, alpha=0.35, ms=4, mew=0)
            ax.plot(values.mean(), y + dy, marker, color=colour, ms=5.5, mec="white", label=name if y == 0 else None)
            if f"{name}_accuracy" in published.get(key, {}):
                ax.plot(published[key][f"{name}_accuracy"] * 100, y + dy, "D", mfc="none", mec=colour, ms=5)
    _rows(ax, list(labels.values()))
    ax.set_xlabel("accuracy (%), large: mean; small: replicas; diamonds: published")
    ax.legend(loc="lower left")
    return figure


@mpl.rc_context(STYLE)
def grid_costs(curves: Tables, cells: pd.DataFrame) -> Figure:
    """Validation cost against steps, a panel for each number of epochs and L2, a line for each batch size."""
    epochs, strengths, sizes = (sorted(set(cells[name])) for name in ("epochs", "L2", "batch_size"))
    figure = Figure(figsize=(4.2 * max(2, len(strengths)), 2.7 * len(epochs)), layout="constrained")
    axes = figure.subplots(len(epochs), len(strengths), squeeze=False, sharey=True)
    for cell in cells.to_dict("records"):
        ax = axes[epochs.index(cell["epochs"])][strengths.index(cell["L2"])]
        index = sizes.index(cell["batch_size"])
        style = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)], f"{cell['batch_size']}"
        _curve(ax, curves[cell["run"]], "validation_cost", *style)
        ax.set_title(f"{cell['epochs']} epochs, λ {cell['L2']:g}")
    _log_scale(axes.flat)
    for ax in axes[-1]:
        ax.set_xlabel("gradient steps (thousands)")
    for row in axes:
        row[0].set_ylabel("validation cost")
    axes[0][0].legend(title="batch size", fontsize=8)
    return figure


@mpl.rc_context(STYLE)
def experiment_costs(curves: Tables, published: Published) -> Figure:
    """Training and validation cost against steps, a panel for each experiment, log scale."""
    keys = [key for key in LABELS if key in curves]
    figure, axes = _panels(len(keys), 2.7)
    for ax, key in zip(axes, keys, strict=True):
        _curve(ax, curves[key], "train_cost", GREY, "-", "training, the step's mini-batch")
        _curve(ax, curves[key], "validation_cost", BLUE, "-", "validation")
        for measure, colour in (("train_cost", GREY), ("validation_cost", BLUE)):
            if measure in published.get(key, {}):
                end = curves[key]["step"].iloc[-1] / 1000
                ax.plot(end, published[key][measure], "D", color=colour, mec="black", ms=6, clip_on=False, zorder=5)
        ax.set_title(f"Experiment {LABELS[key][0]}")
        ax.set_xlabel("gradient steps (thousands)")
        ax.set_ylabel("cost")
    _log_scale(axes)
    axes[0].legend(fontsize=7.5)
    return figure


@mpl.rc_context(STYLE)
def weights_squared(curves: Tables, implied: float) -> Figure:
    """Σ W² against steps for the experiments and the true derivative, log scale, with the value the study implies."""
    figure, ax = _figure(8, 4.2)
    for index, key in enumerate(key for key in LABELS if key in curves):
        label, colour = LABELS[key]
        _curve(ax, curves[key], "sum_squared_weights", colour, DASHES[index % 4], label)
    ax.axhline(implied, color="black", lw=0.9, ls=":")
    text = f"implied by the study's costs: {power(implied)}"
    ax.text(0.01, implied * 1.3, text, fontsize=8, transform=ax.get_yaxis_transform())
    ax.set_yscale("log")
    ends = [(curves[key]["sum_squared_weights"].iloc[-1], *LABELS[key]) for key in LABELS if key in curves]
    _end_labels(ax, ends)
    ax.set_xlabel("gradient steps (thousands)")
    ax.set_ylabel("Σ W², all layers")
    ax.margins(x=0.01)
    return figure


@mpl.rc_context(STYLE)
def weight_distributions(without: Mapping[str, Tensor], with_l2: Mapping[str, Tensor], table: pd.DataFrame) -> Figure:
    """The weights of each layer, without and with L2, all replicas together."""
    names = _weights(without)
    figure, axes = _panels(len(names), 2.4)
    for ax, name in zip(axes, names, strict=True):
        pair = (_finite(without[name]), _finite(with_l2[name]))
        edge = _limit(np.concatenate(pair), 0.998)
        rows = table[table["layer"] == name]
        for values, colour, ls, label in zip(pair, (BLUE, GREEN), DASHES, ("without", "with"), strict=False):
            bins = np.linspace(-edge, edge, 61 if name == "W1" else 25)
            density, _ = np.histogram(values, bins=bins)
            density = density / max(1, density.sum()) / np.diff(bins)
            ax.stairs(density, bins, color=colour, ls=ls, lw=1.4, fill=False)
            ax.stairs(density, bins, color=colour, alpha=0.12, fill=True)
            ax.plot([], [], color=colour, ls=ls, label=f"{label} L2, std {_mean(rows[f'std_{label}'])}")
        ax.set_title(f"{name}  ({' × '.join(map(str, without[name].shape[-2:]))})")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("weight")
        ax.legend(fontsize=7.5, loc="upper right")
        ax.set_ylim(0, ax.get_ylim()[1] * 1.25)
    return figure


@mpl.rc_context(STYLE | {"axes.grid": False})
def weight_differences(differences: Mapping[str, Tensor], replica: int = 0) -> Figure:
    """The study's difference matrices, W − W_L2, of one replica, on one symmetric scale."""
    names = _weights(differences)
    limit = max(_limit(_finite(differences[name][replica]), 0.995) for name in names)
    # The first on a row of its own, below it up to four in a row.
    columns = min(4, max(1, len(names) - 1))
    rows = -(-(len(names) - 1) // columns)
    figure = Figure(figsize=(8.4, 1.8 + 2.0 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[1, *[1.1] * rows])
    places = [grid[0, :], *(grid[1 + index // columns, index % columns] for index in range(len(names) - 1))]
    axes = [figure.add_subplot(place) for place in places]
    for ax, name in zip(axes, names, strict=True):
        matrix = differences[name][replica].numpy()
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="none")
        ax.set_title(f"{name}: {matrix.shape[0]} units × {matrix.shape[1]} inputs")
        ax.set_xlabel("input")
        ax.set_ylabel("unit")
    figure.colorbar(image, ax=axes, label="W − W with L2", shrink=0.8)
    return figure


@mpl.rc_context(STYLE | {"axes.grid": False})
def first_layer(without: Tensor, with_l2: Tensor, shape: tuple[int, int] = (28, 28)) -> Figure:
    """What each unit of the first layer looks for: its weights as a picture, without and with L2, one replica."""
    units = without.shape[0]
    columns = min(10, units)
    rows = -(-units // columns)
    limit = _limit(_finite(without), 0.995)
    figure = Figure(figsize=(8.4, 1.9 * rows + 0.6), layout="constrained")
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for block, weights, title in ((axes[:rows], without, "without L2"), (axes[rows:], with_l2, "with L2")):
        block[0][0].set_title(title)
        for unit, ax in enumerate(block.flat):
            ax.axis("off")
            if unit < units:
                picture = weights[unit].reshape(shape).numpy()
                image = ax.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="none")
    figure.colorbar(image, ax=axes, label="weight", shrink=0.7)
    return figure


@mpl.rc_context(STYLE | {"axes.grid": False})
def confusion(matrices: Mapping[str, np.ndarray]) -> Figure:
    """How often each digit is read as each other, in percent of the digit's images, mean over the replicas."""
    figure, axes = _panels(len(matrices), 3.8)
    for ax, (key, matrix) in zip(axes, matrices.items(), strict=True):
        # A digit may have no images in a small set.
        share = 100 * matrix / np.maximum(1, matrix.sum(1, keepdims=True))
        errors = share.copy()
        np.fill_diagonal(errors, np.nan)
        ax.imshow(errors, cmap="Blues", vmin=0, vmax=8)
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.5:
                dark = row != column and value > 5
                ax.text(
                    column,
                    row,
                    f"{value:.0f}" if row == column else f"{value:.1f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "#222222",
                    weight="bold" if row == column else "normal",
                )
        ax.set_title(f"Experiment {LABELS[key][0]}")
        ax.set_xticks(range(len(share)))
        ax.set_yticks(range(len(share)))
        ax.set_xlabel("read as")
        ax.set_ylabel("digit")
    return figure


@mpl.rc_context(STYLE | {"axes.grid": False})
def mistakes(images: np.ndarray, labels: Sequence[int], guesses: Sequence[int], confidences: Sequence[float]) -> Figure:
    """The most confident mistakes on the test set as images: the label, the guess, its probability."""
    columns = 8
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(8.4, 1.35 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, label, guess, confidence in zip(axes.flat, images, labels, guesses, confidences, strict=False):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="none")
        ax.set_title(f"{label} read as {guess}\n{confidence:.1%}", fontsize=7.5, weight="normal", loc="center")
    return figure


@mpl.rc_context(STYLE)
def batchnorm(tables: Tables, curves: Tables, published: Published) -> Figure:
    """Experiment 4 against 1: performance replica by replica, and the cost curves."""
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    performance, convergence = figure.subplots(1, 2, width_ratios=[1.15, 1.3])
    one, four = "experiment-1", "experiment-4"
    names = ("train", "validation", "test")
    for y, name in enumerate(names):
        measure = f"{name}_accuracy"
        difference = tables[four][measure] - tables[one][measure]
        both = all(measure in published.get(key, {}) for key in (one, four))
        _strip(performance, y, difference, PINK, published[four][measure] - published[one][measure] if both else None)
    performance.axvline(0, color="#444444", lw=0.9)
    _rows(performance, names)
    performance.set_title("Performance")
    performance.set_xlabel("accuracy, 4 minus 1 (points)")
    for index, key in enumerate((one, four, "experiment-4-exact")):
        if key in curves:
            label, colour = LABELS[key]
            _curve(convergence, curves[key], "validation_cost", colour, DASHES[index], label)
    _log_scale([convergence])
    convergence.set_title("Convergence")
    convergence.set_xlabel("gradient steps (thousands)")
    convergence.set_ylabel("validation cost")
    convergence.legend(fontsize=7.5)
    return figure


@mpl.rc_context(STYLE)
def time(timing: pd.DataFrame, seconds: Mapping[str, float]) -> Figure:
    """What batch norm adds to the time of training, experiment 4 against 1, round by round."""
    figure, ax = _figure(6.6, 1.7)
    codes = {"loop": "readable loop", "engine": "engine"}
    for y, code in enumerate(codes):
        rounds = timing[timing["code"] == code]
        ratio = (rounds["experiment-4"] / rounds["experiment-1"] - 1).dropna()
        study = seconds["experiment-4"] / seconds["experiment-1"] - 1
        _strip(ax, y, ratio, GREY, study if code == "loop" else None)
    ax.axvline(0, color="#444444", lw=0.9)
    _rows(ax, list(codes.values()))
    ax.set_xlabel("added by batch norm (%)")
    return figure


@mpl.rc_context(STYLE)
def epoch_gains(gains: pd.DataFrame) -> Figure:
    """What more epochs bring, in points of test accuracy, for each batch size and L2."""
    figure, ax = _figure(6.6, 0.36 * len(gains) + 1)
    rows: list[Any] = list(gains.itertuples())
    for y, row in enumerate(rows):
        ax.plot([row.low * 100, row.high * 100], [y, y], color=BLUE, lw=3, alpha=0.4, solid_capstyle="round")
        ax.plot(row.mean * 100, y, "o", color=BLUE, mec="white", ms=7)
    ax.axvline(0, color="#444444", lw=0.9)
    _rows(
        ax,
        [f"batch {r.batch_size}, λ {r.l2:g}: {r.from_epochs} → {r.to_epochs} epochs" for r in rows],
    )
    ax.set_xlabel("gain in test accuracy (points), mean with interval")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """So many panels, two in a row, each of that height."""
    rows = max(1, -(-count // 2))
    figure = Figure(figsize=(8.4, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, 2, squeeze=False).flat)
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def _rows(ax: Axes, labels: Sequence[str], **style: Any) -> None:
    ax.set_yticks(range(len(labels)), labels, **style)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")


def _strip(ax: Axes, y: float, values: pd.Series, colour: str, published: float | None) -> None:
    """Every replica as a dot, the mean as a bar across, the middle half as a band; the published value as a diamond."""
    there = np.sort(values.dropna().to_numpy()) * 100
    spread = np.linspace(-0.16, 0.16, len(there)) if len(there) > 1 else np.zeros(len(there))
    order = np.random.default_rng(0).permutation(len(there))
    if len(there) > 1:
        low, high = np.quantile(there, [0.25, 0.75])
        ax.plot([low, high], [y, y], color=colour, lw=9, alpha=0.18, solid_capstyle="butt")
    ax.plot(there, y + spread[order], "o", color=colour, ms=4, alpha=0.75, mew=0)
    if len(there):
        ax.plot([there.mean()] * 2, [y - 0.3, y + 0.3], color=colour, lw=2)
    if published is not None:
        ax.plot(published * 100, y, "D", mfc="white", mec="black", ms=6, zorder=4)


def _curve(ax: Axes, curve: pd.DataFrame, name: str, colour: str, dash: Any, label: str) -> None:
    """The median over the replicas as a line, from the lowest to the highest replica as a band."""
    steps = curve["step"] / 1000
    ax.fill_between(steps, curve[f"{name}_low"], curve[f"{name}_high"], color=colour, alpha=0.15, lw=0)
    ax.plot(steps, curve[name], color=colour, ls=dash, label=label)


def _end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]], apart: float = 0.055) -> None:
    """Labels (value, text, colour) at the right of a log axis, moved up where they would stand on each other; none
    for what has no finite end."""
    low, high = np.log(ax.get_ylim())
    place = -np.inf
    for value, text, colour in sorted(end for end in ends if np.isfinite(end[0])):
        place = max(place + apart, (np.log(value) - low) / (high - low))
        ax.text(1.01, place, text, color=colour, va="center", fontsize=8, transform=ax.transAxes)


def _log_scale(axes: Any) -> None:
    """A logarithmic axis for costs, with plain numbers; not where there is none to show, since all diverged."""
    for ax in axes:
        if not np.isfinite(ax.dataLim.minposy):
            continue
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        low, high = ax.get_ylim()
        if high / low < 15:
            ax.yaxis.set_minor_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            ax.tick_params(axis="y", which="minor", labelsize=7)


def _percent_label(measure: str) -> str:
    return f"{measure.replace('_', ' ')} (%)"


def power(value: float) -> str:
    """A large number as a power of ten, 1.687 × 10⁹."""
    exponent = int(np.floor(np.log10(abs(value))))
    return f"{value / 10**exponent:.3f} × 10{str(exponent).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _finite(tensor: Tensor) -> np.ndarray:
    """The finite values, flat."""
    values = tensor.double().numpy().ravel()
    return values[np.isfinite(values)]


def _limit(values: np.ndarray, share: float) -> float:
    """What that share of the values do not exceed in size, for a scale; 1 where it would be 0 or there are none."""
    return float(np.quantile(np.abs(values), share)) or 1.0 if len(values) else 1.0


def _mean(values: pd.Series) -> str:
    return f"{values.mean():.3g}" if values.notna().any() else "not finite"


def _weights(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted(name for name in tensors if re.fullmatch(r"W\d+", name))
