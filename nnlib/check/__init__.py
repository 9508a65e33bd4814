"""Is somebody's backpropagation right? Each function is right, has a known mistake, or differs from the formulas
otherwise.

`python -m nnlib.check mine.py` in a terminal. This module can be called, too: `nnlib.check(module)` is its function
`check`. docs/check.md is for teachers.
"""

import inspect
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from nnlib.check.judge import Judge
from nnlib.check.report import Report, Verdict
from nnlib.check.solution import TABLE
from nnlib.check.source import load, statements
from nnlib.errors import InputError
from nnlib.records import what

__all__ = ["Report", "Verdict", "check", "check_files"]


def check(solution: ModuleType | Mapping[str, Any]) -> Report:
    """Compare a solution's functions with the right ones, and with what people do wrong in them.

    Parameters
    ----------
    solution : a module, or a dictionary of functions by their names, such as `globals()` in a notebook. They are called
        in this process; `check_files` runs a file in one of its own.

    Returns
    -------
    A report: true if every function that is there is right, a text when printed.

    Raises
    ------
    InputError
        If it is neither.
    """
    names = dict(inspect.getmembers(solution)) if isinstance(solution, ModuleType) else solution
    if not isinstance(names, Mapping):
        raise InputError(f"solution: expected a module, or a dictionary such as globals(), got {what(solution)}")
    with undisturbed():
        return Report(getattr(solution, "__name__", "solution"), list(Judge(names).verdicts()))


def check_files(files: str | Path | Sequence[str | Path], seconds: float = 60) -> Report:
    """The same for the files of one solution, scripts or notebooks, in a process of its own.

    Parameters
    ----------
    files : only their definitions are run, not what trains, reads or plots; a folder stands for all its files
    seconds : how long a function may take. One that takes longer is not judged; the others are.

    Raises
    ------
    InputError
        If there is no such file, or Python cannot read it.
    """
    given = [Path(file).resolve() for file in ([files] if isinstance(files, str | Path) else files)]
    paths = [file for path in given for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    paths = [path for path in paths if path in given or (path.suffix in (".py", ".ipynb") and path.name[0] != ".")]
    wrong = [path.name for path in paths if path.suffix not in (".py", ".ipynb") or not path.is_file()]
    if wrong or not paths:
        raise InputError(f"files: expected scripts or notebooks, got {', '.join(wrong) or 'none'}")
    unread = [cell for path in paths for cell in statements(path)[1]]
    failed: dict[str, str] = {}
    left = [*TABLE]
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "verdicts"), Path(folder, "errors")
        while left:
            reason = run([str(path) for path in paths], ",".join(failed), out, errors, seconds)
            lines = [json.loads(line) for line in out.read_text("utf-8").split("\n") if line]
            found = {line["function"]: Verdict(**line) for line in lines}
            left = [name for name in TABLE if name not in found and name not in failed]
            failed |= dict.fromkeys(left[:1], reason)
    found |= {name: Verdict(name, name, "not judged", note=reason) for name, reason in failed.items()}
    return Report(" ".join(path.name for path in paths), [found[name] for name in TABLE], unread)


def run(files: list[str], skip: str, out: Path, errors: Path, seconds: float) -> str:
    """Have verdicts written to a file by another process, and say how it ended."""
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "nnlib.check", "--inside", str(out), "--skip", skip, *files]
    out.write_text("")
    with errors.open("w") as stderr:
        silent: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": stderr}
        process = subprocess.Popen(command, cwd=out.parent, env=environment, **silent)
        size, since = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(0.02)
            if out.stat().st_size > size:
                size, since = out.stat().st_size, time.monotonic()
            if size and time.monotonic() - since > seconds:
                process.kill()
                process.wait()
                return f"it had not ended after {seconds:g} seconds"
    if "Traceback" in errors.read_text():
        raise RuntimeError(errors.read_text())
    return "it ended the process"


def inside(out: Path, skip: Sequence[str], files: Sequence[Path]) -> None:
    """The process of `check_files`: a line of JSON for each verdict, as soon as it is there."""
    with out.open("a", encoding="utf-8", buffering=1) as lines, undisturbed():
        # Time runs from here on: what came before is no fault of the solution.
        print(file=lines)
        for verdict in Judge(load(files), skip).verdicts():
            print(json.dumps(asdict(verdict)), file=lines)


@contextmanager
def undisturbed() -> Iterator[None]:
    """What the solution prints is not shown; random numbers and threads of this process stay what they were."""
    states, threads = (random.getstate(), np.random.get_state()), torch.get_num_threads()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))
        for one in (redirect_stdout(nowhere), redirect_stderr(nowhere), torch.random.fork_rng([])):
            stack.enter_context(one)
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_num_threads(threads)


class _Callable(ModuleType):
    def __call__(self, solution: ModuleType | Mapping[str, Any]) -> Report:
        return check(solution)


sys.modules[__name__].__class__ = _Callable
