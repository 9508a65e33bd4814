"""The README: its generated parts, its snippet, its links and its length; and the other pages' links."""

import re
import subprocess
from pathlib import Path

import pytest
from pipeline import REPOSITORY, Ended, Project

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "benchmarks" / "README.md",
    REPOSITORY / "reports" / "report.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


@pytest.fixture(scope="module")
def committed(tmp_path_factory, mnist, quick_python):
    """A clone of the last commit, whose README shows its own results, whatever has been reproduced here since."""
    folder = tmp_path_factory.mktemp("readme") / "committed"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
    return Project(folder, mnist)


def generate(project: Project, *options: str) -> Ended:
    return project.python("stages.reporting.readme", *options, check=False)


def test_the_generated_parts_are_those_of_the_committed_results(committed):
    result = generate(committed, "--check")
    assert result.returncode == 0, result.stderr


def test_a_changed_number_is_noticed_and_mended(committed):
    path = committed.folder / "README.md"
    text = path.read_text(encoding="utf-8")
    changed = re.sub(r"(We read )\d+", r"\g<1>77", text, count=1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    result = generate(committed, "--check")
    stale = "README.md is stale: run `python -m stages.reporting.readme`\n"
    assert (result.returncode, result.stderr) == (1, stale)
    assert generate(committed).returncode == 0
    assert path.read_text(encoding="utf-8") == text


def test_what_is_written_by_hand_is_short():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    written = re.sub(r"<!-- (\w+): generated -->.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)
    assert len(written.splitlines()) <= 120


def test_the_snippet_runs_as_printed(finished: Project, tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    result = finished.python("snippet", PYTHONPATH=str(tmp_path))
    assert "all right" in result.stdout
    (inputs,) = re.findall(r"relu_backward, (\[.*\])\)\)", snippet)
    wrong = f"from snippet import *\nprint(bool(check_gradients(relu, lambda dA, Z: 0 * dA, {inputs})))"
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    assert finished.python("wrong", PYTHONPATH=str(tmp_path)).stdout.endswith("False\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
