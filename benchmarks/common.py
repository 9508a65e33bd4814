"""What the benchmarks share: the machine they ran on, taking turns, tables."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).parent
PACKAGES = ("torch", "jax", "scikit-learn", "numpy")


def machine() -> dict[str, Any]:
    """CPU, cores, and the versions of all that is compared; None for what is not installed."""
    return {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()} | {
        name: installed(name) for name in PACKAGES
    }


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text(encoding="utf-8")) if info.exists() else []
    return (names or [platform.processor() or platform.machine()])[0]


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def in_words(about: Mapping[str, Any]) -> str:
    """`machine()` as a sentence."""
    versions = (f"{name} {about[name] or '(not installed)'}" for name in ("python", *PACKAGES))
    return f"{about['cpu']}, {about['cores']} cores; {', '.join(versions)}."


def timed(task: Callable[[], object]) -> Callable[[], float]:
    """The task as one that returns the seconds it took."""

    def seconds() -> float:
        start = time.perf_counter()
        task()
        return time.perf_counter() - start

    return seconds


def warn_if_busy() -> None:
    """Say so on standard error if other programs have kept this machine busy in the last minute."""
    load = os.getloadavg()[0]
    if load > 1 / 2:
        print(f"The load was {load:.1f} before the start: other programs may disturb these times.", file=sys.stderr)


def take_turns(tasks: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The seconds that each task returns in each round.

    One task after the other in every round, so that a slow minute hits all; and each once before, to warm up.
    """
    for task in tasks.values():
        task()
    turns = [{name: task() for name, task in tasks.items()} for _ in range(rounds)]
    return {name: [turn[name] for turn in turns] for name in tasks}


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest and largest."""
    return median(values), min(values), max(values)


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
