"""YAML files, read as DVC reads them: YAML 1.2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from nnlib.errors import InputError


def read_yaml(path: str | Path) -> Any:
    """The contents of a file.

    Raises
    ------
    InputError
        If it is no YAML; the message names the file.
    """
    try:
        return parse_yaml(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not YAML: expected UTF-8, {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_yaml(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    # For a tag that does not fit its value, ruamel may raise any of these.
    except (YAMLError, ValueError, LookupError, AssertionError, RecursionError) as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}") from None
