"""How far results move with the machine: experiment 1 under other instruction sets, threads and devices. Run as

    python -m benchmarks.machines [--epochs N]

Each variant is a process of its own, told by its environment what a smaller CPU can do. It needs the pipeline's data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import torch

from benchmarks.common import FOLDER, in_words, machine, markdown
from nnlib import Settings, accuracy, train_replicas
from nnlib.data.dataset import sets
from nnlib.data.files import load_tensors, write_text

DATASET = FOLDER.parent / "data" / "processed" / "mnist.safetensors"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SSE = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
# Variant: environment, threads, device.
VARIANTS: dict[str, tuple[dict[str, str], int, str]] = {
    "this machine, 2 threads": ({}, 2, "cpu"),
    "again": ({}, 2, "cpu"),
    "1 thread": ({}, 1, "cpu"),
    "AVX2 only": (AVX2, 2, "cpu"),
    "no AVX": (SSE, 2, "cpu"),
}
if torch.cuda.is_available():
    VARIANTS["GPU"] = ({}, 2, "cuda")


def train(threads: int, device: str, epochs: int) -> None:
    """Print the test accuracies of ten replicas as JSON."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    data = sets(load_tensors(DATASET))
    settings = Settings([784, 20, 7, 5, 10], epochs=epochs)
    run = train_replicas(data["train"], data["validation"], settings, range(10), device=device)
    print(json.dumps(accuracy(*data["test"], run.parameters).tolist()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return train(int(arguments.one[0]), arguments.one[1], arguments.epochs)
    rows, base = [], torch.empty(0)
    for name, (environment, threads, device) in VARIANTS.items():
        command = [sys.executable, "-m", "benchmarks.machines", "--epochs", str(arguments.epochs)]
        printed = subprocess.check_output([*command, "--one", str(threads), device], env=os.environ | environment)
        accuracies = torch.tensor(json.loads(printed))
        base = base if len(base) else accuracies
        moved = (accuracies - base).abs()
        rows.append(
            [name, f"{accuracies.mean():.2%}", f"{moved.max():.2%}", f"{(accuracies.mean() - base.mean()).abs():.2%}"]
        )
        print(*rows[-1], sep="  ", flush=True)
    table = markdown(["variant", "mean test accuracy", "largest move of a replica", "move of the mean"], rows)
    text = f"Experiment 1, {arguments.epochs} epochs, 10 replicas. {in_words(machine())}\n\n{table}"
    write_text(FOLDER / "machines.md", text)


if __name__ == "__main__":
    main()
