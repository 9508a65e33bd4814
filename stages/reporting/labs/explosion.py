"""What the page needs to train the study's network by itself: its settings; the digits are the page's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nnlib.core.settings import Settings


class Network(NamedTuple):
    """What a network is called, and its colour (for CSS)."""

    label: str
    colour: str


class Mark(NamedTuple):
    """A line across a plot."""

    label: str
    value: float


def explosion_data(
    settings: Settings,
    last_step: int,
    train: int,
    networks: Mapping[str, Network],
    marks: Mapping[str, Mark] | None = None,
    probe: int = 200,
) -> dict[str, Any]:
    """A record for JSON that `templates/labs/explosion.html.j2` trains with.

    Parameters
    ----------
    settings : of the study's configuration; its batch norm, normalization and stopping play no part
    last_step : where the training ends
    train : how many training digits the page has
    networks : batch norm ("none", "straight_through", "exact") → what the network with it is called
    marks : "sum_squared_weights", "cost" → what is marked in that plot
    probe : on how many of the training digits the gradient is taken, at most

    Returns
    -------
    layers_dims, initialization, activation, learning_rate, batch_size, L2 : of the settings, the batch no larger than
        what there is
    last_step, marks : as given
    networks : a list, in the order given, since JSON may sort keys; each with its key
    probe : how many digits that is
    """
    return {
        "layers_dims": list(settings.layers_dims),
        "initialization": settings.initialization,
        "activation": settings.activation,
        "learning_rate": settings.learning_rate,
        "batch_size": min(settings.batch_size, train),
        "L2": settings.L2,
        "last_step": last_step,
        "networks": [{"key": key} | network._asdict() for key, network in networks.items()],
        "marks": {key: mark._asdict() for key, mark in (marks or {}).items()},
        "probe": min(probe, train),
    }
