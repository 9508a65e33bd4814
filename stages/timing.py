"""What batch norm costs in time: the four experiments timed in turn, so that a slow minute slows them all.

Timed twice: the readable loop `l_layer_model`, which resembles the study's, and the engine with all replicas. What ends
before its last step, since it diverged, has no time.
"""

import math
import time
from dataclasses import replace

import pandas as pd
import torch
from tqdm import tqdm

from nnlib import Settings, l_layer_model, train_replicas
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, write_csv
from stages.common import DATASET, TIMING, run
from stages.configurations import device, settings
from stages.parameters import Parameters

# Batch norm, L2. What is timed does not depend on how strong the L2 is.
EXPERIMENTS = {
    "experiment-1": (False, 0.0),
    "experiment-2": (True, 0.01),
    "experiment-3": (False, 0.01),
    "experiment-4": (True, 0.0),
}
# Passes over the timed steps, so that what a call of the engine does once, to list the inked pixels, weighs little.
EPOCHS = {"loop": 1, "engine": 5}
NEVER = 2**62  # the patience of what is not to stop


@torch.no_grad()
def main(params: Parameters) -> None:
    X, Y = sets(load_tensors(DATASET))["train"]
    examples = min(X.shape[1], params.timing.steps * params.batch_size)
    X, Y = X[:, :examples].contiguous(), Y[:, :examples].contiguous()
    seeds = range(params.seed, params.seed + params.replicas)

    def loop(chosen: Settings) -> bool:
        options = {name: value for name, value in vars(chosen).items() if name != "epochs"}
        _, costs = l_layer_model(X, Y, num_iterations=chosen.epochs, **options)
        return all(map(math.isfinite, costs))

    def engine(chosen: Settings) -> bool:
        few = X[:, :2], Y[:, :2]
        trained = train_replicas((X, Y), few, chosen, seeds, device=device(params.device), threads=params.threads)
        return bool(trained.running.all())

    rows = []
    for round_ in tqdm(range(-1, params.timing.rounds), desc="timing", unit="round", disable=None):
        for name, code in {"loop": loop, "engine": engine}.items():
            seconds = {}
            for key, (batchnorm, l2) in EXPERIMENTS.items():
                own = {"batch_size": params.batch_size, "epochs": EPOCHS[name], "use_batchnorm": batchnorm, "L2": l2}
                chosen = replace(settings(params, **own), patience=NEVER)
                began = time.perf_counter()
                whole = code(chosen)
                seconds[key] = time.perf_counter() - began if whole else math.nan
            rows.append({"code": name, "round": round_, "steps": chosen.last_step(examples)} | seconds)
    table = pd.DataFrame(rows)
    # Round -1 warms up: the first call of everything is slower.
    write_csv(TIMING, table[table["round"] >= 0])


if __name__ == "__main__":
    run(main)
