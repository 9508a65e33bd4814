"""What studies of n runs of each experiment would name as the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from nnlib.evidence.probability import winner_shares


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
    mean; of equal ones, chance decides. An experiment of which a drawn replica diverged is not named.

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
        falls short of 1 by studies that name none, since all diverged
    others : a list of [label, key]
    """
    accuracies = {key: one.accuracies for key, one in experiments.items()}
    shares = winner_shares(accuracies, range(1, most_runs + 1), draws=draws, seed=0)
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
        "studies": [[round(row[key], 4) for key in experiments] for row in shares.values()],
        "others": [list(other) for other in (others or {}).items()],
    }


def _best(accuracies: Mapping[str, Sequence[float]]) -> str | None:
    means = {key: sum(values) / len(values) for key, values in accuracies.items() if all(map(isfinite, values))}
    best = [key for key, mean in means.items() if mean == max(means.values())]
    return best[0] if len(best) == 1 else None
