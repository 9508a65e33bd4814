"""How near our runs are to the published ones: where their numbers fall among ours, and what would fit them better."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nnlib.evidence.claims import Measured, number
from nnlib.evidence.statistics import Values, known, median_interval, middle, percentile
from nnlib.evidence.study import Explanation, measure
from nnlib.evidence.tables import columns

# An experiment is called not reproduced if the probability that so few of its numbers lie in our range is below this.
NOT_REPRODUCED = 0.01
# The gain in log likelihood above which the summary mentions an explanation.
LARGE_GAIN = 20.0


def published_numbers(published: Measured, measured: Measured) -> list[tuple[str, str, float, Values]]:
    """Every published number of a run that we have: (run, measure, value, ours of each replica); one that diverged is
    NaN."""
    found = []
    for run, numbers in published.items():
        for name, value in numbers.items():
            try:
                ours = number(measured, f"{run}/{name}")
            except LookupError:
                continue
            if len(known(ours)):
                found.append((run, name, float(value), ours))
    return found


def fidelity_table(
    published: Measured, measured: Measured, *, confidence: float, chose_protocol: Sequence[str] = ()
) -> pd.DataFrame:
    """A row for each published number: our median with its interval, between which values our middle 90 % lie, our
    lowest and highest, where the number falls among ours, and whether it helped to recover the protocol.

    Replicas that diverged are left out.
    """
    rows = []
    for run, name, value, ours in published_numbers(published, measured):
        ours = known(ours)
        low, high = middle(ours)
        rows.append(
            {"run": run, "measure": name, "published": value}
            | columns("median", median_interval(ours, confidence))
            | {"middle_low": low, "middle_high": high, "lowest": ours.min(), "highest": ours.max()}
            | {"percentile": percentile(value, ours), "inside": bool(ours.min() <= value <= ours.max())}
            | {"chose_protocol": f"{run}/{name}" in chose_protocol}
        )
    return pd.DataFrame(rows)


def baseline_table(published: Measured, measured: Measured, chose_protocol: Sequence[str] = ()) -> pd.DataFrame:
    """How many published numbers lie in our range, and how many would if the study differed from ours in its seeds
    alone.

    Such a study is one replica of each run, each with a seed of its own as the published runs have: its numbers are
    held against the range of the other replicas. All such studies are counted. Numbers that helped to recover the
    protocol are left out, since they cannot speak against it; so are replicas that lack a number of their run, and runs
    with fewer than two left.

    Returns
    -------
    A row for all numbers and one for each run: how many numbers there are, how many published ones lie inside; of the
    studies that differ in nothing the mean and standard deviation of that count, and the probability that it is no
    higher than the published one.
    """
    rows: list[dict[str, Any]] = []
    all_numbers, all_inside, all_probabilities = 0, 0, np.ones(1)
    for run, found in itertools.groupby(published_numbers(published, measured), key=lambda row: row[0]):
        kept = [(value, ours) for _, name, value, ours in found if f"{run}/{name}" not in chose_protocol]
        if not kept:
            continue
        ours = np.array([values for _, values in kept])
        ours = ours[:, ~np.isnan(ours).any(0)]
        if ours.shape[1] < 2:
            continue
        ordered = np.sort(ours, axis=1)
        values = np.array([[value] for value, _ in kept])
        inside = int(((ordered[:, :1] <= values) & (values <= ordered[:, -1:])).sum())
        # A replica is outside the others' range where it alone is the lowest or the highest.
        outside = (ours < ordered[:, 1:2]) | (ours > ordered[:, -2:-1])
        probabilities = np.bincount((~outside).sum(0), minlength=len(kept) + 1) / ours.shape[1]
        rows.append(_baseline_row(run, len(kept), inside, probabilities))
        all_numbers, all_inside = all_numbers + len(kept), all_inside + inside
        all_probabilities = np.convolve(all_probabilities, probabilities)
    if rows:
        rows.insert(0, _baseline_row("all", all_numbers, all_inside, all_probabilities))
    return pd.DataFrame(rows, columns=["run", "numbers", "inside", "expected", "deviation", "probability"])


def _baseline_row(run: str, numbers: int, inside: int, probabilities: Values) -> dict[str, Any]:
    """`probabilities` of 0, 1, ... numbers inside, for a study that differs in nothing."""
    counts = np.arange(len(probabilities))
    expected = probabilities @ counts
    return {
        "run": run,
        "numbers": numbers,
        "inside": inside,
        "expected": expected,
        "deviation": np.sqrt(probabilities @ (counts - expected) ** 2),
        "probability": probabilities[: inside + 1].sum(),
    }


def explanation_table(
    explanations: Sequence[Explanation], published: Measured, measured: Measured, changed: Mapping[str, Measured]
) -> pd.DataFrame:
    """How well the published numbers fit our runs as they are, and as an explanation of a misfit would have them.

    A row for each explanation and run of which it changes numbers, and one for each explanation over all runs: how
    many numbers, the log likelihood by the protocol and by the explanation, and their difference, above 0 where the
    explanation fits better. Both are of equally many replicas. A number's likelihood is that of the next value after
    our replicas', a cost's on a logarithmic scale.

    Parameters
    ----------
    changed : for each change of the protocol, by its name, the measures of the runs trained with it
    """
    rows = []
    for explanation in explanations:
        of_runs: dict[str, list[tuple[float, float]]] = {}
        for run, name, value, ours in published_numbers(published, measured):
            instead = _instead(explanation, run, name, measured, changed)
            if not len(instead):
                continue
            found = measure(name)
            logarithmic = found is not None and found.kind == "cost"
            fewest = min(len(known(ours)), len(instead))
            both = [
                log_likelihood(value, values[:fewest], logarithmic=logarithmic) for values in (known(ours), instead)
            ]
            of_runs.setdefault(run, []).append((both[0], both[1]))
        everything = [pair for pairs in of_runs.values() for pair in pairs]
        for run, pairs in ({"all": everything} | of_runs).items():
            protocol, other = np.sum(pairs, axis=0) if pairs else (np.nan, np.nan)
            rows.append(
                {"explanation": explanation.id, "run": run, "numbers": len(pairs)}
                | {"protocol": protocol, "instead": other, "gain": other - protocol}
            )
    return pd.DataFrame(rows, columns=["explanation", "run", "numbers", "protocol", "instead", "gain"])


def _instead(
    explanation: Explanation, run: str, name: str, measured: Measured, changed: Mapping[str, Measured]
) -> Values:
    """What stands for our values by the explanation, those of replicas that diverged left out; none where it says
    nothing of them."""
    source, key = measured, f"{run}/{name}"
    if explanation.change:
        source = changed.get(explanation.change, {})
    elif name in explanation.measured:
        key = f"{run}/{explanation.measured[name]}"
    elif key in explanation.instead:
        key = explanation.instead[key]
    else:
        return np.empty(0)
    try:
        return known(number(source, key))
    except LookupError:
        return np.empty(0)


def log_likelihood(value: float, values: Values, *, logarithmic: bool = False) -> float:
    """The log density of one more value after these, if they are normal, or with `logarithmic` log-normal; NaN for
    fewer than two values, and for equal ones.

    That is Student's t with n − 1 degrees of freedom around their mean, of scale s √(1 + 1/n): what remains of a normal
    distribution of unknown mean and variance (A. Gelman et al., *Bayesian Data Analysis* (2013), section 3.2).
    """
    n = len(values)
    if n < 2 or not np.ptp(values) or (logarithmic and not (value > 0 and values.min() > 0)):
        return np.nan
    if logarithmic:
        # The density of v is that of log v, divided by v.
        return log_likelihood(np.log(value), np.log(values)) - float(np.log(value))
    scale = values.std(ddof=1) * np.sqrt(1 + 1 / n)
    return float(stats.t.logpdf(value, n - 1, values.mean(), scale))


def implied_weights(
    train_cost: float, validation_cost: float, L2: float, m_train: int, m_validation: int
) -> tuple[float, float]:
    """Solve the two costs of one run for Σ W² and the cross-entropy h, taken to be the same in both:

        train_cost      = h + λ / (2 m_train)      Σ W²
        validation_cost = h + λ / (2 m_validation) Σ W²

    A difference in h between the two hardly moves Σ W² if it is small beside the difference of the costs.

    Returns
    -------
    (Σ W² over all layers, h)
    """
    squares = (train_cost - validation_cost) / (L2 / 2 * (1 / m_train - 1 / m_validation))
    return squares, validation_cost - L2 / (2 * m_validation) * squares


def crossed_variance(values: Any) -> dict[str, float]:
    """Of the variance of a number over seeds, which shares are the initial weights', the shuffle's and their
    interaction's.

    The components of a two-way layout with one value in each cell (random effects; H. Scheffé, *The Analysis of
    Variance* (1959), section 7.4); one that is estimated below 0 counts as 0.

    Parameters
    ----------
    values : (initial weights, shuffles), one value for each combination, at least two of each

    Returns
    -------
    weights, shuffle, interaction : shares that add up to 1
    deviation : the standard deviation of all three together, in the unit of the values
    """
    values = np.asarray(values, dtype=float)
    rows, columns_ = values.shape
    by_row, by_column, mean = values.mean(1), values.mean(0), values.mean()
    residual = values - by_row[:, None] - by_column[None] + mean
    interaction = (residual**2).sum() / ((rows - 1) * (columns_ - 1))
    weights = max(0.0, by_row.var(ddof=1) - interaction / columns_)
    shuffle = max(0.0, by_column.var(ddof=1) - interaction / rows)
    total = weights + shuffle + interaction
    return {
        "weights": float(weights / total),
        "shuffle": float(shuffle / total),
        "interaction": float(interaction / total),
        "deviation": float(np.sqrt(total)),
    }
