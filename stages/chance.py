"""More than one source of chance: other splits of the images, and initial weights crossed with shuffles."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from nnlib import Seeds, Settings
from nnlib.data.dataset import preprocess, sets
from nnlib.data.raw import load_raw
from nnlib.evidence.study import Study
from stages.configurations import evaluated_rarely
from stages.parameters import Parameters
from stages.paths import CHANCE, RAW, RUNS
from stages.program import run
from stages.studies import load_study
from stages.training import KINDS, train_and_measure


class Asked(NamedTuple):
    """What is trained: in which folder, with which changes of the preprocessing, which runs, with which seeds."""

    name: str
    changes: dict[str, Any]
    configurations: dict[str, Settings]
    seeds: Sequence[int | Seeds]


def asked(params: Parameters, study: Study) -> Iterator[Asked]:
    """The splits, of all experiments; and the crossing, of the plain one and of batch norm with L2. With fewer replicas
    than these ask for, they take those that there are."""
    runs = {key: evaluated_rarely(settings) for key, settings in study.configurations(params.common()).items()}
    cells = study.four.names()
    experiments = {run: runs[run] for run in cells.values()}
    for seed in params.chance.split_seeds:
        seeds = list(params.seeds[: params.chance.split_replicas])
        yield Asked(f"split-{seed}", {"seed": seed}, experiments, seeds)
    first = params.seeds[: params.chance.crossed]
    crossed = [Seeds(weights, shuffle) for weights in first for shuffle in first]
    yield Asked("crossed", {}, {cells[cell]: runs[cells[cell]] for cell in ("none", "bn_l2") if cell in cells}, crossed)


@torch.no_grad()
def main(params: Parameters) -> None:
    images, classes = load_raw(RAW, params.dataset), params.dataset.classes
    for name, changes, configurations, seeds in asked(params, load_study()):
        # No name holds the sets, so that those of one split are gone before the next are made.
        train_and_measure(
            params,
            sets(preprocess(*images, **params.preprocess.model_dump() | changes, classes=classes)),
            configurations,
            seeds,
            RUNS / CHANCE / name,
            kinds=KINDS[:2],
        )


if __name__ == "__main__":
    run(main)
