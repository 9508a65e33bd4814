"""What stands outside reports/ and is told from the tables in git: README.md's generated parts, and what nnlib.check
says that a mistake does. A fresh clone can make them, too.

    python -m stages.reporting.readme            write them
    python -m stages.reporting.readme --check    exit with 1 if they are not as they should be now

No stage of the pipeline, since README.md is written by people but for the parts between its markers.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nnlib.data.files import write_text
from nnlib.errors import InputError
from nnlib.evidence.mistakes import DERIVATIVE
from stages import parameters
from stages.reporting.catalogue import CATALOGUE, told
from stages.reporting.data import Report
from stages.reporting.formats import environment
from stages.reporting.page import context

README, MEASURED = Path("README.md"), Path("nnlib/check/measured.json")
PARTS = ("key", "finding", "verdicts", "pipeline")


def filled(text: str, facts: dict[str, Any]) -> str:
    """The README with every part between its markers replaced by what it should be."""
    templates = environment()
    for name in PARTS:
        start, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise InputError(f"README.md: expected the markers of {name!r}, found none")
        part = templates.get_template(f"readme/{name}.md.j2").render(facts).strip()
        text = f"{before}{start}\n{part}\n\n{end}{after}"
    return text


def main() -> None:
    text = README.read_text(encoding="utf-8")
    report = Report.load(parameters.load())
    picture = told("experiments", CATALOGUE["experiments"].drawing(report), environment())
    dag = [sys.executable, "-m", "dvc", "dag", "--md", "--collapse-foreach-matrix"]
    graph = subprocess.run(dag, capture_output=True, text=True, check=True).stdout.strip()
    facts = context(report) | {"picture": picture, "dag": graph}
    measured = environment().get_template("readme/measured.j2").render(facts).strip()
    new = {README: filled(text, facts), MEASURED: json.dumps({DERIVATIVE: measured}, ensure_ascii=False, indent=1)}
    for path, content in new.items():
        if "--check" not in sys.argv:
            write_text(path, content)
        elif not path.exists() or path.read_text(encoding="utf-8") != content:
            sys.exit(f"{path.name} is stale: run `python -m stages.reporting.readme`")


if __name__ == "__main__":
    main()
