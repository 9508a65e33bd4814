"""The study, told again with all seeds: figures with their tables, report.html, report.md, what `dvc plots` draws."""

import pandas as pd

from nnlib.data.files import write_csv, write_text
from stages.parameters import Parameters
from stages.paths import FIGURES, PLOTS, REPORTS
from stages.program import run
from stages.reporting.catalogue import CATALOGUE, check_claims
from stages.reporting.colours import darkened, variables
from stages.reporting.data import Networks, Report
from stages.reporting.figures.images import predictions
from stages.reporting.formats import environment
from stages.reporting.labs import records_of_labs
from stages.reporting.page import context

# Shown in dark colours, too, where a reader's pages are dark.
IN_README = ("experiments",)


def main(params: Parameters) -> None:
    report, templates = Report.load(params), environment()
    check_claims(report.study)
    networks = Networks.load(report.added)
    catalogue = {name: item.show(name, report, networks, templates) for name, item in CATALOGUE.items()}
    for name, figure in catalogue.items():
        write_text(FIGURES / f"{name}.svg", figure.svg)
        write_csv(FIGURES / f"{name}.csv", figure.table)
        if name in IN_README:
            write_text(FIGURES / f"{name}-dark.svg", darkened(figure.svg))
    told = context(report) | {"catalogue": catalogue, "items": CATALOGUE, "variables": variables}
    told |= records_of_labs(report, networks)
    write_text(REPORTS / "report.md", templates.get_template("report.md.j2").render(told))
    write_text(REPORTS / "report.html", templates.get_template("report.html.j2").render(told))
    curves = pd.concat([report.curves[key].assign(run=report.label(key)) for key in report.added])
    accuracies = pd.concat([report.replicas[key].assign(run=report.label(key)) for key in report.added])
    write_csv(PLOTS / "costs.csv", curves[["run", "step", "train_cost", "validation_cost", "sum_squared_weights"]])
    write_csv(PLOTS / "accuracies.csv", accuracies[["run", "replica", "test_accuracy"]])
    write_csv(PLOTS / "confusion.csv", predictions(report, networks))
    print(f"{len(catalogue)} figures, reports/report.html and reports/report.md")


if __name__ == "__main__":
    run(main)
