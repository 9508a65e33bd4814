"""Train all replicas of the grid, the explanations, or a run of the study (whose networks are kept); write measures.

python -m stages.train grid
python -m stages.train experiment-2
"""

import json

import torch

from nnlib import Run
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, save_tensors
from stages.configurations import asked
from stages.parameters import Parameters
from stages.paths import DATASET, EXPLANATIONS, GRID, MODELS, RUNS
from stages.program import run
from stages.studies import load_study
from stages.training import KINDS, train_and_measure


@torch.no_grad()
def main(params: Parameters, name: str) -> None:
    configurations = asked(params, load_study(), name)
    seeds = params.seeds[: params.explanations.replicas] if name == EXPLANATIONS else params.seeds

    def keep(key: str, trained: Run) -> None:
        # Of the grid and the explanations nobody asks for the networks themselves.
        if name not in (GRID, EXPLANATIONS):
            settings = json.dumps(configurations[key].record())
            save_tensors(MODELS / f"{key}.safetensors", trained.tensors(), {"settings": settings})

    kinds = KINDS[:2] if name == EXPLANATIONS else KINDS
    train_and_measure(params, sets(load_tensors(DATASET)), configurations, seeds, RUNS / name, kinds=kinds, keep=keep)


if __name__ == "__main__":
    run(main)
