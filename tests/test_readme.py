"""The generated parts of the README, and what it promises."""

import re
import subprocess
import sys

from pipeline import REPOSITORY

from stages import readme


def test_the_generated_parts_are_up_to_date():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme.filled(text) == text, "README.md is stale: run `python -m stages.readme`"


def test_check_says_when_they_are_not(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "stages.readme", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_every_link_leads_somewhere():
    for page in (REPOSITORY / "README.md", REPOSITORY / "reports" / "report.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_changed_number_is_noticed():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    changed = re.sub(r"(\| batch 32, .*?\| )\d", r"\g<1>7", text, count=1)
    assert changed != text
    assert readme.filled(changed) == text
