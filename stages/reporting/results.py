"""All that the pipeline has found, read back for the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from nnlib import Run
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors
from nnlib.evidence.anomaly import Implied, implied_weights
from nnlib.evidence.claims import VERDICTS
from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, readings, weight_changes
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
# The one whose readings of the test set are shown.
READER = "experiment-3"


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

    def printed(self, run: str, measure: str) -> float | None:
        """What the study printed of a run, if it did."""
        return self.published.get(run, {}).get(measure)

    def printed_difference(self, run: str, other: str, measure: str, other_measure: str | None = None) -> float | None:
        """One printed number less another, if the study printed both."""
        pair = self.printed(run, measure), self.printed(other, other_measure or measure)
        return None if pair[0] is None or pair[1] is None else pair[0] - pair[1]

    def gap(self, run: str) -> pd.Series:
        """Training minus validation accuracy, replica by replica."""
        return self.tables[run]["train_accuracy"] - self.tables[run]["validation_accuracy"]

    def printed_gap(self, run: str) -> float | None:
        return self.printed_difference(run, run, "train_accuracy", "validation_accuracy")

    def region(self, claim: str) -> tuple[float, float] | None:
        """Between which two values the first comparison of a claim must lie, if there are such a claim and values."""
        comparisons = [found["comparisons"][0] for found in self.study["claims"] if found["id"] == claim]
        closed = [one for one in comparisons if {"low", "high"} <= one.keys()]
        return (closed[0]["low"], closed[0]["high"]) if closed else None

    @cached_property
    def by_seed(self) -> pd.DataFrame:
        """Test accuracy, a row for each configuration, a column for each seed."""
        return pd.DataFrame({key: self.tables[key].set_index("seed")["test_accuracy"] for key in self.labels}).T

    @cached_property
    def failures(self) -> pd.DataFrame:
        """What became of each replica of `by_seed`: diverged; collapsed, if its test accuracy is below the threshold;
        undertrained, if a longer run of the same network is above it; else nothing."""
        limit, values = self.params.evidence.collapsed_below, self.by_seed
        marks = pd.DataFrame("", index=values.index, columns=values.columns, dtype=object)
        marks[values.isna()] = "diverged"
        marks[values < limit] = "collapsed"
        for _, cells in self.grid.sort_values("epochs").groupby(["batch_size", "L2"]):
            for shorter, longer in itertools.combinations(cells["run"], 2):
                rises = (values.loc[shorter] < limit) & (values.loc[longer] >= limit)
                marks.loc[shorter, rises] = "undertrained"
        return marks

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
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, params: Parameters) -> Results:
        return cls(
            **cls.read(params),
            curves=by_run("curves"),
            models={key: Run.from_tensors(load_tensors(MODELS / key / f"{key}.safetensors")) for key in FOUR},
            epochs=pd.read_csv(EPOCHS),
            timing=pd.read_csv(TIMING),
            weights=pd.read_csv(WEIGHT_TABLE),
            weight_differences=load_tensors(WEIGHT_DIFFERENCES),
            test=sets(load_tensors(DATASET))["test"],
        )

    @property
    def without_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-1"].parameters

    @property
    def with_l2(self) -> dict[str, Tensor]:
        return self.models["experiment-3"].parameters

    @property
    def layers(self) -> list[str]:
        """W1 to WL."""
        return [name for name in self.without_l2 if name[0] == "W"]

    @cached_property
    def replica(self) -> int | None:
        """The replica whose weights are shown: the first that diverged in none of the four experiments."""
        alive = [self.tables[key]["diverged_at"] == 0 for key in FOUR]
        both = np.flatnonzero(np.logical_and.reduce(alive))
        return int(both[0]) if len(both) else None

    @property
    def seed_shown(self) -> int:
        """The seed of the replica that is shown."""
        return self.params.seed + (self.replica or 0)

    def last(self, run: str, measure: str) -> float:
        """The median of a measure over the replicas that did not diverge; NaN if all did."""
        table = self.tables[run]
        return float(table.loc[table["diverged_at"] == 0, measure].median())

    @cached_property
    def longest_cells(self) -> pd.DataFrame:
        """The grid's cells of the most epochs."""
        return self.grid[self.grid["epochs"] == self.grid["epochs"].max()]

    @staticmethod
    def steps_of_an_epoch(cell: Mapping[Any, Any]) -> int:
        return -(-cell["train_examples"] // cell["batch_size"])

    @cached_property
    def exploded(self) -> set[str]:
        """The experiments with a cost of a hundred and more."""
        costs = [f"{name}_high" for name in ("train_cost", "validation_cost")]
        return {key for key in self.experiments if np.nanmax(self.curves[key][costs].to_numpy(), initial=0) >= 100}

    @cached_property
    def slower(self) -> dict[str, pd.Series]:
        """code → what batch norm adds to the time, experiment 4 over 1 less one, round by round."""
        ratio = self.timing["experiment-4"] / self.timing["experiment-1"] - 1
        return {code: ratio[self.timing["code"] == code].dropna() for code in ("loop", "engine")}

    def spread(self, layer: str, kind: str) -> float:
        """The mean standard deviation of a layer's weights, `with` or `without` L2."""
        rows = self.weights[self.weights["layer"] == layer][f"std_{kind}"]
        return float(rows.replace([np.inf, -np.inf], np.nan).mean())

    def mean_difference(self, layer: str) -> pd.Series:
        """The mean of W − W with L2 of a layer, replica by replica."""
        rows = self.weights[self.weights["layer"] == layer]["mean_difference"]
        return rows.replace([np.inf, -np.inf], np.nan)

    @cached_property
    def first_layer_changes(self) -> dict[str, Tensor]:
        """What training changed in W1 of the replica that is shown, without and with L2."""
        if self.replica is None:
            return {}
        rule = self.experiments[READER]["rule"]
        pair = {"without L2": self.without_l2, "with L2": self.with_l2}
        return {
            title: weight_changes(one(weights, self.replica), rule=rule, seed=self.seed_shown)["W1"]
            for title, weights in pair.items()
        }

    @cached_property
    def never_inked(self) -> NDArray[np.bool_]:
        """(pixels,) True where no image of the test set has ink."""
        return (self.test[0] == 0).all(1).numpy()

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
        """run → its confusion matrix, mean over the replicas that did not diverge."""
        matrices = {}
        for key in FOUR:
            alive = self.models[key].diverged_at == 0
            if alive.any():
                networks = {name: value[alive] for name, value in self.models[key].parameters.items()}
                batchnorm = self.experiments[key]["use_batchnorm"]
                matrices[key] = confusion_matrix(*self.test, networks, use_batchnorm=batchnorm)
        return matrices

    @property
    def readings(self) -> pd.DataFrame:
        """What experiment 3, the replica that is shown, reads each test image as: digit, guess."""
        return readings(*self.test, one(self.with_l2, self.replica or 0))

    @cached_property
    def mistakes(self) -> dict[str, Any]:
        """Of the replica that is shown, in experiment 3."""
        network = one(self.with_l2, self.replica or 0)
        return confident_mistakes(*self.test, network, how_many=16 if self.replica is not None else 0)

    @property
    def networks(self) -> dict[str, Any]:
        """Replica 0 of each of the four experiments, for the page to play with."""
        return {
            key: (LABELS[key].text, one(self.models[key].parameters, 0), self.experiments[key]["use_batchnorm"])
            for key in FOUR
        }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one record for each row."""
    return [dict(zip(table.columns.astype(str), row, strict=True)) for row in table.itertuples(index=False)]


def yes(value: bool) -> str:
    return "yes" if value else "no"


def one(parameters: dict[str, Tensor], replica: int) -> dict[str, Tensor]:
    """The parameters of one replica alone."""
    return {name: value[replica] for name, value in parameters.items()}


def by_run(kind: str) -> dict[str, pd.DataFrame]:
    """run → its part of a kind of table, of all runs."""
    tables = pd.concat([pd.read_csv(path) for path in sorted(RUNS.glob(f"*/{kind}.csv"))])
    return {str(key): table.drop(columns="run").reset_index(drop=True) for key, table in tables.groupby("run")}
