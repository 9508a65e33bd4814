"""The committed verdicts are those that this code finds in the committed runs, to the byte."""

import shutil

import pytest
from pipeline import REPOSITORY

from stages import parameters, verdicts

COMMITTED = REPOSITORY / "reports"


@pytest.mark.skipif(not (COMMITTED / "verdicts").exists(), reason="reports/verdicts is not there: not committed yet")
def test_the_committed_verdicts_are_those_of_this_code(tmp_path, monkeypatch):
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    for folder in ("data/studies", "reports/runs"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    verdicts.main(parameters.load())
    made = tmp_path / "reports"
    files = [path.relative_to(COMMITTED) for path in (COMMITTED / "verdicts").rglob("*.csv")]
    assert sorted(files) == sorted(path.relative_to(made) for path in (made / "verdicts").rglob("*.csv"))
    different = [str(file) for file in files if (made / file).read_bytes() != (COMMITTED / file).read_bytes()]
    assert not different
    assert (made / "summary.json").read_bytes() == (COMMITTED / "summary.json").read_bytes()
