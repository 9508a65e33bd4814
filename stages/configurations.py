"""Which networks params.yaml and the study ask for."""

from __future__ import annotations

import itertools

from nnlib.core.settings import Settings
from nnlib.errors import InputError
from nnlib.evidence.study import Study, merged
from stages.parameters import Parameters
from stages.paths import EXPLANATIONS, GRID


def cells(params: Parameters) -> dict[str, Settings]:
    """The grid's configurations by key."""
    values = sorted(params.grid.epochs), params.grid.batch_size, params.grid.l2
    return {
        f"{GRID}-b{batch_size}-e{epochs}-l{l2:g}": Settings(
            **params.common() | {"batch_size": batch_size, "epochs": epochs, "L2": l2}
        )
        for epochs, batch_size, l2 in itertools.product(*values)
    }


def explanations(params: Parameters, study: Study) -> dict[str, Settings]:
    """The study's experiments, each time with one of the changes that could explain a misfit."""
    found: dict[str, Settings] = {}
    for change, entries in params.explanations.changes.items():
        try:
            changed = study.configurations(merged(params.common(), entries), study.experiments)
        except InputError as error:
            raise InputError(f"explanations.changes.{change}: {error}") from None
        found |= {f"{change}/{run}": changed[run] for run in study.experiments}
    return found


def asked(params: Parameters, study: Study, name: str) -> dict[str, Settings]:
    """The configurations of a training stage: the grid, the explanations, or one run of the study.

    Raises
    ------
    InputError
        If the study has no such run.
    """
    if name == GRID:
        return cells(params)
    if name == EXPLANATIONS:
        return explanations(params, study)
    configurations = study.configurations(params.common())
    if name not in configurations:
        raise InputError(f"expected {GRID}, {EXPLANATIONS} or a run of {', '.join(configurations)}, got {name!r}")
    return {name: configurations[name]}
