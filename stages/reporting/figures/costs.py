"""How the costs fell, and how the weights grew."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.reporting.colours import BLUE, DASHES, GREY, INK, SERIES
from stages.reporting.figures.style import Layout, curve, end_labels, log_axis, one_panel, panels
from stages.reporting.formats import number
from stages.reporting.labels import LABELS
from stages.reporting.results import Results

COSTS = {"train_cost": ("training, the step's mini-batch", GREY), "validation_cost": ("validation", BLUE)}


def grid_costs(r: Results, layout: Layout) -> Figure:
    """Validation cost of the batch sizes in the longest runs: against steps and, beside it, against epochs."""
    longest = r.longest_cells
    strengths, sizes = (sorted(set(longest[name])) for name in ("L2", "batch_size"))
    figure, axes = panels(layout, 2 * len(strengths), 2.9, sharey=True)
    for row, strength in enumerate(strengths):
        for cell in longest[longest["L2"] == strength].to_dict("records"):
            index = sizes.index(cell["batch_size"])
            style = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)], f"batch {cell['batch_size']}"
            table = r.curves[cell["run"]]
            curve(axes[2 * row], table, "validation_cost", *style)
            curve(axes[2 * row + 1], table, "validation_cost", *style, per=r.steps_of_an_epoch(cell))
        for ax, against in zip(axes[2 * row :], ("gradient steps (thousands)", "epochs"), strict=False):
            ax.set_title(f"λ {strength:g}, against {against.removeprefix('gradient ').split(' (')[0]}")
            ax.set_xlabel(against)
            ax.set_ylabel("validation cost")
            log_axis(ax)
    axes[0].legend()
    return figure


def experiment_costs(r: Results, layout: Layout) -> Figure:
    """Training and validation cost against steps, a panel for each experiment, the study's last costs beside."""
    keys = list(r.experiments)
    figure, axes = panels(layout, len(keys), 2.5)
    for ax, key in zip(axes, keys, strict=True):
        table = r.curves[key]
        for name, (label, colour) in COSTS.items():
            curve(ax, table, name, colour, "-", label)
            printed = r.printed(key, name)
            if printed is not None:
                beside = table["step"].iloc[-1] / 1000 * 1.06
                ax.plot(beside, printed, "D", mfc="none", mec=colour, mew=1.3, ms=5.5)
        ax.set_title(f"Experiment {LABELS[key].text}")
        ax.set_xlabel("gradient steps (thousands)")
        ax.set_ylabel("cost")
    _share_scale([ax for ax, key in zip(axes, keys, strict=True) if key not in r.exploded])
    for ax in axes:
        log_axis(ax)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=layout.columns)
    return figure


def weights_squared(r: Results, layout: Layout) -> Figure:
    """Σ W² against steps of every experiment, log scale, with the value that the study's costs imply."""
    figure, ax = one_panel(layout, 4.2)
    for index, key in enumerate(r.experiments):
        label, colour = LABELS[key]
        curve(ax, r.curves[key], "sum_squared_weights", colour, DASHES[index % len(DASHES)], label)
    implied = r.implied.sum_squared_weights
    ax.axhline(implied, color=INK, lw=0.9, ls=":")
    apart = "\n" if layout.narrow else " "
    text = f"the study's costs:{apart}{number(implied)}"
    ax.text(0.01, implied * 1.4, text, fontsize=8, transform=ax.get_yaxis_transform())
    ax.margins(x=0.01)
    log_axis(ax)
    end_labels(ax, [(r.last(key, "sum_squared_weights"), *LABELS[key]) for key in r.experiments])
    ax.set_xlabel("gradient steps (thousands)")
    ax.set_ylabel("Σ W², all layers")
    return figure


def _share_scale(axes: Sequence[Axes]) -> None:
    """One vertical scale for these panels, from the lowest to the highest of what they show."""
    for ax in axes:
        ax.set_yscale("log")
    ends = [ax.get_ylim() for ax in axes if ax.get_ylim()[0] > 0]  # where all diverged, nothing is drawn
    for ax in axes if ends else []:
        ax.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
