"""The catalogue of the report's figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from stages.reporting import words
from stages.reporting.figures import accuracies, costs, images, labs, verdicts, weights
from stages.reporting.figures.style import NARROW, WIDE, Layout, svg
from stages.reporting.results import Results
from stages.reporting.words import Words


@dataclass(frozen=True)
class Shown:
    """A figure of these results: its finding, its caption, its numbers in words, and itself for a wide page and,
    if it has such a layout, for a narrow one."""

    title: str
    caption: str
    numbers: str
    stages: str
    parameters: str
    wide: str
    narrow: str | None


@dataclass(frozen=True)
class Item:
    """A figure: how it is drawn, what it says, the stages and parameters that its numbers come from."""

    draw: Callable[[Results, Layout], Figure]
    says: Callable[[Results], Words]
    stages: str
    parameters: str = "replicas, seed"
    layouts: tuple[Layout, ...] = (WIDE, NARROW)

    def show(self, results: Results) -> Shown:
        said = self.says(results)
        drawn = {layout: svg(partial(self.draw, results, layout), said.title, said.numbers) for layout in self.layouts}
        return Shown(*said, self.stages, self.parameters, drawn[WIDE], drawn.get(NARROW))


CATALOGUE = {
    "verdicts": Item(verdicts.verdicts, words.verdicts, "verdicts", "evidence"),
    "seeds": Item(accuracies.seeds, words.seeds, "grid-train, experiment", "replicas, seed, grid"),
    "experiments": Item(
        accuracies.experiments, words.experiments, "experiment", "epochs, batch_size, learning_rate, l2"
    ),
    "grid": Item(accuracies.grid, words.grid, "grid-train", "grid"),
    "train-validation": Item(
        accuracies.train_validation, words.train_validation, "grid-train, experiment", "grid, epochs, l2"
    ),
    "grid-costs": Item(costs.grid_costs, words.grid_costs, "grid-train", "grid"),
    "epochs": Item(accuracies.epochs, words.epochs, "grid-train, verdicts", "grid, evidence"),
    "experiment-costs": Item(costs.experiment_costs, words.experiment_costs, "experiment", "epochs, l2"),
    "weights-squared": Item(costs.weights_squared, words.weights_squared, "experiment", "epochs, l2"),
    "batchnorm": Item(accuracies.batchnorm, words.batchnorm, "experiment", "epochs, batch_size"),
    "time": Item(accuracies.time, words.time, "timing", "timing"),
    "weight-distributions": Item(
        weights.weight_distributions, words.weight_distributions, "experiment, weight-diff", "l2"
    ),
    "weight-differences": Item(weights.weight_differences, words.weight_differences, "weight-diff", "l2"),
    "first-layer": Item(weights.first_layer, words.first_layer, "experiment", "l2"),
    "confusion": Item(images.confusion, words.confusion, "experiment", "epochs, l2"),
    "mistakes": Item(images.mistakes, words.mistakes, "experiment", "l2"),
}

# No figure of the report, which has the labs themselves: README.md shows it.
LABS = Item(labs.labs, words.labs, "experiment", "epochs, l2", (WIDE,))
