"""How a stage starts, and how it fails."""

from __future__ import annotations

import _thread
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from nnlib.errors import InputError
from stages import parameters
from stages.paths import PARAMETERS, study_files

HERE = Path(__file__).parents[1]
KEPT = "finished replicas are kept, `dvc repro` trains the others"
# What an interrupt leaves to do, where it is not the whole stage.
LEFT_TO_DO = {"train": KEPT, "chance": KEPT, "reports": KEPT, "store": "the same command does the rest"}


def run(main: Callable[..., Any]) -> None:
    """Run a stage's `main(params, *arguments)` as a program.

    What the user can mend ends it with one line on standard error and exit status 1, an interrupt with one line and
    130. Anything else is a defect and keeps its traceback. A stage whose code, parameters or studies are edited while
    it runs fails, so that DVC does not record old results as those of the new files; one whose DVC ends, ends too.
    """
    name = Path(sys.argv[0]).stem
    # A letter that a terminal or a pipe lacks, λ on some Windows, is no reason to lose a run.
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="replace")
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=_end_with_dvc, daemon=True).start()
    try:
        inspect.signature(main).bind(None, *sys.argv[1:])
    except TypeError as error:
        sys.exit(f"{name}: {error}")
    try:
        before, studies, params = _sources(), _studies(), parameters.load()
        main(params, *sys.argv[1:])
        changed = sorted(_changed(before))
        changed += sorted({path.as_posix() for path, _ in studies.items() ^ _studies().items()})
        # Threads change how long training takes, not what comes of it.
        changed += [PARAMETERS.name] if parameters.load().replace(threads=params.threads) != params else []
        if changed:
            raise InputError(f"{', '.join(changed)} changed while the stage ran; run `dvc repro` again")
    except (InputError, OSError, MemoryError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; {LEFT_TO_DO.get(name, '`dvc repro` does this stage again')}", file=sys.stderr)
        sys.exit(130)


def _sources() -> dict[Path, bytes]:
    """Every source file and its contents."""
    paths = [path for folder in ("nnlib", "stages") for path in (HERE / folder).rglob("*.py")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def _studies() -> dict[Path, bytes]:
    """Every study's file and its contents."""
    return {path: path.read_bytes() for path in study_files()}


def _changed(before: dict[Path, bytes]) -> Iterator[str]:
    """The sources that this process has imported and that are no longer what they were."""
    imported = {Path(str(getattr(module, "__file__", ""))) for module in list(sys.modules.values())}
    for path in imported & before.keys():
        if not path.exists() or path.read_bytes() != before[path]:
            yield path.relative_to(HERE).as_posix()


def _end_with_dvc() -> None:
    """Interrupt this process when DVC, or a shell between it and this process, is no more."""
    import psutil

    above = psutil.Process().parents()
    dvc = next((place for place, parent in enumerate(above) if "dvc" in " ".join(parent.cmdline())), -1)
    while all(parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE for parent in above[: dvc + 1]):
        time.sleep(1)
    _thread.interrupt_main()
