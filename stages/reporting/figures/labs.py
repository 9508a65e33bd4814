"""What the page lets a visitor find out by hand, in one picture: what one run of each says, and what explodes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.reporting.colours import DASHES
from stages.reporting.figures.style import Layout, Strip, curve, end_labels, log_axis, strip_height, strips
from stages.reporting.formats import percent
from stages.reporting.labels import LABELS
from stages.reporting.results import PAIR, Results
from stages.reporting.labs.roulette import roulette_data


def labs(r: Results, layout: Layout) -> Figure:
    """Test accuracy of the study's experiments, and how often each wins; Σ W² without and with the derivative."""
    figure = Figure(figsize=(layout.width, strip_height(layout, len(r.single_runs)) + 0.6), layout="constrained")
    roulette, explosion = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _roulette(roulette, r, layout)
    _explosion(explosion, r)
    return figure


def _roulette(ax: Axes, r: Results, layout: Layout) -> None:
    rows = [Strip(LABELS[key].text, r.tables[key]["test_accuracy"], LABELS[key].colour) for key in r.single_runs]
    strips(ax, layout, rows)
    counts = roulette_data(r.single_runs)
    for y, one in enumerate(counts["experiments"]):
        share = percent(one["wins"] / counts["combinations"], 0)
        ax.text(1.02, y - 0.08, f"wins {share}", transform=ax.get_yaxis_transform(), va="center", color=rows[y].colour)
    ax.set_title("One run of each: which wins?", pad=20)
    ax.set_xlabel("test accuracy (%)")


def _explosion(ax: Axes, r: Results) -> None:
    pair = [key for key in PAIR if key in r.curves]
    for key, dash in zip(pair, DASHES, strict=False):
        curve(ax, r.curves[key], "sum_squared_weights", LABELS[key].colour, dash, LABELS[key].text)
    ax.margins(x=0.01)
    log_axis(ax)
    ends = {key: [r.last(key, name) for name in ("sum_squared_weights", "test_accuracy")] for key in pair}
    told = {key: f"{PAIR[key]},\naccuracy {percent(accuracy)}" for key, (_, accuracy) in ends.items()}
    end_labels(ax, [(ends[key][0], told[key], LABELS[key].colour) for key in pair], apart=0.16)
    ax.set_title("Batch norm + L2: its weights", pad=20)
    ax.set_xlabel("gradient steps (thousands)")
    ax.set_ylabel("Σ W², all layers")
