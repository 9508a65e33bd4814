"""What the networks predict on the test set."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, prediction_table
from stages.reporting.colours import BLUE, INK
from stages.reporting.data import Networks, Report, one
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import DARKEST, WIDTH, only_words, panels, pictures, shades, tile_labels, tiles

# A share in percent below which a tile has no number.
TOO_SMALL = 0.5
MISTAKES = 12
# The height of two lines of small letters, in inches.
TWO_LINES = 0.34


def predictions(report: Report, networks: Networks) -> pd.DataFrame:
    """What one replica predicts for each test image, which `dvc plots` counts."""
    run = reader(report)
    parameters = one(networks.models[run].parameters, networks.alive(run) or 0)
    return prediction_table(*networks.test, parameters, report.settings[run])


def reader(report: Report) -> str:
    """The experiment whose predictions are shown: with L2 and without batch norm, so that a prediction does not depend
    on other images."""
    return str(report.study.four.l2)


class Confusion(Drawing):
    """How often each digit is predicted as each other."""

    @cached_property
    def shares(self) -> np.ndarray | None:
        run = reader(self.report)
        alive = self.networks.models[run].diverged_at == 0
        if not alive.any():
            return None
        trained = {name: value[alive] for name, value in self.networks.models[run].parameters.items()}
        matrix = confusion_matrix(*self.networks.test, trained, self.report.settings[run])
        return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)

    def draw(self) -> Figure:
        share = self.shares
        if share is None:
            return only_words("Every replica diverged: there is nothing to predict.")
        percent = 100 * share
        errors = percent * (1 - np.eye(len(percent)))
        figure, (ax,) = panels(1, 3.3)
        tiles(ax, shades(errors, errors.max(), BLUE, DARKEST))
        for (row, column), value in np.ndenumerate(percent):
            if value >= TOO_SMALL:
                weight = "bold" if row == column else "normal"
                ax.text(column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", fontsize=8, weight=weight)
        for axis, words in ((ax.xaxis, "prediction"), (ax.yaxis, "digit")):
            tile_labels(axis, [str(digit) for digit in range(len(percent))], fontsize=8.5)
            axis.set_label_text(words)
        return figure

    def facts(self) -> dict[str, Any]:
        share = self.shares
        facts: dict[str, Any] = {
            "label": self.report.label(reader(self.report)),
            "replicas": self.report.params.replicas,
        }
        if share is None:
            return facts | {"worst": None}
        errors = share * (1 - np.eye(len(share)))
        row, column = (int(place) for place in np.unravel_index(errors.argmax(), errors.shape))
        worst = {"digit": row, "prediction": column, "share": float(errors[row, column])}
        return facts | {"worst": worst, "right": [float(value) for value in np.diag(share)]}

    def table(self) -> pd.DataFrame:
        shares = np.zeros((0, 0)) if self.shares is None else self.shares
        rows = [(row, column, share) for (row, column), share in np.ndenumerate(shares)]
        return pd.DataFrame(rows, columns=["digit", "prediction", "share"])


class Mistakes(Drawing):
    """The most confident mistakes on the test set as images: the digit, the prediction, its probability."""

    @cached_property
    def found(self) -> dict[str, Any]:
        run = reader(self.report)
        replica = self.networks.alive(run)
        network = one(self.networks.models[run].parameters, replica or 0)
        count = MISTAKES if replica is not None else 0
        return confident_mistakes(*self.networks.test, network, self.report.settings[run], how_many=count)

    def draw(self) -> Figure:
        shown = self.found
        count = len(shown["images"])
        if not count:
            return only_words("There is no mistake to show.")
        columns, apart = 4, 2
        images = [shades(image, 1, INK) for image in shown["images"]]
        side = len(images[0])
        pixels = columns * (side + apart) - apart
        room = round(TWO_LINES / WIDTH * pixels)
        height = -(-count // columns) * (side + room)
        figure = Figure(figsize=(WIDTH, height / pixels * WIDTH))
        ax = figure.add_axes((0, 0, 1, 1))
        rows = zip(shown["labels"], shown["predictions"], shown["probabilities"], strict=True)
        for (left, top), (label, prediction, share) in zip(
            pictures(ax, images, columns, apart, room), rows, strict=True
        ):
            text = f"{label} as {prediction}\n{share:.0%}"
            ax.text(left + side / 2, top - 1, text, fontsize=8, ha="center", va="bottom")
        return figure

    def facts(self) -> dict[str, Any]:
        shown = self.found
        rows = zip(shown["labels"], shown["predictions"], shown["probabilities"], strict=True)
        names = ("label", "prediction", "probability")
        return {
            "label": self.report.label(reader(self.report)),
            "rows": [dict(zip(names, row, strict=True)) for row in rows],
        }

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.facts()["rows"], columns=["label", "prediction", "probability"])
