"""The catalogue of the report's figures: how each is drawn, its words, its table, and the claims that it shows."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from jinja2 import Environment

from nnlib.errors import InputError
from nnlib.evidence.study import Study
from stages.reporting.data import Networks, Report
from stages.reporting.figures import accuracies, costs, gradient, images, reports, weights
from stages.reporting.figures.drawing import Drawing
from stages.reporting.figures.style import svg


class Shown(NamedTuple):
    """A figure of these results: what it means, its caption, its numbers in words, itself, and its table."""

    title: str
    caption: str
    numbers: str
    svg: str
    table: pd.DataFrame


class Item(NamedTuple):
    """A figure, the ids of the claims whose evidence it shows, and whether it stands in the appendix."""

    drawing: type[Drawing]
    claims: tuple[str, ...] = ()
    appendix: bool = True

    def show(self, name: str, report: Report, networks: Networks, templates: Environment) -> Shown:
        drawing = self.drawing(report, networks)
        words = told(name, drawing, templates)
        return Shown(*words, svg(drawing.draw, words[0], words[2]), drawing.table())


def told(name: str, drawing: Drawing, templates: Environment) -> tuple[str, str, str]:
    """A figure's words, from templates/figures: its title, its caption, its numbers for readers who cannot see it."""
    template = templates.get_template(f"figures/{name}.j2")
    claims = drawing.report.tables["claims"]
    verdicts = dict(zip(claims["claim"], claims["verdict"], strict=True))
    text = template.render(facts=drawing.facts(), params=drawing.report.params, verdicts=verdicts)
    title, caption, numbers = (" ".join(part.split()) for part in text.split("\n---\n"))
    return title, caption, numbers


CATALOGUE = {
    "experiments": Item(
        accuracies.Experiments,
        ("batchnorm-l2-best", "l2-experiments-higher", "l2-improves-accuracy", "high-cost-harmless"),
        appendix=False,
    ),
    "reports-batchnorm": Item(reports.ReportsBatchnorm, appendix=False),
    "reports-l2": Item(reports.ReportsL2, appendix=False),
    "gradient": Item(gradient.Gradient, appendix=False),
    "weights-squared": Item(costs.WeightsSquared, ("weights-stabilized", "weights-need-both"), appendix=False),
    "experiment-costs": Item(
        costs.ExperimentCosts, ("costs-blow-up", "cost-needs-both", "batchnorm-slower", "l2-costs")
    ),
    "grid": Item(accuracies.Grid, ("batch-32-wins", "more-epochs-help", "best-configuration")),
    "epochs": Item(accuracies.Epochs, ("more-epochs-help",)),
    "train-validation": Item(accuracies.TrainValidation, ("little-overfitting", "l2-reduces-overfitting")),
    "grid-costs": Item(
        costs.GridCosts,
        (
            "batch-32-faster",
            "batch-32-smoother",
            "best-cell-lower-cost",
            "batch-32-faster-on-validation",
            "batch-32-faster-per-epoch",
        ),
    ),
    "weight-distributions": Item(weights.WeightDistributions, ("l2-weight-spread", "l2-mild")),
    "weight-differences": Item(weights.WeightDifferences, ("l2-mean-shift-small", "l2-mean-shift-mixed")),
    "confusion": Item(images.Confusion),
    "mistakes": Item(images.Mistakes),
}


def check_claims(study: Study) -> None:
    """That every claim a figure shows is one of the study's; an InputError that names it if not."""
    known = {claim.id for claim in study.claims}
    for name, item in CATALOGUE.items():
        for claim in item.claims:
            if claim not in known:
                raise InputError(f"figure {name}: expected a claim of {study.key}, got {claim!r}")
