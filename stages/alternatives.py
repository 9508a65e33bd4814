"""The named experiments trained again, each time with one of the changes in params.yaml that could explain a misfit.

python -m stages.alternatives experiment-1 experiment-2
"""

import torch

from nnlib import Settings, Store
from nnlib.data.dataset import sets
from nnlib.data.files import load_metadata, load_tensors, save_tensors
from stages.common import ALTERNATIVES, DATASET, MODELS, run, store_folder
from stages.configurations import changed, train_with_a_bar
from stages.parameters import Parameters


@torch.no_grad()
def main(params: Parameters, *experiments: str) -> None:
    data, store = sets(load_tensors(DATASET)), Store(store_folder())
    replicas = min(params.replicas, params.alternatives.replicas)
    for name, change in params.alternatives.changes.items():
        for experiment in experiments:
            protocol = Settings.from_metadata(load_metadata(MODELS / experiment / f"{experiment}.safetensors"))
            settings = changed(protocol, change)
            trained = train_with_a_bar(params, f"{name}, {experiment}", settings, data, store, replicas)
            path = MODELS / ALTERNATIVES / name / f"{experiment}.safetensors"
            save_tensors(path, trained.tensors(), settings.metadata())


if __name__ == "__main__":
    run(main)
