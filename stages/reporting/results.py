"""All that the pipeline has found, read back for the report."""

from __future__ import annotations

from collections import Counter
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
from nnlib.evidence.claims import CONTRADICTED, SUPPORTED, said
from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, readings, weight_changes
from nnlib.evidence.statistics import fewest_successes, median_interval, share_found
from nnlib.evidence.tables import FATES, best_runs, by_run, fates, measures
from stages.common import (
    BASELINE,
    CLAIMS,
    COMPARISONS,
    DATASET,
    EPOCHS,
    EXPLANATIONS,
    FIDELITY,
    GRID,
    LOW,
    MODELS,
    PUBLISHED,
    TIMING,
    WEIGHT_DIFFERENCES,
    WEIGHT_TABLE,
    run_folders,
)
from stages.parameters import Parameters, read_yaml
from stages.reporting.formats import NOT_THERE, interval, measure, number, percent
from stages.reporting.labels import LABELS, cell_label

# The experiments whose models the report looks into.
FOUR = ("experiment-1", "experiment-2", "experiment-3", "experiment-4")
# The one whose readings of the test set are shown.
READER = "experiment-3"
# The bug in one pair: what each does with batch norm's derivative.
PAIR = {"experiment-2": "derivative left out", "experiment-2-exact": "true derivative"}
# Whose networks the page lets a visitor play with, and how many seeds of each: the study's, and one without its bug.
PLAYED = (*FOUR, "experiment-2-exact")
SEEDS_PLAYED = 3


@dataclass(frozen=True)
class Findings:
    """What the tables in git say, which every clone has."""

    params: Parameters
    study: dict[str, Any]
    runs: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    claims: pd.DataFrame
    comparisons: pd.DataFrame
    fidelity: pd.DataFrame
    baseline: pd.DataFrame
    explanations: pd.DataFrame
    low: pd.DataFrame

    @staticmethod
    def read(params: Parameters) -> dict[str, Any]:
        runs = [pd.read_csv(folder / "runs.csv").assign(stage=folder.name) for folder in run_folders()]
        return {
            "params": params,
            "study": read_yaml(PUBLISHED),
            "runs": pd.concat(runs),
            "tables": by_run(tables_of("replicas")),
            "claims": pd.read_csv(CLAIMS, keep_default_na=False, na_values={"one_run": [""]}),
            "comparisons": pd.read_csv(COMPARISONS),
            "fidelity": pd.read_csv(FIDELITY),
            "baseline": pd.read_csv(BASELINE),
            "explanations": pd.read_csv(EXPLANATIONS),
            "low": pd.read_csv(LOW),
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
        return measures(self.tables)

    @property
    def published(self) -> dict[str, dict[str, float]]:
        return self.study["published"]

    @property
    def single_runs(self) -> dict[str, list[float]]:
        """The study's experiments, each with the test accuracy of every replica, as the run that a study might make."""
        return {key: self.tables[key]["test_accuracy"].tolist() for key in FOUR if key in self.experiments}

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
        """What became of each replica of `by_seed` that is below the threshold; empty for all others."""
        runs = self.runs.drop(columns="stage")
        return fates(runs, self.measured, self.params.evidence.collapsed_below).loc[self.by_seed.index]

    @property
    def tests(self) -> int:
        """How many tests were corrected together: one for each comparison that was tested, one for each margin."""
        tested = self.comparisons[self.comparisons["replicas"] > 0]
        return len(tested) + int(tested["margin"].notna().sum())

    @property
    def reach(self) -> dict[str, float]:
        """What so many replicas can decide: in how many a comparison must hold, if it is the first of all the tests
        that Holm's method tries and if it is the last, and from which true share on each is found."""
        level = 1 - self.params.evidence.confidence
        levels = {"first": level / max(1, self.tests), "last": level}
        n = self.params.replicas
        fewest = {f"{name}_held": int(fewest_successes(n, one)) for name, one in levels.items()}
        return fewest | {f"{name}_share": share_found(n, one) for name, one in levels.items()}

    @staticmethod
    def records(table: pd.DataFrame) -> list[dict[str, Any]]:
        return records(table)

    def asked_by(self, who: str) -> list[dict[str, Any]]:
        """The study's claims, or its readers', each a record with its comparisons."""
        return [
            claim | {"comparisons": records(self.comparisons[self.comparisons["claim"] == claim["claim"]])}
            for claim in records(self.claims[self.claims["asked_by"] == who])
        ]

    @property
    def one_run_shares(self) -> list[tuple[str, float]]:
        """The study's claims, each with how often a study of one run each would have come to it."""
        return [(claim["says"], claim["one_run"]) for claim in self.asked_by("study") if claim["one_run_of"]]

    def claim(self, key: str) -> dict[str, Any]:
        """The record of one claim, empty if there is no such claim."""
        return next(iter(records(self.claims[self.claims["claim"] == key])), {})

    def comparison(self, text: str) -> dict[str, Any]:
        """The record of the first comparison that reads so, empty if there is none that was tested."""
        found = self.comparisons[(self.comparisons["comparison"] == text) & (self.comparisons["replicas"] > 0)]
        return next(iter(records(found)), {})

    def numbers(self, runs: Iterable[str]) -> list[dict[str, Any]]:
        """The published numbers of some runs, each with ours: rows of the fidelity table."""
        wanted = set(runs)
        return [row for row in records(self.fidelity) if row["run"] in wanted]

    @property
    def low_replicas(self) -> str:
        """The runs in which replicas fell below the threshold or diverged, and how many did."""
        return "; ".join(
            f"{self.labels[row['run']]} ("
            + ", ".join(f"{row[word]} {word}" for word in FATES if row[word])
            + f" of {row['replicas']})"
            for row in records(self.low)
        )

    @property
    def words(self) -> dict[str, int]:
        """Verdict → on how many of the study's claims."""
        return dict(Counter(claim["verdict"] for claim in self.asked_by("study")))

    @property
    def baseline_share(self) -> tuple[float, float, int]:
        """Of the study's numbers, and on average of those of a replica of ours, how many lie in the range of the
        others; and of how many."""
        study, *ours = records(self.baseline)
        return study["inside"], float(np.mean([row["inside"] for row in ours])), study["of"]

    @property
    def answer(self) -> list[str]:
        """What was found, in sentences for someone who never saw the study, every number from the results."""
        claims = self.asked_by("study")
        one = self.tables["experiment-1"]["test_accuracy"]
        published = [self.published[key]["test_accuracy"] for key in FOUR]
        lines = [
            f"The study drew {len(claims)} conclusions from one run each. Judged by {self.params.replicas} "
            f"run{'s' if self.params.replicas > 1 else ''} each: {said(Counter(self.words))}."
        ]
        best = self.claim("batchnorm-l2-best")
        if best and best["one_run_of"]:
            lines.append(
                "A single run fools you. "
                + (
                    f"The seed alone moves the test accuracy of experiment 1 from {percent(one.min())} to "
                    f"{percent(one.max())}; the study's four experiments lie between {percent(min(published))} and "
                    f"{percent(max(published))}. "
                    if one.min() < one.max()
                    else ""
                )
                + f"Its winner, batch norm with L2, wins in {percent(best['one_run'], 0)} of all such studies."
            )
        change = self.bug_changes("test_accuracy")
        if len(change):
            word, verb, side = ("loss", "loses", -1) if change.median() < 0 else ("gain", "gains", 1)
            exploded, sound = (self.last(f"experiment-{key}", "sum_squared_weights") for key in ("2", "2-exact"))
            cost = self.last("experiment-2", "train_cost")
            lines.append(
                "Its batch norm has a bug: the backward pass leaves out the derivative. The squares of the weights "
                f"then add up to {number(exploded)}, not {number(sound, 0)}, "
                f"and make a training cost of {number(cost)} (the study: 263,576.84); the test accuracy {verb} "
                f"{number(100 * abs(change.median()), 2)} points (median; "
                f"a {word} in {(side * change > 0).sum()} of {len(change)} seed{'s' if len(change) > 1 else ''})."
            )
        for verdict, title in ((SUPPORTED, "What held"), (CONTRADICTED, "What did not")):
            named = [claim["says"] for claim in claims if claim["verdict"] == verdict]
            if named:
                lines.append(f"{title}: {'; '.join(f'“{name}”' for name in named)}.")
        cells = best_runs(list(self.grid["run"]), self.measured)
        if len(self.grid) and cells["validation"]["test_accuracy"] > 0:
            lines.append(
                f"Chosen on validation, the best cell of the grid is {self.labels[cells['validation']['run']]}; its "
                f"test accuracy is {percent(cells['validation']['test_accuracy'])}. The study chose on the test set."
            )
        study, ours, of = self.baseline_share
        if of:
            lines.append(
                f"The protocol was recovered from the study's numbers: of {of}, {number(study, 1)} lie on average "
                f"within the range of all our replicas but one; of the numbers of that one, {number(ours, 1)} do."
            )
        return lines

    def bug_changes(self, measure: str) -> pd.Series:
        """What leaving the derivative out changes in a measure, of each replica that diverged neither way."""
        if not PAIR.keys() <= self.experiments.keys():
            return pd.Series(dtype=float)
        broken, sound = (self.tables[run][measure] for run in PAIR)
        return (broken - sound).dropna()

    def last(self, run: str, measure: str) -> float:
        """The median of a measure over the replicas that did not diverge; NaN if all did."""
        table = self.tables[run]
        return float(table.loc[table["diverged_at"] == 0, measure].median())


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
        paths = {key: MODELS / key / f"{key}.safetensors" for key in PLAYED}
        networks = {key: load_tensors(path) for key, path in paths.items() if key in FOUR or path.exists()}
        return cls(
            **cls.read(params),
            curves=by_run(tables_of("curves")),
            models={key: Run.from_tensors(tensors) for key, tensors in networks.items()},
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
    def layers(self) -> list[str]:
        """W1 to WL."""
        return [name for name in self.without_l2 if name[0] == "W"]

    @cached_property
    def replica(self) -> int | None:
        """The replica whose weights are shown: the first that diverged neither without L2 nor with it."""
        alive = [self.tables[key]["diverged_at"] == 0 for key in ("experiment-1", "experiment-3")]
        both = np.flatnonzero(np.logical_and.reduce(alive))
        return int(both[0]) if len(both) else None

    @property
    def seed_shown(self) -> int:
        """The seed of the replica that is shown."""
        return self.params.seed + (self.replica or 0)

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
        return float(self.weights[self.weights["layer"] == layer][f"std_{kind}"].mean())

    def mean_difference(self, layer: str) -> pd.Series:
        """The mean of W − W with L2 of a layer, replica by replica."""
        return self.weights[self.weights["layer"] == layer]["mean_difference"]

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
        """(pixels,) True where no training image has ink."""
        return (self.train[0] == 0).all(1).numpy()

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
        """A published number and the median of ours with its interval."""
        ours = median_interval(self.tables[key][name].to_numpy(), self.params.evidence.confidence)
        row = {"median": ours.estimate, "median_low": ours.low, "median_high": ours.high}
        return measure(self.published.get(key, {}).get(name), name), interval(row, name)

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

    @cached_property
    def shares_read(self) -> dict[str, np.ndarray]:
        """The same as shares of each digit's images; all 0 for a digit that the test set lacks."""
        return {key: matrix / np.maximum(matrix.sum(1, keepdims=True), 1) for key, matrix in self.confusion.items()}

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
    def seeds_played(self) -> list[int]:
        """The first seeds, whose networks the page lets a visitor play with."""
        return [self.params.seed + k for k in range(min(SEEDS_PLAYED, self.params.replicas))]

    @property
    def networks(self) -> dict[str, Any]:
        """run → what it is called, its network of each of those seeds, None if it diverged, and whether it has batch
        norm."""
        return {
            key: (LABELS[key].text, self._played(self.models[key]), self.experiments[key]["use_batchnorm"])
            for key in PLAYED
            if key in self.models and key in self.experiments
        }

    def _played(self, run: Run) -> list[dict[str, Tensor] | None]:
        replicas = range(len(self.seeds_played))
        return [None if run.diverged_at[replica] else one(run.parameters, replica) for replica in replicas]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one record for each row."""
    return [dict(zip(table.columns.astype(str), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def yes(value: bool) -> str:
    return "yes" if value else "no"


def one(parameters: dict[str, Tensor], replica: int) -> dict[str, Tensor]:
    """The parameters of one replica alone."""
    return {name: value[replica] for name, value in parameters.items()}


def tables_of(kind: str) -> list[pd.DataFrame]:
    return [pd.read_csv(folder / f"{kind}.csv") for folder in run_folders()]
