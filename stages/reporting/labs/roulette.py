"""What studies of n runs of each experiment would name as the best."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np


class Experiment(NamedTuple):
    """One row of the lab.

    accuracies : of each replica, NaN for one that diverged
    published : the study's own run, if it is marked
    """

    label: str
    colour: str
    accuracies: Sequence[float]
    published: float | None = None


def roulette_data(
    experiments: Mapping[str, Experiment],
    others: Mapping[str, str] | None = None,
    *,
    most_runs: int = 30,
    draws: int = 10_000,
) -> dict[str, Any]:
    """A record for JSON that `templates/labs/roulette.html.j2` shows.

    A study of n runs draws n replicas of each experiment, with replacement, and names the experiment with the highest
    mean. A replica that diverged does not enter the mean; an experiment all of whose replicas diverged is never best.

    Parameters
    ----------
    experiments : key → what it is called, its colour (for CSS), its accuracies
    others : what other published studies are called → the key of the experiment that each names as the best
    most_runs : n goes from 1 to it
    draws : studies drawn for each n above 1, from a fixed seed; n = 1 is counted exactly

    Returns
    -------
    experiments : a list, in the order given, of key, label, colour, accuracies (None for a replica that diverged), and
        published
    best : the key with the highest mean of all replicas, or None where there is none or not one alone
    studies : for n = 1, 2, ... the share of studies that name each experiment, in the order given; what they add up to
        falls short of 1 by ties and by studies in which all diverged
    combinations : in how many ways one replica of each can be drawn
    others : a list of [label, key]
    """
    accuracies = {key: np.array(one.accuracies, dtype=float) for key, one in experiments.items()}
    combinations = prod(map(len, accuracies.values()))
    shares = [[wins / combinations for wins in _wins(list(accuracies.values()))]]
    shares += [_drawn(list(accuracies.values()), runs, draws) for runs in range(2, most_runs + 1)]
    return {
        "experiments": [
            {
                "key": key,
                "label": one.label,
                "colour": one.colour,
                "accuracies": [float(value) if isfinite(value) else None for value in one.accuracies],
                "published": one.published,
            }
            for key, one in experiments.items()
        ],
        "best": _best(accuracies),
        "studies": [[round(share, 4) for share in row] for row in shares],
        "combinations": combinations,
        "others": [list(other) for other in (others or {}).items()],
    }


def _wins(tables: Sequence[np.ndarray]) -> list[int]:
    """Of all combinations of one replica of each, in how many each is the best alone; diverged ones are never best."""
    finite = [sorted(table[np.isfinite(table)].tolist()) for table in tables]
    lost = [len(table) - len(values) for table, values in zip(tables, finite, strict=True)]

    def worse(than: float, of: int) -> int:
        return lost[of] + bisect_left(finite[of], than)

    return [
        sum(prod(worse(value, other) for other in range(len(tables)) if other != one) for value in finite[one])
        for one in range(len(tables))
    ]


def _drawn(tables: Sequence[np.ndarray], runs: int, draws: int) -> list[float]:
    random = np.random.default_rng(runs)
    means = np.stack([_means(table[random.integers(len(table), size=(draws, runs))]) for table in tables])
    best = means == means.max(0)
    alone = best & (best.sum(0) == 1) & np.isfinite(means)
    return [float(share) for share in alone.mean(1)]


def _means(drawn: np.ndarray) -> np.ndarray:
    """Of each row the mean of what is finite, −∞ where nothing is; rounded, so that ties do not hang on the order."""
    finite = np.isfinite(drawn)
    count = finite.sum(1)
    means = np.where(finite, drawn, 0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, means.round(12), -np.inf)


def _best(accuracies: Mapping[str, np.ndarray]) -> str | None:
    means = {key: float(_means(table[None])[0]) for key, table in accuracies.items()}
    best = [key for key, mean in means.items() if mean == max(means.values()) and isfinite(mean)]
    return best[0] if len(best) == 1 else None
