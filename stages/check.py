"""Parameters, claims and labels fit together: said in one line before anything is computed.

The first stage, so that a parameter that is refused costs nothing: DVC removes what a stage has written before it runs
it again, and this one writes nothing of value.
"""

from typing import Any

from nnlib.data.files import write_text
from nnlib.errors import InputError
from nnlib.evidence.claims import Claim, count_tests
from nnlib.evidence.measures import is_measure
from nnlib.evidence.statistics import fewest_trials
from stages.common import CHECKED, PUBLISHED, run
from stages.parameters import Parameters, read_yaml
from stages.reporting.catalogue import CATALOGUE
from stages.reporting.labels import check_label
from stages.train import cells

WEIGHTS = "weight-diff"


def main(params: Parameters) -> None:
    # DVC takes dvc.yaml for no dependency; a new experiment without a label is refused by its training stage, too.
    study, pipeline = read_yaml(PUBLISHED), read_yaml("dvc.yaml")
    experiments = [f"experiment-{key}" for key in pipeline["stages"]["experiment"]["foreach"]]
    for key in experiments:
        check_label(key)
    claims = [Claim.from_record(record) for record in study["claims"]]
    # The study's cells may be absent from our grid; then claims about them are not tested.
    runs = {*experiments, *cells(params), *study["published"], WEIGHTS}
    for claim in claims:
        check(claim, runs)
    for explanation in study["explanations"]:
        check_explanation(explanation, study["published"], set(params.alternatives.changes))
    needed = fewest_trials(count_tests(claims), 1 - params.evidence.confidence)
    if params.replicas < needed:
        print(f"replicas: {params.replicas} decide no claim, however they turn out; that takes at least {needed}")
    write_text(CHECKED, "Parameters, claims and labels fit together.\n")


def check(claim: Claim, runs: set[str]) -> None:
    if claim.figure not in CATALOGUE:
        raise InputError(f"claim {claim.id}: expected a figure of {', '.join(CATALOGUE)}, got {claim.figure!r}")
    for name in claim.names:
        key, _, measure = name.partition("/")
        if key not in runs:
            raise InputError(f"claim {claim.id}: expected a run of {', '.join(sorted(runs))}, got {key!r}")
        if not is_measure(measure):
            raise InputError(
                f"claim {claim.id}: expected a measure of reports/runs or weight-diff.csv, got {measure!r}"
            )


def check_explanation(explanation: dict[str, Any], published: dict[str, Any], alternatives: set[str]) -> None:
    name = explanation.get("id")
    keys = set(explanation)
    if keys not in ({"id", "says", "instead"}, {"id", "says", "alternative"}):
        raise InputError(
            f"explanation {name}: expected id, says, and instead or alternative, got {', '.join(sorted(keys))}"
        )
    if "alternative" in explanation and explanation["alternative"] not in alternatives:
        raise InputError(
            f"explanation {name}: expected one of the alternatives in params.yaml, {', '.join(sorted(alternatives))}, "
            f"got {explanation['alternative']!r}"
        )
    for number in explanation.get("instead", {}):
        key, _, measure = number.partition("/")
        if measure not in published.get(key, {}):
            raise InputError(f"explanation {name}: expected a published number, got {number!r}")


if __name__ == "__main__":
    run(main)
