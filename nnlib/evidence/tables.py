"""Verdicts, fidelity and gains as tables, one row for each thing to say."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from nnlib.evidence.claims import Measured, Published, Verdict, one_run_share
from nnlib.evidence.statistics import Interval, Values, median_interval, percentile, share_interval

# Measures that spread over orders of magnitude.
COSTS = ("train_cost", "validation_cost")


def claim_table(verdicts: Sequence[Verdict], measured: Measured, *, draws: int, seed: int) -> pd.DataFrame:
    """A row for each claim.

    Columns: the claim, who asks, its verdict, how its parts came out, what the study's own table says; how often a
    study of one run each would have come to it, of how many combinations or draws; the figure and the note.
    """
    rows = []
    for verdict in verdicts:
        claim = verdict.claim
        share, count = one_run_share(claim, measured, draws=draws, seed=seed)
        rows.append(
            {
                "claim": claim.id,
                "says": claim.says,
                "asked_by": claim.asked_by,
                "verdict": verdict.verdict,
                "parts": verdict.parts,
                "own_table": verdict.own_table,
                "one_run": share,
                "one_run_of": count,
                "figure": claim.figure,
                "note": claim.note,
            }
        )
    return pd.DataFrame(rows)


def comparison_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each comparison of each claim.

    Columns: the claim, the comparison, its region and margin; in how many of the replicas it held, the share with its
    interval, how many lay within the margin; the median with its interval; p, corrected over all tests; the verdict,
    how an undecided one leans, and how many replicas would decide it; the published number, its percentile among ours.
    """
    return pd.DataFrame(
        {
            "claim": verdict.claim.id,
            "comparison": str(finding.comparison),
            **{name: getattr(finding.comparison, name) for name in ("low", "high", "margin", "balanced")},
            **{name: getattr(finding, name) for name in ("replicas", "held", "within")},
            **_columns("share", finding.share),
            **_columns("median", finding.size),
            **{name: getattr(finding, name) for name in ("p", "corrected", "verdict", "leaning", "needed")},
            **{name: getattr(finding, name) for name in ("published", "percentile")},
        }
        for verdict in verdicts
        for finding in verdict.findings
    )


def fidelity_table(published: Published, measured: Measured, *, confidence: float) -> pd.DataFrame:
    """A row for each published number: our median with interval, our range, and where the number falls in it."""
    rows = []
    for run, measure, value, values in _numbers(published, measured):
        lowest, highest = (values.min(), values.max()) if len(values) else (np.nan, np.nan)
        rows.append(
            {"run": run, "measure": measure, "published": value}
            | _columns("median", median_interval(values, confidence))
            | {"lowest": lowest, "highest": highest, "percentile": percentile(value, values)}
            | {"inside": bool(lowest <= value <= highest)}
        )
    return pd.DataFrame(rows)


def baseline_table(published: Published, measured: Measured) -> pd.DataFrame:
    """How many of the published numbers lie in our range, beside how many of our own replicas' do.

    A row for the study and one for each replica k of ours: of the numbers that the study publishes, how many of the
    replica's lie in the range of the others. The study's are counted in the range of one replica less, too: the mean
    over all that can be left out. A replica that lacks a number, since it diverged, is left aside; a number that all
    lack, too.
    """
    numbers = [(run, measure, value) for run, measure, value, known in _numbers(published, measured) if len(known)]
    theirs = np.array([value for *_, value in numbers])
    ours = np.array([measured[run][measure] for run, measure, _ in numbers], dtype=float, ndmin=2)
    complete = np.flatnonzero(~np.isnan(ours).any(axis=0))
    others = {k: ours[:, complete[complete != k]] for k in complete}
    rows = [{"left_out": k, "inside": _in_range(ours[:, k], others[k])} for k in complete]
    study = np.mean([_in_range(theirs, others[k]) for k in complete]) if len(complete) else 0.0
    table = pd.DataFrame([{"left_out": "the study", "inside": study}, *rows])
    return table.assign(of=len(numbers) if len(complete) > 1 else 0)


def explanation_table(
    explanations: Sequence[Mapping[str, Any]],
    published: Published,
    measured: Measured,
    alternatives: Mapping[str, Measured],
) -> pd.DataFrame:
    """How well the study's numbers fit our runs as they are, and as an explanation of a misfit would have them.

    Parameters
    ----------
    explanations : records with an `id`, what it `says`, and either `instead`, which of our "run/measure" some published
        "run/measure" is explained by, or `alternative`, the name of measures that stand for ours of the same runs
    alternatives : such measures, by name

    Returns
    -------
    A row for each explanation: over the numbers that it speaks of, the log likelihood by the protocol and by the
    explanation, and their difference, above 0 where the explanation fits better. A number's likelihood is that of the
    next value after our replicas', a cost's on a logarithmic scale.
    """
    rows = []
    for explanation in explanations:
        stand_ins = _stand_ins(explanation, published, measured, alternatives)
        likelihoods = [
            [log_likelihood(value, values, logarithmic=measure in COSTS) for values in (ours, instead)]
            for measure, value, ours, instead in stand_ins
        ]
        protocol, instead = np.sum(likelihoods, axis=0) if likelihoods else (np.nan, np.nan)
        rows.append(
            {"explanation": explanation["id"], "says": explanation["says"], "numbers": len(stand_ins)}
            | {"protocol": protocol, "instead": instead, "gain": instead - protocol}
        )
    return pd.DataFrame(rows, columns=["explanation", "says", "numbers", "protocol", "instead", "gain"])


def _stand_ins(
    explanation: Mapping[str, Any], published: Published, measured: Measured, alternatives: Mapping[str, Measured]
) -> list[tuple[str, float, Values, Values]]:
    """Each published number that it speaks of: its measure and value, ours, and what stands for ours."""
    numbers = _numbers(published, measured)
    if "alternative" in explanation:
        others = alternatives[explanation["alternative"]]
        return [
            (measure, value, ours, _known(others, f"{run}/{measure}"))
            for run, measure, value, ours in numbers
            if run in others
        ]
    instead = explanation["instead"]
    return [
        (measure, value, ours, _known(measured, instead[f"{run}/{measure}"]))
        for run, measure, value, ours in numbers
        if f"{run}/{measure}" in instead
    ]


def log_likelihood(value: float, values: Values, *, logarithmic: bool = False) -> float:
    """The log density of a further value after these, if they are normal, or, above 0, their logarithms are.

    That is Student's t with n − 1 degrees of freedom around their mean, of scale s √(1 + 1/n): what remains of a normal
    distribution of unknown mean and variance (A. Gelman et al., *Bayesian Data Analysis* (2013), section 3.2).
    """
    n = len(values)
    if not n or not np.ptp(values):
        return np.nan
    if logarithmic:
        # The density of v is that of log v, divided by v.
        return log_likelihood(np.log(value), np.log(values)) - float(np.log(value))
    scale = values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(stats.t.logpdf(value, n - 1, values.mean(), scale))


FATES = UNDERTRAINED, COLLAPSED, GONE = "undertrained", "collapsed", "diverged"


def fates(runs: pd.DataFrame, measured: Measured, threshold: float) -> pd.DataFrame:
    """What became of each replica whose test accuracy is below a threshold.

    It is undertrained if the run has a longer one of the same settings in which the same replica passes the threshold,
    collapsed if not, diverged if it has no accuracy. `runs` has a row for each run, its name and its settings.

    Returns
    -------
    A row for each run, a column for each replica; empty for one that passes.
    """
    settings = [name for name in runs.columns if name not in ("run", "stage", "epochs")]
    rows = {}
    for _, alike in runs.groupby(settings, dropna=False):
        lifted: Any = False
        for run in alike.sort_values("epochs", ascending=False)["run"]:
            accuracy = np.asarray(measured[run]["test_accuracy"], dtype=float)
            low = np.where(lifted, UNDERTRAINED, COLLAPSED)
            rows[run] = np.select([np.isnan(accuracy), accuracy < threshold], [GONE, low], "")
            lifted = lifted | (accuracy >= threshold)
    return pd.DataFrame.from_dict({run: rows[run] for run in runs["run"]}, orient="index")


def low_table(runs: pd.DataFrame, measured: Measured, threshold: float) -> pd.DataFrame:
    """The `fates` counted: a row for each run that has any, with its name, replicas, and how many met each."""
    table = fates(runs, measured, threshold)
    counts = pd.DataFrame({fate: (table == fate).sum(axis=1) for fate in FATES})
    counts.insert(0, "replicas", len(table.columns))
    return counts[counts[list(FATES)].any(axis=1)].rename_axis("run").reset_index()


def epoch_gains(grid: pd.DataFrame, measured: Measured, *, confidence: float) -> pd.DataFrame:
    """What more epochs bring: for each batch size and L2 of the grid's runs, test accuracy at each number of epochs
    less that at the next smaller, replica by replica, with interval and the share of replicas that gained.

    `grid` has a row for each run: its name, `batch_size`, `L2` and `epochs`.
    """
    rows = []
    for (batch_size, l2), cells in grid.sort_values("epochs").groupby(["batch_size", "L2"]):
        for shorter, longer in itertools.pairwise(cells.to_dict("records")):
            gain = measured[longer["run"]]["test_accuracy"] - np.asarray(measured[shorter["run"]]["test_accuracy"])
            known = gain[~np.isnan(gain)]
            rows.append(
                {"batch_size": batch_size, "l2": l2, "from_epochs": shorter["epochs"], "to_epochs": longer["epochs"]}
                | _columns("median", median_interval(gain, confidence))
                | _columns("gained", share_interval(int((known > 0).sum()), len(known), confidence))
            )
    settings = ["batch_size", "l2", "from_epochs", "to_epochs"]
    columns = [name + end for name in ("median", "gained") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=settings + columns)


def by_run(tables: Iterable[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """run → its rows of tables that have a column `run`."""
    return {str(run): rows.drop(columns="run").reset_index(drop=True) for run, rows in pd.concat(tables).groupby("run")}


def measures(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """run → measure → one value for each replica, from a table for each run with a row for each replica."""
    return {run: {str(name): table[name].to_numpy() for name in table} for run, table in tables.items()}


def middle(values: ArrayLike) -> float:
    """The median, where a replica that diverged (NaN) is below all; −∞ if half or more did."""
    return float(np.median(np.nan_to_num(np.asarray(values), nan=-np.inf)))


def best_runs(keys: Sequence[str], measured: Measured) -> dict[str, dict[str, Any]]:
    """The run with the best median validation accuracy, which is how to choose, and the one that choosing on the test
    set itself, as the study did, would give; each with both its accuracies. A replica that diverged is below all."""

    def median(key: str, measure: str) -> float:
        return middle(measured[key][measure])

    choice = {name: max(keys, key=lambda key: median(key, f"{name}_accuracy")) for name in ("validation", "test")}
    return {
        name: {
            "run": key,
            "validation_accuracy": median(key, "validation_accuracy"),
            "test_accuracy": median(key, "test_accuracy"),
        }
        for name, key in choice.items()
    }


def _columns(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _numbers(published: Published, measured: Measured) -> list[tuple[str, str, float, Values]]:
    """Every published number of a run that we have, with ours that did not diverge."""
    return [
        (run, measure, value, _known(measured, f"{run}/{measure}"))
        for run, measures in published.items()
        if run in measured
        for measure, value in measures.items()
        if measure in measured[run]
    ]


def _known(measured: Measured, name: str) -> Values:
    run, _, measure = name.partition("/")
    values = np.asarray(measured.get(run, {}).get(measure, ()), dtype=float)
    return values[~np.isnan(values)]


def _in_range(numbers: Values, others: Values) -> int:
    """How many of the numbers lie in the range of the others, a row for each."""
    return int(((others.min(1) <= numbers) & (numbers <= others.max(1))).sum()) if others.size else 0
