"""All that the pipeline has found, read back for the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from nnlib import Run
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors
from nnlib.evidence.anomaly import Implied, implied_weights
from nnlib.evidence.claims import VERDICTS
from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, readings
from nnlib.evidence.statistics import mean_interval
from nnlib.evidence.tables import best_runs
from stages.common import (
    DATASET,
    EPOCHS,
    FIDELITY,
    GRID,
    MODELS,
    PUBLISHED,
    RUNS,
    TIMING,
    VERDICTS_FILE,
    WEIGHT_DIFFERENCES,
    WEIGHT_TABLE,
)
from stages.parameters import Parameters, read_yaml
from stages.reporting.formats import NOT_THERE, interval, measure, number, percent
from stages.reporting.labels import LABELS, cell_label

# The experiments whose models the report looks into.
FOUR = ("experiment-1", "experiment-2", "experiment-3", "experiment-4")


@dataclass(frozen=True)
class Findings:
    """What the tables in git say, which every clone has."""

    params: Parameters
    study: dict[str, Any]
    runs: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    verdicts: pd.DataFrame
    fidelity: pd.DataFrame

    @staticmethod
    def read(params: Parameters) -> dict[str, Any]:
        runs = [pd.read_csv(path).assign(stage=path.parent.name) for path in sorted(RUNS.glob("*/runs.csv"))]
        return {
            "params": params,
            "study": read_yaml(PUBLISHED),
            "runs": pd.concat(runs),
            "tables": by_run("replicas"),
            "verdicts": pd.read_csv(VERDICTS_FILE),
            "fidelity": pd.read_csv(FIDELITY),
        }

    @cached_property
    def grid(self) -> pd.DataFrame:
        """The grid's cells with their settings, in the order of the study's table."""
        return self.runs[self.runs["stage"] == GRID].sort_values(["batch_size", "epochs", "L2"], ignore_index=True)

    @cached_property
    def experiments(self) -> dict[str, Any]:
        """run → settings, of all that is not of the grid, in the order of the labels."""
        settings = self.runs[self.runs["stage"] != GRID].set_index("run").to_dict("index")
        return {key: settings[key] for key in LABELS if key in settings}

    @cached_property
    def labels(self) -> dict[str, str]:
        """What each run is called."""
        cells = {cell["run"]: cell_label(cell) for cell in self.grid.to_dict("records")}
        return cells | {key: f"experiment {LABELS[key].text}" for key in self.experiments}

    @property
    def measured(self) -> dict[str, dict[str, Any]]:
        """run → measure → one value for each replica."""
        return {key: {str(name): table[name].to_numpy() for name in table} for key, table in self.tables.items()}

    @property
    def published(self) -> dict[str, dict[str, float]]:
        return self.study["published"]

    @cached_property
    def implied(self) -> Implied:
        """The study's two costs of experiment 2, solved for the weights."""
        costs = self.published["experiment-2"]
        return implied_weights(costs["train_cost"], costs["validation_cost"], L2=0.01, m_train=32, m_validation=9600)

    @property
    def claims(self) -> list[dict[str, Any]]:
        """One record for each claim: its verdict, and the comparison that it hangs on."""
        return [row for row in records(self.verdicts) if row["decisive"]]

    def numbers(self, runs: Iterable[str]) -> list[dict[str, Any]]:
        """The published numbers of some runs, each with ours: rows of the fidelity table."""
        wanted = set(runs)
        return [row for row in records(self.fidelity) if row["run"] in wanted]

    @property
    def collapsed(self) -> str:
        """The runs in which replicas fell below the threshold, and how many did."""
        limit = self.params.evidence.collapsed_below
        counts = {key: int((table["test_accuracy"] < limit).sum()) for key, table in self.tables.items()}
        said = [
            f"{label} ({counts[key]} of {len(self.tables[key])})" for key, label in self.labels.items() if counts[key]
        ]
        return ", ".join(said) or "none"

    @property
    def answer(self) -> list[str]:
        """The report's five lines, every number from the results."""
        one = self.tables["experiment-1"]["test_accuracy"]
        published = [self.published[key]["test_accuracy"] for key in FOUR]
        squares = {key: number(float(self.tables[key]["sum_squared_weights"].median()), 0) for key in self.experiments}
        best = best_runs(list(self.grid["run"]), self.measured)["validation"]
        named = {
            verdict: [claim["claim"] for claim in self.claims if claim["verdict"] == verdict] for verdict in VERDICTS
        }
        return [
            f"Of the study's {len(self.claims)} claims, {len(named['supported'])} are supported by "
            f"{self.params.replicas} networks in every configuration, {len(named['contradicted'])} contradicted, "
            f"{len(named['undecided'])} undecided.",
            f"Supported: {', '.join(named['supported']) or 'none'}. "
            f"Contradicted: {', '.join(named['contradicted']) or 'none'}.",
            f"The seed alone moves experiment 1's test accuracy from {percent(one.min())} to {percent(one.max())}; "
            f"the study's four experiments lie between {percent(min(published))} and {percent(max(published))}. "
            f"{self.fidelity['inside'].sum()} of the study's {len(self.fidelity)} numbers fall within our range.",
            f"The training cost of 263,576.84 implies Σ W² = {number(self.implied.sum_squared_weights)}. Ours reaches "
            f"{squares['experiment-2']} in experiment 2 and {squares['experiment-4']} in experiment 4, which has no L2 "
            f"to show it; with batch norm's true derivative it is {squares['experiment-2-exact']} and "
            f"{squares['experiment-4-exact']} (medians).",
            f"Chosen on validation accuracy, the best cell is {self.labels[best['run']]}; its test accuracy is "
            f"{percent(best['test_accuracy'])}. The study chose on the test set.",
        ]


@dataclass(frozen=True)
class Results(Findings):
    """Everything that the report shows: the tables, the curves, and what the trained networks say when asked."""

    curves: dict[str, pd.DataFrame]
    models: dict[str, Run]
    epochs: pd.DataFrame
    timing: pd.DataFrame
    weights: pd.DataFrame
    weight_differences: dict[str, Tensor]
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, params: Parameters) -> Results:
        examples = sets(load_tensors(DATASET))
        return cls(
            **cls.read(params),
            curves=by_run("curves"),
            models={key: Run.from_tensors(load_tensors(MODELS / key / f"{key}.safetensors")) for key in FOUR},
            epochs=pd.read_csv(EPOCHS),
            timing=pd.read_csv(TIMING),
            weights=pd.read_csv(WEIGHT_TABLE),
            weight_differences=load_tensors(WEIGHT_DIFFERENCES),
            train=examples["train"],
            test=examples["test"],
        )

    @property
    def without_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-1"].parameters

    @property
    def with_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-3"].parameters

    @property
    def run_results(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The study's table of run results, a row for each of its eleven rows: (published, ours) of each experiment.

        The official test set is a row of our own.
        """
        counting, ours = self.study["counting"], self.experiments

        def printed(key: str, value: Any) -> str:
            """What the study printed of its own experiments, all four alike."""
            return str(value) if key in self.study["seconds"] else NOT_THERE

        rows = {
            "Batch norm": lambda key: (
                printed(key, yes(ours[key]["use_batchnorm"])),
                yes(ours[key]["use_batchnorm"])
                + (", true derivative" if ours[key]["batchnorm_rule"] == "exact" else ""),
            ),
            "L2 regularization, λ": lambda key: (
                printed(key, self.study["l2"].get(key, 0)),
                f"{ours[key]['L2']:g}",
            ),
            "Batch size": lambda key: (printed(key, 32), str(ours[key]["batch_size"])),
            "Epochs (the study counts from 0)": lambda key: (
                printed(key, counting["epochs"]),
                str(ours[key]["epochs"]),
            ),
            "Iterations (the study counts the next)": lambda key: (
                printed(key, f"{counting['iterations']:,}"),
                self._steps(key),
            ),
            "Train accuracy": lambda key: self._pair(key, "train_accuracy"),
            "Validation accuracy": lambda key: self._pair(key, "validation_accuracy"),
            "Test accuracy": lambda key: self._pair(key, "test_accuracy"),
            "Accuracy on MNIST's official test set": lambda key: self._pair(key, "official_accuracy"),
            "Training time (s), ours by the readable loop, from the timed steps": self._seconds,
            "Train final cost": lambda key: self._pair(key, "train_cost"),
            "Validation final cost": lambda key: self._pair(key, "validation_cost"),
        }
        return [(title, [cell(key) for key in ours]) for title, cell in rows.items()]

    def _pair(self, key: str, name: str) -> tuple[str, str]:
        """A published number and the mean of ours with its interval."""
        evidence = self.params.evidence
        values = self.tables[key][name].to_numpy()
        ours = mean_interval(values, evidence.confidence, evidence.resamples, evidence.seed)
        return measure(self.published.get(key, {}).get(name), name), interval(vars(ours), name)

    def _steps(self, key: str) -> str:
        """How many steps the replicas made: one number, or from the fewest to the most."""
        steps = self.tables[key]["steps"]
        return " to ".join(f"{count:,}" for count in sorted({steps.min(), steps.max()}))

    def _seconds(self, key: str) -> tuple[str, str]:
        if key not in self.timing:
            return NOT_THERE, NOT_THERE
        loop = self.timing[self.timing["code"] == "loop"]
        a_step = (loop[key] / loop["steps"]).median()
        return number(self.study["seconds"][key], 0), number(a_step * self.tables[key]["steps"].max(), 0)

    @cached_property
    def confusion(self) -> dict[str, np.ndarray]:
        return {
            key: confusion_matrix(
                *self.test, self.models[key].parameters, use_batchnorm=self.experiments[key]["use_batchnorm"]
            )
            for key in FOUR
        }

    @property
    def readings(self) -> pd.DataFrame:
        """What experiment 3, replica 0, reads each test image as: digit, guess."""
        return readings(*self.test, first(self.with_l2))

    @cached_property
    def mistakes(self) -> dict[str, Any]:
        return confident_mistakes(*self.test, first(self.with_l2), how_many=16)

    @property
    def networks(self) -> dict[str, Any]:
        """Replica 0 of each of the four experiments, for the page to play with."""
        return {
            key: (LABELS[key].text, first(self.models[key].parameters), self.experiments[key]["use_batchnorm"])
            for key in FOUR
        }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one record for each row."""
    return [dict(zip(table.columns.astype(str), row, strict=True)) for row in table.itertuples(index=False)]


def yes(value: bool) -> str:
    return "yes" if value else "no"


def first(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of replica 0 alone."""
    return {name: value[0] for name, value in parameters.items()}


def by_run(kind: str) -> dict[str, pd.DataFrame]:
    """run → its part of a kind of table, of all runs."""
    tables = pd.concat([pd.read_csv(path) for path in sorted(RUNS.glob(f"*/{kind}.csv"))])
    return {str(key): table.drop(columns="run").reset_index(drop=True) for key, table in tables.groupby("run")}
