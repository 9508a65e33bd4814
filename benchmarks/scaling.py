"""The time of training grows in proportion to replicas, epochs and examples; each alone is varied here. Run as

python -m benchmarks.scaling [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks.common import FOLDER, in_words, machine, markdown, spread, take_turns, timed, warn_if_busy
from benchmarks.training import BATCH, DIMS, EXAMPLES, L2, RATE, Data
from nnlib import Settings, train_replicas
from nnlib.data.files import write_text

VALIDATION = 9_600
BASE = {"replicas": 8, "epochs": 1, "examples": 9_600}
VARIED = {"replicas": (4, 8, 16, 32), "epochs": (1, 2, 4), "examples": (9_600, 19_200, 38_400)}


def train(data: Data, replicas: int, epochs: int, examples: int) -> None:
    """`train_replicas` as the pipeline calls it, with all that it does once and its looks."""
    X, Y = data.X.T, data.Y.T
    train, validation = ((X[:, part], Y[:, part]) for part in (slice(examples), slice(EXAMPLES - VALIDATION, None)))
    train_replicas(train, validation, Settings(DIMS, RATE, epochs, BATCH, L2=L2), range(replicas))


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of training over replicas, epochs and examples.")
    parser.add_argument("--rounds", type=int, default=7, help="in turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s, as in params.yaml)")
    arguments = parser.parse_args()

    warn_if_busy()
    torch.set_grad_enabled(False)
    torch.set_num_threads(arguments.threads)
    data = Data.make()
    cases = {f"{name} {value}": BASE | {name: value} for name, values in VARIED.items() for value in values}
    seconds = take_turns({name: timed(partial(train, data, **case)) for name, case in cases.items()}, arguments.rounds)
    rows = []
    for name, case in cases.items():
        middle, low, high = spread(seconds[name])
        unit = middle / (case["replicas"] * case["epochs"] * -(-case["examples"] // BATCH))
        rows.append((*case.values(), f"{middle:.2f}", f"{low:.2f}–{high:.2f}", f"{unit * 1e6:.1f}"))
    text = (
        f"`train_replicas` with a look at {VALIDATION:,} validation examples every 100 steps, "
        f"{arguments.threads} threads, medians of {arguments.rounds} rounds in turn.\n{in_words(machine())}\n\n"
        + markdown((*BASE, "seconds", "min–max", "µs per replica and step"), rows)
    )
    write_text(FOLDER / "scaling.md", text)
    print(text)


if __name__ == "__main__":
    main()
