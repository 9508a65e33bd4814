"""All that the report tells of, as data: the tables that git has, and the networks that it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nnlib.core.settings import Settings
from nnlib.evidence.claims import number
from nnlib.evidence.study import Study
from nnlib.evidence.tables import by_run, measures
from stages.configurations import cells
from stages.parameters import Parameters
from stages.paths import (
    DATASET,
    FIRST_HALF,
    GRID,
    MODELS,
    RUNS,
    VERDICTS,
    WEIGHT_DIFFERENCES,
    WEIGHT_TABLE,
)
from stages.studies import load_others, load_study

if TYPE_CHECKING:
    from torch import Tensor

    from nnlib import Run


@dataclass(frozen=True)
class Report:
    """What the tables in git say, which every clone has.

    Attributes
    ----------
    study, others : the study of params.yaml, and all others
    settings : run → its settings, those of the grid first, in the order of the study's table
    replicas : run → a row for each replica
    curves : run → costs against steps
    verdicts : of each study by key, its tables by name
    first_half : the study's claims judged on the seeds on which they were worded; empty if these are not kept
    """

    params: Parameters
    study: Study
    others: list[Study]
    settings: dict[str, Settings]
    examples: dict[str, int]
    replicas: dict[str, pd.DataFrame]
    curves: dict[str, pd.DataFrame]
    verdicts: dict[str, dict[str, pd.DataFrame]]
    first_half: pd.DataFrame
    weight_table: pd.DataFrame

    @classmethod
    def load(cls, params: Parameters) -> Report:
        study, others = load_study(), load_others()
        folders = [RUNS / GRID, *(RUNS / run for run in study.runs)]
        runs = pd.concat(pd.read_csv(folder / "runs.csv") for folder in folders)
        first_half = FIRST_HALF / "claims.csv"
        return cls(
            params=params,
            study=study,
            others=others,
            settings=dict(sorted(cells(params).items(), key=_as_printed)) | study.configurations(params.common()),
            examples={name: int(runs[f"{name}_examples"].iloc[0]) for name in ("train", "validation", "test")},
            replicas=by_run(pd.read_csv(folder / "replicas.csv") for folder in folders),
            curves=by_run(pd.read_csv(folder / "curves.csv") for folder in folders),
            verdicts={folder.name: _tables(folder) for folder in sorted(VERDICTS.iterdir()) if folder.is_dir()},
            first_half=_table(first_half) if first_half.exists() else pd.DataFrame(columns=["claim", "verdict"]),
            weight_table=pd.read_csv(WEIGHT_TABLE),
        )

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The study's own tables, by name."""
        return self.verdicts[self.study.key]

    @cached_property
    def measured(self) -> dict[str, dict[str, Any]]:
        """run → measure → one value for each replica."""
        return measures(self.replicas)

    def values(self, run: str, measure: str) -> pd.Series:
        """One value for each replica."""
        return pd.Series(number(self.measured, f"{run}/{measure}"))

    @property
    def grid(self) -> list[str]:
        """The grid's cells, in the order of the study's table."""
        return [run for run in self.settings if run not in self.study.runs]

    @property
    def added(self) -> list[str]:
        """The four experiments, and those with the true derivative."""
        return list(dict.fromkeys(self.study.four.names().values()))

    def label(self, run: str) -> str:
        """What a run is called."""
        if run in self.study.runs:
            return self.study.runs[run].label
        if run not in self.settings:
            return run
        settings = self.settings[run]
        return f"batch {settings.batch_size}, {settings.epochs} epochs, λ {settings.L2:g}"

    def colour(self, run: str) -> str | None:
        """The name of its colour, if it has one."""
        return self.study.runs[run].colour if run in self.study.runs else None

    def printed(self, run: str, measure: str) -> float | None:
        """What the study printed of a run, if it did, or what follows from it."""
        try:
            return float(number(self.study.published, f"{run}/{measure}"))
        except LookupError:
            return None

    def median(self, run: str, measure: str) -> float:
        """Over the replicas that did not diverge; NaN if all did."""
        table = self.replicas[run]
        return float(table.loc[table["diverged_at"] == 0, measure].median())


def _as_printed(cell: tuple[str, Settings]) -> tuple[Any, ...]:
    return cell[1].batch_size, cell[1].epochs, cell[1].L2


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: _table(path) for path in sorted(folder.glob("*.csv"))}


def _table(path: Path) -> pd.DataFrame:
    """A table in which text that is missing is empty."""
    table = pd.read_csv(path)
    text = [name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])]
    return table.fillna(dict.fromkeys(text, ""))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as one record for each row."""
    return [dict(zip(table.columns.astype(str), row, strict=True)) for row in table.itertuples(index=False, name=None)]


@dataclass(frozen=True)
class Networks:
    """The trained networks, and the images.

    Attributes
    ----------
    models : run → its replicas, of the four experiments and those with the true derivative
    weight_differences : W − W_L2 of every layer, (R, out, in) each
    train, test : (X, Y)
    """

    models: dict[str, Run]
    weight_differences: dict[str, Tensor]
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls, runs: Sequence[str]) -> Networks:
        from nnlib import Run
        from nnlib.data.dataset import sets
        from nnlib.data.files import load_tensors

        both = sets(load_tensors(DATASET))
        models = {run: Run.from_tensors(load_tensors(MODELS / f"{run}.safetensors")) for run in runs}
        return cls(models, load_tensors(WEIGHT_DIFFERENCES), both["train"], both["test"])

    def alive(self, *runs: str) -> int | None:
        """The first replica that diverged in none of these runs."""
        both = np.flatnonzero(np.logical_and.reduce([self.models[run].diverged_at.numpy() == 0 for run in runs]))
        return int(both[0]) if len(both) else None


def one(parameters: Mapping[str, Tensor], replica: int) -> dict[str, Tensor]:
    """The parameters of one replica alone."""
    return {name: value[replica] for name, value in parameters.items()}
