"""The catalogue of the report's figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from stages.reporting import figures
from stages.reporting.results import Results


@dataclass(frozen=True)
class Item:
    """A figure: how it is drawn, what it shows, the stages and parameters that its numbers come from."""

    draw: Callable[[Results], Figure]
    title: str
    caption: str
    stages: str
    parameters: str = "replicas, seed"


CATALOGUE = {
    "verdicts": Item(
        lambda r: figures.verdicts(r.verdicts),
        "The study's claims",
        "For each claim, the share of replicas in which the comparison that decides it held, with its Wilson "
        "interval. A share near 1 is no proof yet: the verdict also asks for the mean's interval and an exact test.",
        "verdicts",
        "evidence",
    ),
    "experiments": Item(
        lambda r: figures.accuracies(r.tables, r.published),
        "Test accuracy of the experiments",
        "Every replica (dot), the mean (bar across), the middle half (band) and the study's single run (diamond); "
        "right, the same as cumulative distributions. “-exact” is batch norm with its true derivative.",
        "experiment",
        "epochs, batch_size, learning_rate, l2",
    ),
    "grid": Item(
        lambda r: figures.grid(r.tables, r.grid, r.published),
        "Test accuracy over the grid",
        "Every replica (dot), the mean (bar across), the middle half (band) and the study's single run (diamond).",
        "grid-train",
        "grid",
    ),
    "train-validation": Item(
        lambda r: figures.train_validation(r.tables, r.labels, r.published),
        "Training against validation accuracy",
        "Mean (large) and every replica (small) of each configuration; diamonds are the study's.",
        "grid-train, experiment",
        "grid, epochs, l2",
    ),
    "grid-costs": Item(
        lambda r: figures.grid_costs(r.curves, r.grid),
        "Validation cost against steps",
        "Median over the replicas (line) and from the lowest to the highest (band). Smaller batches make more steps in "
        "as many epochs.",
        "grid-train",
        "grid",
    ),
    "epochs": Item(
        lambda r: figures.epoch_gains(r.epochs),
        "What more epochs bring",
        "Gain in test accuracy from the shorter to the longer cell of the same run, replica by replica: mean with "
        "bootstrap interval.",
        "grid-train, verdicts",
        "grid, evidence",
    ),
    "experiment-costs": Item(
        lambda r: figures.experiment_costs(r.curves, r.published),
        "Cost against steps",
        "Median over the replicas (line), lowest to highest (band), and the study's final costs (diamonds). The "
        "training cost is that of the step's mini-batch, its L2 term divided by the batch size; in experiment 2 that "
        "term is all one sees.",
        "experiment",
        "epochs, l2",
    ),
    "weights-squared": Item(
        lambda r: figures.weights_squared(r.curves, r.implied.sum_squared_weights),
        "The sum of squared weights",
        "Median over the replicas (line), lowest to highest (band). Dotted: what the study's two costs imply.",
        "experiment",
        "epochs, l2",
    ),
    "batchnorm": Item(
        lambda r: figures.batchnorm(r.tables, r.curves, r.published),
        "Batch norm alone: experiment 4 against experiment 1",
        "Left, the difference in accuracy replica by replica; right, validation cost, median and range. Diamonds are "
        "the study's.",
        "experiment",
        "epochs, batch_size",
    ),
    "time": Item(
        lambda r: figures.time(r.timing, r.study["seconds"]),
        "What batch norm costs in time",
        "Experiment 4 against experiment 1, timed in turn, round by round; the diamond is the study's. It depends "
        "on the machine, so no claim is judged by it.",
        "timing",
        "timing",
    ),
    "weight-distributions": Item(
        lambda r: figures.weight_distributions(r.without_l2, r.with_l2, r.weights),
        "Weights without and with L2",
        "All replicas together, experiment 1 (without) and 3 (with). The legend has the mean standard deviation.",
        "experiment, weight-diff",
        "l2",
    ),
    "weight-differences": Item(
        lambda r: figures.weight_differences(r.weight_differences),
        "The difference matrices, W − W with L2",
        "Replica 0, one symmetric scale. Both networks start from the same weights and see the same order of examples.",
        "weight-diff",
        "l2",
    ),
    "first-layer": Item(
        lambda r: figures.first_layer(r.without_l2["W1"][0], r.with_l2["W1"][0]),
        "What the first layer looks for",
        "The weights of each unit of replica 0 as a picture. Where no pixel is ever inked, training "
        "leaves the random first weights alone; L2 fades them.",
        "experiment",
        "l2",
    ),
    "confusion": Item(
        lambda r: figures.confusion(r.confusion),
        "Which digit is read as which",
        "Percent of each digit's test images, mean over the replicas; shares under 0.5 % are left blank.",
        "experiment",
        "epochs, l2",
    ),
    "mistakes": Item(
        lambda r: figures.mistakes(**r.mistakes),
        "The most confident mistakes",
        "Test images that experiment 3, replica 0, gets wrong, the most confident first.",
        "experiment",
        "l2",
    ),
}
