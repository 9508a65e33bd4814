"""All that the pipeline has found, read back for the report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import yaml
from torch import Tensor

from nnlib import Run
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, read_json
from nnlib.evidence.anomaly import Implied, implied_weights
from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, readings
from nnlib.evidence.statistics import mean_interval
from nnlib.figures import EXPERIMENTS, label_of
from stages.common import (
    DATASET,
    EPOCHS,
    FIDELITY,
    MODELS,
    PUBLISHED,
    RUNS,
    TIMES,
    TIMING,
    VERDICTS_FILE,
    WEIGHT_DIFFERENCES,
    WEIGHT_TABLE,
    run_keys,
)
from stages.templating import interval, measure, number, percent

FOUR = tuple(EXPERIMENTS)[:4]


@dataclass(frozen=True)
class Results:
    """Tables by run, and what is made of them; nothing here is a number that a stage did not write."""

    params: Any
    study: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    curves: dict[str, pd.DataFrame]
    models: dict[str, Run]
    seconds: dict[str, float]
    verdicts: pd.DataFrame
    summary: dict[str, Any]
    fidelity: pd.DataFrame
    epochs: pd.DataFrame
    timing: pd.DataFrame
    weights: pd.DataFrame
    weight_differences: dict[str, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, params: Any) -> Results:
        keys = run_keys(params)
        return cls(
            params=params,
            study=yaml.safe_load(PUBLISHED.read_text(encoding="utf-8")),
            tables={key: pd.read_csv(RUNS / f"{key}.csv") for key in keys},
            curves={key: pd.read_csv(RUNS / f"{key}-costs.csv") for key in keys},
            models={
                key: Run.from_tensors(load_tensors(MODELS / f"{key}.safetensors")) for key in EXPERIMENTS if key in keys
            },
            seconds={key: read_json(TIMES / f"{key}.json")["seconds"] for key in keys},
            verdicts=pd.read_csv(VERDICTS_FILE),
            summary=read_json(VERDICTS_FILE.with_suffix(".json")),
            fidelity=pd.read_csv(FIDELITY),
            epochs=pd.read_csv(EPOCHS),
            timing=pd.read_csv(TIMING),
            weights=pd.read_csv(WEIGHT_TABLE),
            weight_differences=load_tensors(WEIGHT_DIFFERENCES),
            test=sets(load_tensors(DATASET))["test"],
        )

    @property
    def published(self) -> dict[str, dict[str, float]]:
        return self.study["published"]

    @cached_property
    def implied(self) -> Implied:
        """The study's two costs of experiment 2, solved for the weights."""
        costs = self.published["experiment-2"]
        return implied_weights(costs["train_cost"], costs["validation_cost"], L2=0.01, m_train=32, m_validation=9600)

    @property
    def without_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-1"].parameters

    @property
    def with_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-3"].parameters

    @property
    def claims(self) -> list[dict[str, Any]]:
        """One record for each claim: its verdict, and the comparison that it hangs on."""
        return [row for row in records(self.verdicts) if row["decisive"]]

    def numbers(self, prefix: str) -> list[dict[str, Any]]:
        """The published numbers of some runs, each with ours: rows of the fidelity table."""
        return [row for row in records(self.fidelity) if row["run"].startswith(prefix)]

    @property
    def run_results(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The study's table of run results, a row for each of its eleven rows: (published, ours) of each experiment.

        The official test set is a row of our own.
        """
        counting = self.study["counting"]
        rows = {
            "Batch norm": lambda key: (yes(uses_batchnorm(key)),) * 2,
            "L2 regularization, λ": lambda key: ("0.01", f"{self.params.l2:g}") if key[-1] in "23" else ("0", "0"),
            "Batch size": lambda key: ("32", str(self.params.batch_size)),
            "Epochs (the study counts from 0)": lambda key: (str(counting["epochs"]), str(self.params.epochs)),
            "Iterations (the study counts the next)": lambda key: (f"{counting['iterations']:,}", self._steps(key)),
            "Train accuracy": lambda key: self._pair(key, "train_accuracy"),
            "Validation accuracy": lambda key: self._pair(key, "validation_accuracy"),
            "Test accuracy": lambda key: self._pair(key, "test_accuracy"),
            "Accuracy on MNIST's official test set": lambda key: self._pair(key, "official_accuracy"),
            "Training time (s), ours for all replicas": lambda key: (
                number(self.published["timing"][key], 0),
                number(self.seconds[key], 0),
            ),
            "Train final cost": lambda key: self._pair(key, "train_cost"),
            "Validation final cost": lambda key: self._pair(key, "validation_cost"),
        }
        return [(title, [cell(key) for key in FOUR]) for title, cell in rows.items()]

    def _pair(self, key: str, name: str) -> tuple[str, str]:
        """A published number and the mean of ours with its interval."""
        evidence = self.params.evidence
        values = self.tables[key][name].to_numpy()
        ours = mean_interval(values, evidence.confidence, evidence.resamples, evidence.seed)
        return measure(self.published[key].get(name), name), interval(vars(ours), name)

    def _steps(self, key: str) -> str:
        """How many steps the replicas made: one number, or from the fewest to the most."""
        steps = self.tables[key]["steps"]
        return " to ".join(f"{count:,}" for count in sorted({steps.min(), steps.max()}))

    @property
    def collapsed(self) -> str:
        """The runs in which replicas fell below the threshold, and how many did."""
        counts = {key: count for key, count in self.summary["collapsed"].items() if count}
        return (
            ", ".join(f"{label_of(key)} ({count} of {self.params.replicas})" for key, count in counts.items()) or "none"
        )

    @property
    def answer(self) -> list[str]:
        """The report's five lines, every number from the results."""
        summary, one = self.summary, self.tables["experiment-1"]["test_accuracy"]
        published = [self.published[key]["test_accuracy"] for key in FOUR]
        squares = {key: number(float(self.tables[key]["sum_squared_weights"].median()), 0) for key in EXPERIMENTS}
        best = summary["best"]["by_validation"]
        named = {
            verdict: ", ".join(claim["claim"] for claim in self.claims if claim["verdict"] == verdict) or "none"
            for verdict in ("supported", "contradicted", "undecided")
        }
        return [
            f"Of the study's {len(self.claims)} claims, {summary['supported']} are supported by "
            f"{self.params.replicas} networks in every configuration, {summary['contradicted']} contradicted, "
            f"{summary['undecided']} undecided.",
            f"Supported: {named['supported']}. Contradicted: {named['contradicted']}.",
            f"The seed alone moves experiment 1's test accuracy from {percent(one.min())} to {percent(one.max())}; "
            f"the study's four experiments lie between {percent(min(published))} and {percent(max(published))}. "
            f"{summary['published_inside']} of the study's {summary['published']} numbers fall within our range.",
            f"The training cost of 263,576.84 implies Σ W² = {number(self.implied.sum_squared_weights)}. Ours reaches "
            f"{squares['experiment-2']} in experiment 2 and {squares['experiment-4']} in experiment 4, which has no L2 "
            f"to show it; with batch norm's true derivative it is {squares['experiment-2-exact']} and "
            f"{squares['experiment-4-exact']} (medians).",
            f"Chosen on validation accuracy, the best cell is {label_of(best['cell'])}; its test accuracy is "
            f"{percent(best['test_accuracy'])}. The study chose on the test set.",
        ]

    @cached_property
    def confusion(self) -> dict[str, np.ndarray]:
        return {
            key: confusion_matrix(*self.test, self.models[key].parameters, use_batchnorm=uses_batchnorm(key))
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
        return {key: (EXPERIMENTS[key][0], first(self.models[key].parameters), uses_batchnorm(key)) for key in FOUR}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one record for each row."""
    return [dict(zip(table.columns.astype(str), row, strict=True)) for row in table.itertuples(index=False)]


def yes(value: bool) -> str:
    return "yes" if value else "no"


def uses_batchnorm(key: str) -> bool:
    """Experiments 2 and 4, and their variants."""
    return key.removeprefix("experiment-")[0] in "24"


def first(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of replica 0 alone."""
    return {name: value[0] for name, value in parameters.items()}
