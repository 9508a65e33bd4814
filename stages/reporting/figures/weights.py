"""What L2 does to the weights."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.common import WEIGHT_DIFF
from stages.reporting.colours import BLUE, DASHES, GREEN
from stages.reporting.figures.style import (
    Layout,
    Strip,
    margin,
    only_words,
    panels,
    pictures,
    shades,
    strip_height,
    strips,
    tile_labels,
    tiles,
)
from stages.reporting.formats import number
from stages.reporting.results import Results


def weight_distributions(r: Results, layout: Layout) -> Figure:
    """The weights of each layer, without and with L2, all replicas together."""
    figure, axes = panels(layout, len(r.layers), 2.3)
    for ax, name in zip(axes, r.layers, strict=True):
        pair = [weights[name].flatten().numpy() for weights in (r.without_l2, r.with_l2)]
        pair = [values[np.isfinite(values)] for values in pair]
        edge = float(np.quantile(np.abs(np.concatenate(pair)), 0.998)) if sum(map(len, pair)) else 1.0
        bins = np.linspace(-edge, edge, 61 if r.without_l2[name].numel() > 10_000 else 25)
        for values, colour, ls, label in zip(pair, (BLUE, GREEN), DASHES, ("without", "with"), strict=False):
            density = np.histogram(values, bins=bins, density=True)[0] if len(values) else np.zeros(len(bins) - 1)
            ax.stairs(density, bins, color=colour, alpha=0.12, fill=True)
            ax.stairs(density, bins, color=colour, ls=ls, lw=1.4, fill=False)
            ax.plot([], [], color=colour, ls=ls, label=f"{label} L2, std {number(r.spread(name, label), 3)}")
        ax.set_title(f"{name} ({' × '.join(map(str, r.without_l2[name].shape[-2:]))})")
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("weight")
        ax.locator_params(axis="x", nbins=7)
        ax.set_ylim(0, ax.get_ylim()[1] * 1.35)
        ax.legend(loc="upper right")
    return figure


def weight_differences(r: Results, layout: Layout) -> Figure:
    """How far L2 shifts the mean weight of each layer; below, one replica's differences of the small layers."""
    rows = [
        Strip(name, r.mean_difference(name), BLUE, r.printed(WEIGHT_DIFF, f"mean_difference_{name}"))
        for name in r.layers
    ]
    small = r.layers[1:] if r.replica is not None else []
    columns = 1 if layout.narrow else min(3, max(1, len(small)))
    heights = [strip_height(layout, len(rows)), *[2.3] * -(-len(small) // columns)]
    figure = Figure(figsize=(layout.width, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    ax = figure.add_subplot(grid[0, :])
    strips(ax, layout, rows, scale=1)
    margin(ax, r.region("l2-mean-shift-small"), scale=1)
    ax.set_xlabel("mean of W − W with L2")
    matrices = {name: r.weight_differences[name][r.replica].numpy() for name in small}
    limit = max((float(np.abs(matrix).max()) for matrix in matrices.values()), default=1.0)
    for index, (name, matrix) in enumerate(matrices.items()):
        ax = figure.add_subplot(grid[1 + index // columns, index % columns])
        _matrix(ax, name, matrix, limit)
    return figure


def _matrix(ax: Axes, name: str, matrix: NDArray[np.float32], limit: float) -> None:
    tiles(ax, shades(matrix, limit))
    ax.set_title(f"{name}\nfrom −{limit:.1f} (blue) to {limit:.1f} (red)" if name == "W2" else name)
    for axis, count, what in ((ax.yaxis, matrix.shape[0], "unit"), (ax.xaxis, matrix.shape[1], "input")):
        every = max(1, -(-count // 10))
        tile_labels(axis, [str(k) if k % every == 0 else "" for k in range(count)], fontsize=8)
        axis.set_label_text(what)


def first_layer(r: Results, layout: Layout, most: int = 20) -> Figure:
    """What training changed in the first layer, a picture for each unit, without and with L2, one replica."""
    trained = r.first_layer_changes
    if not trained:
        return only_words(layout, "Every replica of experiment 1 or 3 diverged: there are no weights to show.")
    units = min(most, len(next(iter(trained.values()))))
    columns = min(5 * layout.columns, units)
    limit = max(float(np.quantile(changes.abs().numpy(), 0.995)) for changes in trained.values())
    height = layout.width / columns * -(-units // columns) + 0.35
    figure = Figure(figsize=(layout.width, 2 * height), layout="constrained")
    for ax, (title, changes) in zip(figure.subplots(2, 1), trained.items(), strict=True):
        side = round(changes.shape[1] ** 0.5)
        images = [shades(change.reshape(side, side).numpy(), limit) for change in changes[:units]]
        pictures(ax, images, columns, 2, 2)
        ax.set_title(title)
    return figure
