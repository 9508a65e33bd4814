"""Train all replicas of the grid, of one run of the study, or of the explanations; write each run and its measures.

python -m stages.train grid
python -m stages.train experiment-2
"""

import json

import torch

from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, save_tensors
from stages.configurations import asked
from stages.parameters import Parameters
from stages.paths import DATASET, EXPLANATIONS, GRID, MODELS, RUNS
from stages.program import run
from stages.studies import load_study
from stages.training import Tables, prepared, train, training_data


@torch.no_grad()
def main(params: Parameters, name: str) -> None:
    configurations = asked(params, load_study(), name)
    data = sets(load_tensors(DATASET))
    some = next(iter(configurations.values()))
    tables = Tables(params, prepared(data, some), ("runs", "replicas") if name == EXPLANATIONS else ())
    seeds = params.seeds[: params.explanations.replicas] if name == EXPLANATIONS else params.seeds
    for key, trained in train(params, training_data(data, some), configurations, seeds, name=name):
        tables.add(key, trained, configurations[key], seeds)
        # Of the grid and the explanations nobody asks for the networks themselves.
        if name not in (GRID, EXPLANATIONS):
            settings = json.dumps(configurations[key].record())
            save_tensors(MODELS / f"{key}.safetensors", trained.tensors(), {"settings": settings})
    tables.write(RUNS / name)


if __name__ == "__main__":
    run(main)
