"""The generated parts of the README, and what it promises."""

import re
import subprocess
import sys

import pytest
from pipeline import REPOSITORY


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A clone of the last commit, whose README shows its own results, whatever has been reproduced here since."""
    folder = tmp_path_factory.mktemp("readme") / "committed"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
    return folder


def check(folder):
    return subprocess.run(
        [sys.executable, "-m", "stages.readme", "--check"], cwd=folder, capture_output=True, text=True
    )


def test_the_generated_parts_are_those_of_the_committed_results(committed):
    result = check(committed)
    assert result.returncode == 0, result.stderr


def test_a_changed_number_is_noticed_and_mended(committed):
    path = committed / "README.md"
    text = path.read_text(encoding="utf-8")
    changed = re.sub(r"(\| batch 32, .*?\| )\d", r"\g<1>7", text, count=1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    result = check(committed)
    assert (result.returncode, result.stderr) == (1, "README.md is stale: run `python -m stages.readme`\n")
    subprocess.run([sys.executable, "-m", "stages.readme"], cwd=committed, check=True)
    assert path.read_text(encoding="utf-8") == text


def test_every_link_leads_somewhere():
    for page in (REPOSITORY / "README.md", REPOSITORY / "reports" / "report.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
