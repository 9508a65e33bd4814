"""What batch norm costs in time: the study's four experiments timed in turn. Run as

    python -m benchmarks.batchnorm_time [--rounds N] [--steps N]

The study says 25 %. Timed twice: the readable loop `l_layer_model`, which resembles the study's code, and the engine.
Each is one network in one thread.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks.common import FOLDER, in_words, machine, markdown, spread, take_turns, timed, warn_if_busy
from nnlib import Settings, Stopping, l_layer_model, load_mnist, train_replicas
from nnlib.data.files import write_text
from stages.parameters import load
from stages.studies import load_study

# The engine passes several times over the timed steps, so that what a call does once weighs little.
EPOCHS = {"loop": 1, "engine": 20}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description="What batch norm costs in time.")
    parser.add_argument("--rounds", type=int, default=15, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="gradient steps timed (default: %(default)s)")
    chosen = parser.parse_args()

    warn_if_busy()
    torch.set_num_threads(1)
    study = load_study()
    runs = study.configurations(load().common())
    X, Y = load_mnist()["train"]
    tasks = {}
    for run in study.experiments:
        settings = runs[run].replace(stopping=Stopping(eval_every=2**40, returns="last"))
        few = X[:, : chosen.steps * settings.batch_size], Y[:, : chosen.steps * settings.batch_size]
        for code, epochs in EPOCHS.items():
            tasks[code, run] = timed(partial(train, code, few, settings.replace(epochs=epochs)))
    seconds = take_turns({f"{code} {run}": task for (code, run), task in tasks.items()}, chosen.rounds)

    none, bn = study.four.none, study.four.bn
    rows = []
    for code, epochs in EPOCHS.items():
        steps = chosen.steps * epochs
        added = [b / a - 1 for a, b in zip(seconds[f"{code} {none}"], seconds[f"{code} {bn}"], strict=True)]
        micros = [f"{1e6 * spread(seconds[f'{code} {run}'])[0] / steps:.1f}" for run in study.experiments]
        middle, low, high = spread(added)
        rows.append((code, *micros, f"{middle:+.0%} ({low:+.0%} to {high:+.0%})"))
    printed = study.seconds[str(bn)] / study.seconds[str(none)] - 1
    header = ("code", *(f"{study.runs[run].label}, µs a step" for run in study.experiments), "batch norm adds")
    text = (
        f"{chosen.rounds} rounds in turn, {chosen.steps} steps of batch 32, one network in one thread; medians. The "
        f"study's own seconds: {printed:+.0%}.\n{in_words(machine())}\n\n" + markdown(header, rows)
    )
    write_text(FOLDER / "batchnorm_time.md", text)
    print(text)


def train(code: str, examples: tuple[torch.Tensor, torch.Tensor], settings: Settings) -> None:
    """Train one network by this code."""
    if code == "engine":
        train_replicas(examples, (examples[0][:, :2], examples[1][:, :2]), settings, [0], threads=1)
        return
    others = {name: value for name, value in settings if name not in ("layers_dims", "epochs")}
    l_layer_model(*examples, settings.layers_dims, num_iterations=settings.epochs, **others)


if __name__ == "__main__":
    main()
