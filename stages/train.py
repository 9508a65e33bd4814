"""Train all replicas of the grid's cells, or of one experiment, and write each run with its settings.

python -m stages.train grid
python -m stages.train experiment-2 --batchnorm straight_through --l2 0.01
"""

import argparse

import torch

from nnlib import Store
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, save_tensors
from stages.common import DATASET, GRID, MODELS, run, store_folder
from stages.configurations import cells, experiment, train_with_a_bar
from stages.parameters import Parameters
from stages.reporting.labels import check_label


@torch.no_grad()
def main(params: Parameters, *arguments: str) -> None:
    asked = arguments_of(arguments)
    if asked.name == GRID:
        configurations = cells(params)
    else:
        check_label(asked.name)
        configurations = {asked.name: experiment(params, asked.batchnorm, asked.l2)}
    data, store = sets(load_tensors(DATASET)), Store(store_folder())
    for key, settings in configurations.items():
        trained = train_with_a_bar(params, key, settings, data, store, params.replicas)
        save_tensors(MODELS / asked.name / f"{key}.safetensors", trained.tensors(), settings.metadata())


def arguments_of(arguments: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m stages.train", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", help="grid, or what the experiment is called")
    parser.add_argument("--batchnorm", choices=["none", "straight_through", "exact"], default="none")
    parser.add_argument("--l2", type=float, default=0.0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(main)
