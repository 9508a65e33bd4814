"""The study, told again with all replicas: every figure, report.html and report.md, and what `dvc plots` draws."""

import pandas as pd

from nnlib.data.files import write_csv, write_text
from stages.common import FIGURES, PLOTS, REPORTS, run
from stages.parameters import Parameters
from stages.reporting.catalogue import CATALOGUE, LABS
from stages.reporting.colours import variables
from stages.reporting.labs.digits import digits_data
from stages.reporting.labs.explosion import explosion_data
from stages.reporting.formats import environment
from stages.reporting.labs.playground import playground_data
from stages.reporting.results import Results
from stages.reporting.labs.roulette import roulette_data


def main(params: Parameters) -> None:
    results = Results.load(params)
    catalogue = {name: item.show(results) for name, item in CATALOGUE.items()}
    for name, figure in (catalogue | {"labs": LABS.show(results)}).items():
        write_text(FIGURES / f"{name}.svg", figure.wide)
    digits = digits_data(results.train, results.test)
    known = results.train[0][:, : digits["train"]]
    context = {
        "results": results,
        "catalogue": catalogue,
        "params": params,
        "variables": variables,
        "digits": digits,
        "explosion": explosion_data(params, digits["train"]),
        "roulette": roulette_data(results.single_runs),
        "published_shares": results.one_run_shares,
        "playground": playground_data(
            params.network.layers_dims, results.networks, results.seeds_played, known, *results.test
        ),
    }
    templates = environment()
    write_text(REPORTS / "report.md", templates.get_template("report.md.j2").render(context))
    write_text(REPORTS / "report.html", templates.get_template("report.html.j2").render(context))
    plots = {
        "costs": experiments_of(results.curves, results)[["run", "step", "train_cost", "validation_cost"]],
        "accuracies": experiments_of(results.tables, results)[["run", "replica", "test_accuracy"]],
        "confusion": results.readings,
    }
    for name, table in plots.items():
        write_csv(PLOTS / f"{name}.csv", table)
    print(f"{len(catalogue) + 1} figures, reports/report.html and reports/report.md")


def experiments_of(tables: dict[str, pd.DataFrame], results: Results) -> pd.DataFrame:
    return pd.concat([tables[key].assign(run=results.labels[key]) for key in results.experiments])


if __name__ == "__main__":
    run(main)
