"""Which networks params.yaml and the study ask for."""

from __future__ import annotations

import itertools

from nnlib.core.settings import Settings
from nnlib.errors import InputError
from nnlib.evidence.study import Study, merged
from stages.parameters import Parameters
from stages.paths import EXPLANATIONS, GRID

RARELY = 1200  # steps from one evaluation to the next


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
    protocol = study.configurations(params.common(), study.experiments)
    found: dict[str, Settings] = {}
    for change, entries in params.explanations.changes.items():
        try:
            changed = study.configurations(merged(params.common(), entries), study.experiments)
        except InputError as error:
            raise InputError(f"explanations.changes.{change}: {error}") from None
        for run, settings in changed.items():
            # What a change leaves as it was, the store has.
            same = settings.identity() == protocol[run].identity()
            found[f"{change}/{run}"] = settings if same else evaluated_rarely(settings)
    return found


def evaluated_rarely(settings: Settings) -> Settings:
    """For runs of which only the last networks are asked for, since an evaluation costs as much as many steps.

    By the rule "change" only a network whose cost no longer changes ends early; ended later, it is nearly the same. By
    any other rule, and where the best parameters are returned, all evaluations count.
    """
    stopping = settings.stopping
    if stopping.rule != "change" or stopping.returns == "best":
        return settings
    every = max(stopping.eval_every, min(RARELY, stopping.eval_every * stopping.patience))
    return settings.replace(stopping=stopping.replace(eval_every=every))


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
