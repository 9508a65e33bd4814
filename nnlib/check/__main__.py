"""`python -m nnlib.check mine.py`: exit status 0 if every function that is there is right, 1 if not, 2 if a file cannot
be read."""

import argparse
import json
import sys
from pathlib import Path

from nnlib.check import check_files, inside
from nnlib.errors import InputError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m nnlib.check", description="Is this backpropagation right?")
    parser.add_argument("files", nargs="+", type=Path, help="the scripts or notebooks of one solution, or their folder")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, for a program")
    parser.add_argument("--complete", action="store_true", help="missing functions, too, make the exit status 1")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of a function (default: %(default)s)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--skip", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.inside, arguments.skip.split(","), arguments.files)
        return 0
    try:
        report = check_files(arguments.files, arguments.seconds)
    except InputError as error:
        parser.error(str(error))
    print(json.dumps(report.data(), indent=2, ensure_ascii=False) if arguments.json else report)
    return 0 if report and not (arguments.complete and report.missing) else 1


if __name__ == "__main__":
    sys.exit(main())
