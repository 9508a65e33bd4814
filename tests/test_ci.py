"""The two ways in which every commit is checked, .ci/run and GitHub's, run the same commands."""

import re

from pipeline import REPOSITORY

from stages.parameters import read_yaml

COMMANDS = re.compile(r"^(?:pip|pytest|ruff|mypy|dvc)\b[^|\n]*?(?= *\||$)", re.MULTILINE)


def test_github_runs_the_commands_of_ci_run():
    jobs = read_yaml(REPOSITORY / ".github/workflows/ci.yml")["jobs"]
    there = {
        line for step in jobs["test"]["steps"] for line in COMMANDS.findall(step.get("run", "")) if line != "pytest -q"
    }
    script = (REPOSITORY / ".ci/run").read_text(encoding="utf-8")
    here = {line.replace("pip install -q", "pip install") for line in COMMANDS.findall(script)}
    assert len(here) >= 6
    assert there == here
