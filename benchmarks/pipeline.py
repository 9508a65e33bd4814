"""Where a whole `dvc repro` spends its time, in a copy of the repository with nothing computed yet. Run as

    python -m benchmarks.pipeline [--set KEY=VALUE ...]

for example `--set preprocess.examples=3000 --set epochs=2` for a quick look. The copy is of the last commit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.common import FOLDER, in_words, machine, markdown, spread, warn_if_busy
from benchmarks.training import Data, autograd
from nnlib.data.catalogue import split_sizes
from nnlib.data.files import write_text
from nnlib.replicas.train import cores
from stages.parameters import Parameters, check
from stages.yaml_files import parse_yaml

ROOT = FOLDER.parent
RAW = ROOT / "data" / "raw"
RUNNING = "Running stage '"
# The twelve cells and the four experiments of the study.
SIXTEEN = re.compile(r"grid-train|train@experiment-[1-4]")
# Epochs of the usual PyTorch program that are timed for each batch size.
ROUNDS = 3


def copy(folder: Path, changes: Sequence[str]) -> Parameters:
    """Put a clone without results into the folder, its parameters changed; returns the parameters."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    # Without its lock, DVC takes no stage for done.
    (folder / "dvc.lock").unlink(missing_ok=True)
    file = folder / "params.yaml"
    parameters = parse_yaml(file.read_text(encoding="utf-8"))
    for change in changes:
        key, _, value = change.partition("=")
        *sections, name = key.split(".")
        section = parameters
        for section_name in sections:
            section = section[section_name]
        section[name] = parse_yaml(value)
    file.write_text(json.dumps(parameters), encoding="utf-8")  # JSON is YAML
    return check(parameters)


def reproduce(folder: Path) -> list[tuple[str, float]]:
    """Run `dvc repro`; the stages in order, each with the seconds until the next one began.

    Raises
    ------
    RuntimeError
        If it fails, with the end of its output.
    """
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONUNBUFFERED": "1",
    }
    if RAW.is_dir():
        environment["MNIST_DIR"] = str(RAW)
    command = [sys.executable, "-m", "dvc", "repro"]
    marks = [("dvc, before the first stage", time.perf_counter())]
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            if line.startswith(RUNNING):
                marks.append((line.removeprefix(RUNNING).split("'")[0], time.perf_counter()))
                print(marks[-1][0], file=sys.stderr)
    if process.returncode:
        raise RuntimeError(f"dvc repro ended with {process.returncode}:\n{''.join(lines[-20:])}")
    ends = [at for _, at in marks[1:]] + [time.perf_counter()]
    return [(name, end - at) for (name, at), end in zip(marks, ends, strict=True)]


def changed(folder: Path) -> list[str]:
    """The committed files that the run wrote differently."""
    names = subprocess.check_output(["git", "diff", "--name-only", "HEAD"], cwd=folder, text=True).split()
    return [name for name in names if name != "params.yaml"]


def peak_memory() -> float:
    """GiB of the largest process among those that ran and ended."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**30


def steps(parameters: Parameters) -> dict[int, int]:
    """Gradient steps of one replica in the grid's cells and the four experiments, for each batch size."""
    p = parameters.preprocess
    pool = p.examples or parameters.dataset.pool(p.pool)
    examples, *_ = split_sizes(pool, p.test, p.validation)
    grid = parameters.grid
    passes = [(size, epochs) for size in grid.batch_size for epochs in grid.epochs for _ in grid.l2]
    total: dict[int, int] = {}
    for size, epochs in passes + 4 * [(parameters.batch_size, parameters.epochs)]:
        total[size] = total.get(size, 0) + epochs * math.ceil(examples / size)
    return total


def usual(data: Data, total: dict[int, int], threads: int, eval_every: int) -> float:
    """The seconds that torch autograd with a DataLoader would take for so many steps of each batch size, with
    evaluations."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    seconds = 0.0
    for size, count in total.items():
        epoch = autograd(data, 1, batch_size=size, eval_every=eval_every)
        epoch()
        seconds += spread([epoch() for _ in range(ROUNDS)])[0] / math.ceil(len(data.X) / size) * count
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Where a whole `dvc repro` spends its time.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter, changed")
    changes = parser.parse_args().set

    warn_if_busy()
    data = Data.load()  # if it is missing, that is said before the pipeline has run
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "repository"
        parameters = copy(folder, changes)
        stages = reproduce(folder)
        different = changed(folder)
    total = sum(seconds for _, seconds in stages)
    study = sum(seconds for name, seconds in stages if SIXTEEN.fullmatch(name))
    memory = peak_memory()
    work = steps(parameters)
    threads = parameters.threads or cores()
    alone = usual(data, work, threads, parameters.stopping.eval_every)
    replicas = parameters.replicas
    text = (
        f"`dvc repro` from nothing{' with ' if changes else ''}{', '.join(changes)}: {replicas} replicas, "
        f"{threads} threads.\n{in_words(machine())}\n\n"
        + markdown(
            ("stage", "seconds", "share"),
            [(name, f"{seconds:.1f}", f"{seconds / total:.0%}") for name, seconds in [*stages, ("total", total)]],
        )
        + f"\nThe largest process had {memory:.1f} GiB.\n\n"
        f"The grid's cells and the four experiments took {study:.0f} s for {replicas} replicas. Torch autograd with a "
        f"DataLoader would take about {alone:.0f} s for one, with the same evaluations: extrapolated "
        f"from {ROUNDS} timed epochs of each batch size to {sum(work.values()):,} steps. So they took "
        f"{study / alone:.3g} times as long, {study / alone / replicas:.3g} times for each replica; the whole "
        f"pipeline, with explanations, splits, other reports and the page, {total / alone:.3g} times.\n"
    )
    write_text(FOLDER / "pipeline.md", text)
    print(text)
    print("Written differently from the commit:", *different, sep="\n  ")


if __name__ == "__main__":
    main()
