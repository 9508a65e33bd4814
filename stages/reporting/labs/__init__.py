"""The page's labs: what each needs to know, as a record for JSON."""

from __future__ import annotations

from typing import Any

from stages.reporting.assignment import winners
from stages.reporting.colours import BLUE, GREEN, RED, named, variable
from stages.reporting.data import Networks, Report, one
from stages.reporting.figures.costs import implied
from stages.reporting.labs import explosion, playground, roulette
from stages.reporting.labs.digits import digits_data

# Whose networks the page lets a visitor play with: so many seeds of each.
SEEDS_PLAYED = 3
# What the lab of the explosion calls batch norm's derivatives.
DERIVATIVES = {
    "straight_through": explosion.Network("left out", variable(RED)),
    "exact": explosion.Network("true", variable(BLUE)),
    "none": explosion.Network("no batch norm", variable(GREEN)),
}


def records_of_labs(report: Report, networks: Networks) -> dict[str, Any]:
    """What the labs' templates take: `roulette`, `digits`, `explosion` and `playground`."""
    digits = digits_data(networks.train, networks.test)
    return {
        "digits": digits,
        "roulette": _roulette(report),
        "explosion": _explosion(report, digits["train"]),
        "playground": _playground(report, networks, digits["train"]),
    }


def _colour(report: Report, run: str) -> str:
    return variable(named(report.colour(run)))


def _roulette(report: Report) -> dict[str, Any]:
    experiments = {
        run: roulette.Experiment(
            report.label(run),
            _colour(report, run),
            report.values(run, "test_accuracy").tolist(),
            report.printed(run, "test_accuracy"),
        )
        for run in report.study.experiments
    }
    return roulette.roulette_data(experiments, others=winners(report))


def _explosion(report: Report, train: int) -> dict[str, Any]:
    found = implied(report)
    marks = {}
    if found:
        marks = {
            "sum_squared_weights": explosion.Mark("the study", found["squares"]),
            "cost": explosion.Mark("the study", found["train_cost"]),
        }
    settings = report.settings[str(report.study.four.bn_l2)]
    last_step = settings.last_step(report.examples["train"])
    return explosion.explosion_data(settings, last_step, train, DERIVATIVES, marks)


def _playground(report: Report, networks: Networks, known: int) -> dict[str, Any]:
    seeds = list(report.params.seeds[:SEEDS_PLAYED])
    played = [run for run in (*report.study.experiments, report.study.four.bn_l2_exact) if run]
    rows = {}
    for run in played:
        model = networks.models[run]
        replicas = [
            None if model.diverged_at[replica] else one(model.parameters, replica) for replica in range(len(seeds))
        ]
        settings = report.settings[run]
        rows[run] = playground.Networks(report.label(run), replicas, settings.activation, settings.batchnorm)
    dims = report.params.network.layers_dims
    return playground.playground_data(dims, rows, seeds, networks.train[0][:, :known], *networks.test)
