"""The pipeline's stages: each reads parameters and files, calls nnlib, writes files; dvc.yaml has the order."""

import sys
from typing import Any


def say_interrupted(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """One line for an interrupt while a stage still imports, which takes seconds; a defect keeps its traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted before it began", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


# For `python -m stages.…` alone, which is what argv says until the stage's own module is found.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = say_interrupted
