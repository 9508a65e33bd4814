"""README.md's picture, tables and drawing of the pipeline, put in from the files that they are made of.

    python -m stages.readme            write them into README.md
    python -m stages.readme --check    exit with 1 if README.md does not have them as they are now

No stage of the pipeline, since README.md is written by people but for the parts between its markers.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from nnlib.data.files import write_text

README = Path("README.md")
PARTS = {
    "answer": lambda: between(Path("reports/report.md"), r"\n(1\. .*?)\n\n"),
    "verdicts": lambda: between(Path("reports/report.md"), r"\n(\| claim \|.*?)\n\n").replace(
        "](figures", "](reports/figures"
    ),
    "grid": lambda: between(Path("reports/report.md"), r"\n(\| configuration \|.*?)\n\n"),
    "pipeline": lambda: f"```mermaid\n{drawing()}\n```",
    "benchmark": lambda: Path("benchmarks/training.md").read_text(encoding="utf-8").strip(),
    "machines": lambda: Path("benchmarks/machines.md").read_text(encoding="utf-8").strip(),
    "scaling": lambda: Path("benchmarks/scaling.md").read_text(encoding="utf-8").strip(),
    "time": lambda: Path("benchmarks/pipeline.md").read_text(encoding="utf-8").strip(),
}


def between(path: Path, pattern: str) -> str:
    """The part of a file that a pattern with one group finds."""
    found = re.search(pattern, path.read_text(encoding="utf-8"), flags=re.DOTALL)
    if not found:
        raise ValueError(f"{path}: expected a part like {pattern!r}, found none")
    return found[1]


def drawing() -> str:
    """The pipeline as `dvc dag` has it, with the stages of a group drawn as one."""
    dag = subprocess.run(["dvc", "dag", "--dot"], capture_output=True, text=True, check=True).stdout
    stages = list(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"])
    arrows = {(a.split("@")[0], b.split("@")[0]) for a, b in re.findall(r'"(.+?)" -> "(.+?)"', dag)}
    ordered = sorted(arrows, key=lambda arrow: (stages.index(arrow[0]), stages.index(arrow[1])))
    return "\n".join(["flowchart LR", *(f"    {a} --> {b}" for a, b in ordered)])


def filled(text: str) -> str:
    """The README with every part between its markers replaced by what it should be."""
    for name, part in PARTS.items():
        start, end = f"<!-- {name}: generated -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"README.md: expected the markers of {name!r}")
        text = f"{before}{start}\n{part()}\n\n{end}{after}"
    return text


def main() -> None:
    text = README.read_text(encoding="utf-8")
    new = filled(text)
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md is stale: run `python -m stages.readme`")
    write_text(README, new)


if __name__ == "__main__":
    main()
