"""Every committed table of verdicts, computed anew by two programs that use nothing of nnlib: one in exact rational
arithmetic, one by scipy and statsmodels."""

import math
from functools import cache

import pandas as pd
import pytest
import recomputed_by_libraries
import recomputed_exactly
from pipeline import REPOSITORY

VERDICTS = REPOSITORY / "reports" / "verdicts"
STUDIES = sorted(path.parent.name for path in VERDICTS.glob("*/claims.csv"))
PROGRAMS = {"exactly": recomputed_exactly, "by libraries": recomputed_by_libraries}

pytestmark = pytest.mark.skipif(
    "study" not in STUDIES,
    reason="reports/verdicts/study is not there: the results of these claims are not committed yet",
)


@cache
def recomputed(program, key):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)  # statsmodels calls it at every correction
        return PROGRAMS[program].tables(REPOSITORY, key)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("key", STUDIES)
def test_the_committed_tables_are_those_of_other_programs(key, program):
    for name, rows in recomputed(program, key).items():
        committed = pd.read_csv(VERDICTS / key / f"{name}.csv", keep_default_na=False, dtype=str)
        if name == "winners":  # the others are drawn
            committed = committed[:1]
        assert len(rows) == len(committed), name
        wrong = [
            f"{name}.csv, row {place}, {column}: {committed[column][place]}, and {program} {value}"
            for place, row in enumerate(rows)
            for column, value in row.items()
            if not same(committed[column][place], value)
        ]
        assert not wrong, "\n".join(wrong[:20])


def same(text, value):
    """Whether a cell says that, to the last of its eight digits."""
    if isinstance(value, str):
        return text == value
    if value is None or math.isnan(value):
        return text == ""
    if text in ("True", "False"):
        return value == (text == "True")
    return text != "" and math.isclose(float(text), value, rel_tol=2e-7, abs_tol=1e-12)


def test_every_table_and_column_is_recomputed():
    tables = {path.stem: set(pd.read_csv(path)) for path in (VERDICTS / "study").glob("*.csv")}
    columns = {}
    for program in PROGRAMS:
        for name, rows in recomputed(program, "study").items():
            columns.setdefault(name, set()).update(*(row.keys() for row in rows))
    assert columns.keys() == tables.keys()
    missing = {f"{name}.{column}" for name in tables for column in tables[name] - columns[name]}
    assert missing == {"official.verdict"}  # which is in another table, too
