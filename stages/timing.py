"""What batch norm costs in time: the four experiments timed in turn, so that a slow minute slows them all.

Timed twice: the readable loop `l_layer_model`, which resembles the study's, and the engine with all replicas.
"""

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
from tqdm import tqdm

from nnlib import Settings, l_layer_model, train_replicas
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, write_csv
from stages.common import DATASET, TIMING, choose_device, common_settings, run

# Experiment: batch norm, L2. What is timed does not depend on how strong the L2 is.
EXPERIMENTS = {"1": (False, 0.0), "2": (True, 0.01), "3": (False, 0.01), "4": (True, 0.0)}


def main(params: Any) -> None:
    X, Y = sets(load_tensors(DATASET))["train"]
    examples = min(X.shape[1], params.timing.steps * params.batch_size)
    X, Y = X[:, :examples].contiguous(), Y[:, :examples].contiguous()
    settings = common_settings(params) | {"look_every": params.timing.steps + 1, "batch_size": params.batch_size}
    device = choose_device(params.device)
    seeds = range(params.seed, params.seed + params.replicas)

    def loop(batchnorm: bool, l2: float) -> object:
        return l_layer_model(X, Y, num_iterations=1, use_batchnorm=batchnorm, L2=l2, **settings)

    def engine(batchnorm: bool, l2: float) -> object:
        configuration = Settings(**settings, epochs=1, use_batchnorm=batchnorm, L2=l2)
        return train_replicas((X, Y), (X[:, :2], Y[:, :2]), configuration, list(seeds), device=device)

    rows = []
    for round_ in tqdm(range(-1, params.timing.rounds), desc="timing", unit="round", disable=None):
        for name, code in {"loop": loop, "engine": engine}.items():
            seconds = {f"experiment-{key}": timed(code, *which) for key, which in EXPERIMENTS.items()}
            rows.append({"code": name, "round": round_, "steps": -(-examples // params.batch_size)} | seconds)
    table = pd.DataFrame(rows)
    # Round -1 warms up: the first call of everything is slower.
    write_csv(TIMING, table[table["round"] >= 0])


def timed(code: Callable[..., object], *arguments: Any) -> float:
    began = time.perf_counter()
    code(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    run(main)
