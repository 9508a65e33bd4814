"""What a study of one run of each experiment would have published: every combination of the replicas, counted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any

from stages.reporting.colours import variable
from stages.reporting.labels import LABELS


def roulette_data(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """A record for JSON that `templates/labs/roulette.html.j2` shows.

    Parameters
    ----------
    accuracies : experiment → the test accuracy of each of its replicas, NaN for one that diverged

    Returns
    -------
    experiments : a list, in the order given, of key, label, colour (for CSS), accuracies (None for a replica that
        diverged), and wins, of how many combinations the experiment is the best alone
    combinations : in how many ways one replica of each can be drawn
    ties : in how many of them several experiments are the best
    """
    finite = {key: sorted(value for value in values if isfinite(value)) for key, values in accuracies.items()}
    lost = {key: len(values) - len(finite[key]) for key, values in accuracies.items()}

    def wins(key: str) -> int:
        """Over the replicas of one experiment, in how many ways all others are worse; who diverged always is."""
        others = [other for other in finite if other != key]
        return sum(prod(lost[other] + bisect_left(finite[other], value) for other in others) for value in finite[key])

    alone = {key: wins(key) for key in finite}
    combinations = prod(map(len, accuracies.values()))
    return {
        "experiments": [
            {
                "key": key,
                "label": LABELS[key].text,
                "colour": variable(LABELS[key].colour),
                "accuracies": [float(value) if isfinite(value) else None for value in values],
                "wins": alone[key],
            }
            for key, values in accuracies.items()
        ],
        "combinations": combinations,
        "ties": combinations - sum(alone.values()) - prod(lost.values()),
    }
