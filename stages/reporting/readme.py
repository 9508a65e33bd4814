"""README.md's generated parts, rendered from the tables in git, so that a fresh clone can make them too.

    python -m stages.reporting.readme            write them into README.md
    python -m stages.reporting.readme --check    exit with 1 if README.md does not have them as they are now

No stage of the pipeline, since README.md is written by people but for the parts between its markers.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx

from nnlib.data.files import read_json, write_text
from nnlib.errors import InputError
from stages import parameters
from stages.common import SUMMARY
from stages.parameters import read_yaml
from stages.reporting import words
from stages.reporting.formats import environment
from stages.reporting.results import Findings

README = Path("README.md")
PARTS = ("finding", "verdicts", "metrics", "pipeline")


def arrows() -> list[tuple[str, str]]:
    """The pipeline as `dvc dag` has it, the stages of a group as one, without arrows that others together stand for."""
    dag = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], capture_output=True, text=True, check=True
    ).stdout
    stages = list(read_yaml("dvc.yaml")["stages"])
    pairs = ((a.split("@")[0], b.split("@")[0]) for a, b in re.findall(r'"(.+?)" -> "(.+?)"', dag))
    fewest = networkx.transitive_reduction(networkx.DiGraph(pairs)).edges
    return sorted(fewest, key=lambda pair: (stages.index(pair[0]), stages.index(pair[1])))


def filled(text: str, context: dict[str, Any]) -> str:
    """The README with every part between its markers replaced by what it should be."""
    templates = environment()
    for name in PARTS:
        start, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise InputError(f"README.md: expected the markers of {name!r}, found none")
        part = templates.get_template(f"readme-{name}.md.j2").render(context).strip()
        text = f"{before}{start}\n{part}\n\n{end}{after}"
    return text


def main() -> None:
    text = README.read_text(encoding="utf-8")
    findings = Findings(**Findings.read(parameters.load()))
    new = filled(
        text, {"results": findings, "labs": words.labs(findings), "metrics": read_json(SUMMARY), "arrows": arrows()}
    )
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md is stale: run `python -m stages.reporting.readme`")
    write_text(README, new)


if __name__ == "__main__":
    main()
