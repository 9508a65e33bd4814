"""How the time of training grows with replicas, epochs and examples, and falls with threads and workers. Run as

    python -m benchmarks.scaling [--rounds N]

It needs the pipeline's data, and for the workers the extra `cluster`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.common import FOLDER, in_words, machine, markdown, spread, take_turns, timed, warn_if_busy
from benchmarks.training import BATCH, configuration
from nnlib import load_mnist, train_replicas
from nnlib.core.settings import Stopping
from nnlib.data.files import write_text
from nnlib.replicas.train import cores

BASE = {"replicas": 8, "epochs": 1, "examples": 9_600}
VARIED = {"replicas": (4, 8, 16, 32), "epochs": (1, 2, 4), "examples": (9_600, 19_200, 38_400)}
REPLICAS, EPOCHS = 16, 5  # of the comparison of threads and workers
LAST_PART = "## Replicas per minute\n\n"  # of this folder's README, which holds that comparison


def train(data: Any, replicas: int, epochs: int, examples: int, **where: Any) -> None:
    """`train_replicas` as the pipeline calls it, with all that it does once and its evaluations of 9,600 images."""
    X, Y = data["train"]
    settings = configuration(epochs=epochs, stopping=Stopping(rule="change", returns="last"))
    train_replicas((X[:, :examples], Y[:, :examples]), data["validation"], settings, range(replicas), **where)


@contextmanager
def dask_workers(count: int) -> Iterator[str]:
    """The address of a scheduler with so many worker processes of one thread each."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of training over replicas, epochs, examples and machines.")
    parser.add_argument("--rounds", type=int, default=5, help="in turn (default: %(default)s)")
    rounds = parser.parse_args().rounds

    warn_if_busy()
    data = load_mnist()
    cases = {f"{name} {value}": BASE | {name: value} for name, values in VARIED.items() for value in values}
    seconds = take_turns({name: timed(partial(train, data, **case)) for name, case in cases.items()}, rounds)
    rows = []
    for name, case in cases.items():
        middle, low, high = spread(seconds[name])
        unit = middle / (case["replicas"] * case["epochs"] * -(-case["examples"] // BATCH))
        rows.append((*case.values(), f"{middle:.2f}", f"{low:.2f}–{high:.2f}", f"{unit * 1e6:.1f}"))

    long: dict[str, Any] = {"replicas": REPLICAS, "epochs": EPOCHS, "examples": data["train"][0].shape[1]}
    with dask_workers(1) as one, dask_workers(2) as two:
        places: dict[str, dict[str, Any]] = {
            "1 thread": {"threads": 1},
            "2 threads": {"threads": 2},
            "1 Dask worker": {"cluster": one},
            "2 Dask workers": {"cluster": two},
        }
        tasks = {name: timed(partial(train, data, **long, **where)) for name, where in places.items()}
        seconds = take_turns(tasks, rounds)
    speeds = []
    for name in places:
        middle, low, high = spread([REPLICAS * 60 / second for second in seconds[name]])
        speeds.append((name, f"{middle:.0f}", f"{low:.0f}–{high:.0f}"))
    growth = (
        f"`train_replicas` with an evaluation of 9,600 images every 100 steps, {cores()} threads, medians of {rounds} "
        f"rounds in turn.\n{in_words(machine())}\n\n"
        + markdown(("replicas", "epochs", "examples", "seconds", "min–max", "µs per replica and step"), rows)
    )
    places_table = (
        f"Training of {REPLICAS} replicas at a time, {EPOCHS} epochs each on 38,400 examples, including evaluations: "
        f"medians of {rounds} rounds in turn.\n{in_words(machine())}\n\n"
        + markdown(("where", "replicas per minute", "min–max"), speeds)
    )
    write_text(FOLDER / "scaling.md", growth)
    readme = FOLDER / "README.md"
    write_text(readme, readme.read_text(encoding="utf-8").partition(LAST_PART)[0] + LAST_PART + places_table)
    print(growth, places_table, sep="\n")


if __name__ == "__main__":
    main()
