"""What every stage shares: how it starts, how it fails, and where the files are."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stages import parameters

RAW = Path("data/raw")
DATASET = Path("data/processed/mnist.safetensors")
MODELS = Path("data/models")
WEIGHT_DIFFERENCES = Path("data/weight-diff.safetensors")
PUBLISHED = Path("data/published/study.yaml")
REPORTS = Path("reports")
RUNS = REPORTS / "runs"
TIMES = REPORTS / "times"
TIMING = TIMES / "timing.csv"
WEIGHT_TABLE = REPORTS / "weight-diff.csv"
VERDICTS_FILE = REPORTS / "verdicts.csv"
FIDELITY = REPORTS / "fidelity.csv"
EPOCHS = REPORTS / "epochs.csv"
FIGURES = REPORTS / "figures"

EXPERIMENTS = ("1", "2", "3", "4", "2-exact", "4-exact")


def run(main: Callable[..., Any]) -> None:
    """Run a stage's `main(params, *arguments)` as a program.

    Bad parameters, bad files and a full disk end it with one line on standard error and exit status 1, an interrupt
    with one line and 130. Anything else is a defect and keeps its traceback.
    """
    name = Path(sys.argv[0]).stem
    try:
        try:
            params = parameters.load()
        except ValueError as error:
            raise ValueError(f"params.yaml: {error}") from None
        torch.set_num_threads(getattr(params, "threads", 1))
        torch.set_grad_enabled(False)
        main(params, *sys.argv[1:])
    except (ValueError, OSError, MemoryError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing is lost, `dvc repro` goes on from here", file=sys.stderr)
        sys.exit(130)


def run_keys(params: Any) -> list[str]:
    """The runs that the parameters ask for; files of others, left from other parameters, are none of the pipeline's."""
    grid = params.grid
    cells = itertools.product(grid.batch_size, grid.epochs, grid.l2)
    return [f"grid-b{b}-e{e}-l{l2}" for b, e, l2 in cells] + [f"experiment-{name}" for name in EXPERIMENTS]


def common_settings(params: Any) -> dict[str, Any]:
    """The settings that every configuration takes from params.yaml."""
    return {
        "layers_dims": tuple(params.network.layers_dims),
        "rule": params.network.initialization,
        "learning_rate": params.learning_rate,
        "patience": params.stopping.patience,
        "threshold": params.stopping.threshold,
        "stopping_rule": params.stopping.rule,
        "look_every": params.stopping.look_every,
    }


def choose_device(name: str) -> torch.device:
    """cpu, cuda, or for auto the one that is there.

    Raises
    ------
    ValueError
        If cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("params.yaml: device: expected cuda to be available, torch finds none; use auto or cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else name.replace("auto", "cpu"))
