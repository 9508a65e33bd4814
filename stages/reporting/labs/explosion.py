"""What a page needs to train the study's network by itself: its settings; the digits are the page's."""

from __future__ import annotations

from typing import Any

from stages.parameters import Parameters


def explosion_data(params: Parameters, train: int, probe: int = 200) -> dict[str, Any]:
    """A record for JSON that `templates/labs/explosion.html.j2` trains with.

    Parameters
    ----------
    train : how many training digits the page has
    probe : on how many of them the gradient is looked at, at most

    Returns
    -------
    layers_dims, initialization, learning_rate, batch_size, l2 : the study's, the batch no larger than what there is
    probe : how many digits that is
    """
    return {
        "layers_dims": params.network.layers_dims,
        "initialization": params.network.initialization,
        "learning_rate": params.learning_rate,
        "batch_size": min(params.batch_size, train),
        "l2": params.l2,
        "probe": min(probe, train),
    }
