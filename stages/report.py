"""The study, told again with all replicas: every figure, report.html and report.md."""

from typing import Any

from nnlib import figures
from nnlib.data.files import write_csv, write_text
from nnlib.playground import playground_data
from stages.common import FIGURES, REPORTS, run
from stages.plates import PLATES
from stages.results import Results
from stages.templating import environment


def main(params: Any) -> None:
    results = Results.load(params)
    for name, plate in PLATES.items():
        figures.save(plate.draw(results), FIGURES / f"{name}.svg")
    svgs = {name: (FIGURES / f"{name}.svg").read_text(encoding="utf-8") for name in PLATES}
    context = {
        "results": results,
        "plates": PLATES,
        "params": params,
        "playground": playground_data(results.networks, *results.test),
    }
    templates = environment()
    write_text(REPORTS / "report.md", templates.get_template("report.md.j2").render(context))
    write_text(REPORTS / "report.html", templates.get_template("report.html.j2").render(context, svgs=svgs))
    write_csv(REPORTS / "confusion.csv", results.readings)
    print(f"{len(PLATES)} figures, reports/report.html and reports/report.md")


if __name__ == "__main__":
    run(main)
