"""The studies in data/studies, each a checked `Study`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nnlib.errors import InputError
from nnlib.evidence.study import Study
from nnlib.records import explain
from stages.paths import STUDY, study_files
from stages.yaml_files import read_yaml


def load_study(path: Path = STUDY) -> Study:
    """The study in a file.

    Raises
    ------
    InputError
        If it is no study; the message, one line, names the file.
    """
    try:
        study = read_study(read_yaml(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if study.key != path.stem:
        raise InputError(f"{path}: key: expected {path.stem}, as the file is called, got {study.key}")
    return study


def read_study(raw: Any) -> Study:
    """The study in a mapping as read from YAML; an InputError in one line if it is none."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise InputError(explain(error, Study)) from None


def load_others() -> list[Study]:
    """All studies but the one of params.yaml, by key."""
    return [load_study(path) for path in study_files() if path != STUDY]
