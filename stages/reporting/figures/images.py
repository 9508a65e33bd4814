"""What the networks read on the test set."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.reporting.colours import BLUE, INK
from stages.reporting.figures.style import DARKEST, Layout, only_words, pictures, shades, tile_labels, tiles
from stages.reporting.labels import LABELS
from stages.reporting.results import READER, Results

# A share, or a difference of shares, in percent, below which a tile has no number.
TOO_SMALL = 0.5
# The height of two lines of small letters, in inches.
TWO_LINES = 0.33


def confusion(r: Results, layout: Layout) -> Figure:
    """How often experiment 3 reads each digit as each other, and what the other experiments do differently."""
    shares = {key: 100 * share for key, share in r.shares_read.items()}
    if READER not in shares:
        return only_words(layout, "Every replica of experiment 3 diverged: there is nothing to read.")
    others = [key for key in shares if key != READER]
    columns = 1 if layout.narrow else max(1, len(others))
    rows = -(-len(others) // columns)
    heights = [0.75 * layout.width if layout.narrow else 3.8, *[layout.width / columns] * rows]
    figure = Figure(figsize=(layout.width, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=heights)
    ax = figure.add_subplot(grid[0, :])
    _read(ax, shares[READER])
    title = f"Experiment {LABELS[READER].text}: percent of the digit's images"
    ax.set_title(fill(title, 36 if layout.narrow else 90))
    for index, key in enumerate(others):
        ax = figure.add_subplot(grid[1 + index // columns, index % columns])
        _compared(ax, shares[key] - shares[READER], fontsize=7 if layout.narrow else 6)
        ax.set_title(fill(f"Experiment {LABELS[key].text} minus {LABELS[READER].text}", 24))
    return figure


def _read(ax: Axes, share: NDArray[np.float64]) -> None:
    errors = share * (1 - np.eye(len(share)))
    tiles(ax, shades(errors, errors.max(), above=BLUE, strongest=DARKEST))
    for (row, column), value in np.ndenumerate(share):
        if value >= TOO_SMALL:
            text, weight = (f"{value:.0f}", "bold") if row == column else (f"{value:.1f}", "normal")
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, weight=weight, in_layout=False)
    _digits(ax, len(share))


def _compared(ax: Axes, difference: NDArray[np.float64], fontsize: float) -> None:
    tiles(ax, shades(difference, np.abs(difference).max(), strongest=DARKEST))
    ax.set_aspect("equal")
    for (row, column), value in np.ndenumerate(difference):
        if abs(value) >= TOO_SMALL:
            text = f"{value:+.1f}".replace("-", "−")
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=fontsize, in_layout=False)
    _digits(ax, len(difference))


def _digits(ax: Axes, classes: int) -> None:
    for axis, what in ((ax.xaxis, "read as"), (ax.yaxis, "digit")):
        tile_labels(axis, [str(digit) for digit in range(classes)], fontsize=8)
        axis.set_label_text(what)


def mistakes(r: Results, layout: Layout) -> Figure:
    """The most confident mistakes on the test set as images: the label, the guess, its probability."""
    shown = r.mistakes
    count = len(shown["images"])
    if not count:
        return only_words(layout, "There is no mistake to show.")
    columns, apart = 4 * layout.columns, 2
    images = [shades(image, 1, above=INK) for image in shown["images"]]
    side = len(images[0])
    pixels = columns * (side + apart) - apart
    room = round(TWO_LINES / layout.width * pixels)
    height = -(-count // columns) * (side + room)
    figure = Figure(figsize=(layout.width, height / pixels * layout.width))
    ax = figure.add_axes((0, 0, 1, 1))
    read = zip(shown["labels"], shown["guesses"], shown["confidences"], strict=True)
    for (left, top), (label, guess, share) in zip(pictures(ax, images, columns, apart, room), read, strict=True):
        text = f"{label} read as {guess}\n{share:.1%}"
        ax.text(left + side / 2, top - 1, text, fontsize=8, ha="center", va="bottom")
    return figure
