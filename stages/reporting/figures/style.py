"""What all figures share: letters, sizes, marks and ticks, and how a figure becomes SVG.

Every figure has one width, that of a phone; a wide page sets two side by side. So a figure is drawn and carried once,
and its letters are readable everywhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stages.reporting.colours import GREY, INK, LINE, PAPER
from stages.reporting.formats import decimal

# Text is measured in the first, which comes with matplotlib; Verdana is as wide.
FAMILIES = "DejaVu Sans, Verdana, sans-serif"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.07,
    "axes.facecolor": "none",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "mnist-study",
    "svg.fonttype": "none",  # letters stay letters: searched, copied, read aloud
}

# The most of a colour in a tile, so that letters on it stay readable.
DARKEST = 0.5
# More dots in a row are drawn as a picture, so that the page stays small.
MANY_DOTS = 100


WIDTH = 3.4  # inches; on the narrowest page 330 pixels, on which 8 points are 11 pixels


def svg(draw: Callable[[], Figure], title: str, numbers: str) -> str:
    """A figure as SVG, the same bytes every time, whatever matplotlib is set to; what it shows, in words, for readers
    who cannot see it."""
    text = io.StringIO()
    nothing: Any = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        FigureCanvasSVG(draw()).print_svg(text, metadata=nothing)
    start, _, rest = _shorter(text.getvalue()).partition("<svg ")
    head, _, body = rest.partition(">")
    told = f'role="img" aria-label="{escape(title)}" aria-describedby="numbers" font-family="{FAMILIES}"'
    return f'{start}<svg {head} {told}>\n <desc id="numbers">{escape(numbers)}</desc>{body}'


def _shorter(text: str) -> str:
    """Matplotlib's SVG in a third as many letters: no rotations by 0, no font named twice, places to a tenth, shades
    to a hundredth, short ids, and the style of a row of equal marks said once."""
    text = re.sub(r' transform="rotate\(-0 [^"]*"|font-family: [^;]*; ', "", text)
    text = re.sub(
        r' (?:d|x|y)="[^"]+"',
        lambda places: re.sub(r"(\d\d\.\d|\.\d\d)\d+", r"\1", places[0]).replace(" \n", " ").replace('\n"', '"'),
        text,
    )
    text = re.sub(r"(-opacity: 0\.\d\d)\d+", r"\1", text).replace(" xlink:href=", " href=")
    text = re.sub(r"\n +<", "\n<", text)
    ids = {name: f"i{place}" for place, name in enumerate(re.findall(r'\bid="([^"]+)"', text))}
    text = re.sub(r'(\bid="|href="#|url\(#)([^")]+)', lambda match: match[1] + ids.get(match[2], match[2]), text)
    return re.sub(r"<g([^>]*)>\n((?:<use [^>]*/>\n)+)</g>", _one_style, text)


def _one_style(group: re.Match[str]) -> str:
    """A group of marks, with the style on the group where all have the same."""
    styles = set(re.findall(r' style="[^"]*"', group[2]))
    if len(styles) != 1 or "style=" in group[1]:
        return group[0]
    (style,) = styles
    return f"<g{group[1]}{style}>\n{group[2].replace(style, '')}</g>"


def panels(count: int, height: float, **style: Any) -> tuple[Figure, list[Axes]]:
    """So many panels below each other, each of that height in inches."""
    figure = Figure(figsize=(WIDTH, height * max(1, count)), layout="constrained")
    return figure, list(figure.subplots(max(1, count), 1, squeeze=False, **style).flat)[:count]


def only_words(words: str) -> Figure:
    """In place of a figure for which there is nothing to draw."""
    figure, (ax,) = panels(1, 1)
    ax.set_axis_off()
    ax.text(0.5, 0.5, fill(words, 40), ha="center", va="center")
    return figure


class Strip(NamedTuple):
    """A row of dots: what it is called, one value for each replica, and what was printed."""

    label: str
    values: pd.Series
    colour: str
    published: float | None = None


def strip_height(rows: int) -> float:
    return 0.5 * rows + 1.0


def strips(ax: Axes, rows: Sequence[Strip], *, scale: float = 100) -> None:
    """Rows of dots, each a replica; the median as a bar across; below, hollow, what was printed."""
    for y, row in enumerate(rows):
        values = np.sort(row.values.dropna().to_numpy()) * scale
        if len(values):
            _dots(ax, y, values, row.colour)
        else:
            ax.text(0.02, y, "every replica diverged", transform=ax.get_yaxis_transform(), va="center", fontsize=8)
        if row.published is not None:
            ax.plot(row.published * scale, y + 0.3, "D", mfc="none", mec=INK, ms=5.5, mew=1.3, clip_on=False)
        ax.axhline(y + 0.5, color=LINE, lw=0.7)
    row_labels(ax, [row.label for row in rows])
    ax.locator_params(axis="x", nbins=5)
    key = [("o", GREY, "one seed"), ("|", GREY, "median")]
    if any(row.published is not None for row in rows):
        key.append(("D", INK, "the study's single run"))
    for marker, colour, label in key:
        face = "none" if marker == "D" else colour
        ax.plot([], [], marker, color=colour, mfc=face, mew=1 + (marker == "|"), label=label)
    ax.legend(
        ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1), borderaxespad=0.2, handletextpad=0.2, columnspacing=0.9
    )


def margin(ax: Axes, ends: tuple[float, float] | None, scale: float = 100) -> None:
    """What a claim calls little, as a band behind everything."""
    if ends is not None:
        ax.axvspan(ends[0] * scale, ends[1] * scale, color=GREY, alpha=0.12, lw=0, zorder=0)


def _dots(ax: Axes, y: float, values: NDArray[Any], colour: str) -> None:
    height = np.linspace(-0.13, 0.13, len(values)) if len(values) > 1 else np.zeros(1)
    height = height[np.random.default_rng(0).permutation(len(values))]
    many = len(values) > MANY_DOTS
    ax.plot(values, y + height, "o", color=colour, ms=4, alpha=0.6, mew=0, rasterized=many)
    ax.plot([np.median(values)] * 2, [y - 0.2, y + 0.2], color=colour, lw=2.2)


def row_labels(ax: Axes, labels: Sequence[str]) -> None:
    """The label of each row, over it; it covers the grid, but nothing that is drawn."""
    ax.set_ylim(len(labels) - 0.5, -0.6)
    ax.grid(False, axis="y")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}
    for y, label in enumerate(labels):
        at = (0.0, y - 0.45)
        ax.text(*at, label, transform=ax.get_yaxis_transform(), va="top", fontsize=8.5, bbox=ground, zorder=1.5)


def curve(ax: Axes, table: pd.DataFrame, name: str, colour: str, dash: Any, label: str, per: float = 1000) -> None:
    """The median over the replicas as a line, from the lowest to the highest replica as a band."""
    x = table["step"] / per
    ax.fill_between(x, table[f"{name}_low"], table[f"{name}_high"], color=colour, alpha=0.13, lw=0)
    ax.plot(x, table[name], color=colour, ls=dash, label=label)


def end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]], apart: float = 0.06) -> None:
    """Labels (value, text, colour) at the right ends of the lines of a log axis, as near to them as they fit."""
    low, high = np.log(ax.get_ylim())
    known = sorted(end for end in ends if np.isfinite(end[0]) and end[0] > 0)
    wanted = [float(np.clip((np.log(value) - low) / (high - low), 0, 1)) for value, _, _ in known]
    for place, (_, text, colour) in zip(spread(wanted, apart), known, strict=True):
        ax.text(1.01, place, text, color=colour, va="center", fontsize=8, transform=ax.transAxes)


def spread(wanted: Sequence[float], apart: float) -> list[float]:
    """Places in rising order, at least so far apart; each group that had to move keeps its middle, if above 0."""
    groups: list[list[float]] = []
    for place in wanted:
        groups.append([max(place, apart / 2)])
        while len(groups) > 1 and _middle(groups[-1]) - _middle(groups[-2]) < apart * sum(map(len, groups[-2:])) / 2:
            groups[-2:] = [groups[-2] + groups[-1]]
    lift = max(0.0, (len(groups[0]) - 1) / 2 * apart - _middle(groups[0])) if groups else 0.0
    return [_middle(group) + lift + (k - (len(group) - 1) / 2) * apart for group in groups for k in range(len(group))]


def _middle(group: Sequence[float]) -> float:
    return sum(group) / len(group)


def log_axis(ax: Axes) -> None:
    """A logarithmic vertical axis whose ticks are plain numbers, powers of ten from a hundred thousand."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low <= 0:  # nothing is drawn
        ax.set_ylim(low := 0.1, high := 1.0)
    decades = np.log10(high / low)
    steps = (1, 2, 5) if decades < 2.5 else (1,)
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=steps, numticks=12))
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: decimal(value)))
    ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def shades(values: NDArray[Any], limit: float, colour: str, strongest: float = 1.0) -> NDArray[np.float64]:
    """Values from 0 on as shades of a colour, the fainter the nearer to 0; missing values are transparent.

    The page shines through, so that a colour for nothing is not needed, neither on a light page nor on a dark one.
    """
    known = np.nan_to_num(np.asarray(values, dtype=float))
    colours = np.broadcast_to(to_rgba(colour), (*known.shape, 4)).copy()
    colours[..., 3] = strongest * np.clip(known / limit, 0, 1) if limit > 0 else 0
    return colours


def pictures(ax: Axes, images: Sequence[NDArray[np.float64]], columns: int, across: int, down: int) -> list[list[int]]:
    """Pictures of one size (height, width, RGBA) side by side in rows, so many pixels apart across and down, with that
    much room above each row; an axis of their own pixels. Returns the left and the top of each."""
    height, width, _ = images[0].shape
    rows = -(-len(images) // columns)
    whole = np.zeros((rows * (height + down), columns * (width + across) - across, 4))
    places = [[k % columns * (width + across), k // columns * (height + down) + down] for k in range(len(images))]
    for (left, top), image in zip(places, images, strict=True):
        whole[top : top + height, left : left + width] = image
    ax.set_axis_off()
    ax.imshow(whole, interpolation="none", extent=(0, whole.shape[1], whole.shape[0], 0))
    return places


def tiles(ax: Axes, colours: NDArray[np.float64]) -> None:
    """A matrix of colours as tiles, the first row on top."""
    ax.pcolormesh(colours, edgecolors=PAPER, linewidth=0.8, clip_on=False)
    ax.set_ylim(len(colours), 0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def tile_labels(axis: Any, labels: Sequence[str], **style: Any) -> None:
    """The labels of a matrix's rows or columns, at the middles of its tiles."""
    axis.set_ticks(np.arange(len(labels)) + 0.5, labels, **style)
