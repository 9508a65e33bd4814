"""data/published/study.yaml: what the study published and claims, checked before anything is computed."""

from collections import Counter
from typing import Any

from nnlib.arguments import finite, text
from nnlib.errors import InputError
from nnlib.evidence.claims import Claim
from nnlib.evidence.measures import is_measure
from stages.common import PUBLISHED
from stages.reporting.catalogue import CATALOGUE
from stages.reporting.results import FOUR

# What stands in study.yaml.
SECTIONS = {"published": dict, "seconds": dict, "l2": dict, "counting": dict, "claims": list, "explanations": list}
# The numbers in it that the report tells, whatever the claims.
TOLD = [
    *(("published", key, "test_accuracy") for key in FOUR),
    *(("published", "experiment-2", cost) for cost in ("train_cost", "validation_cost")),
    *(("seconds", key) for key in FOUR),
    *(("counting", name) for name in ("epochs", "iterations")),
]


def check_study(study: Any, runs: set[str], alternatives: set[str]) -> list[Claim]:
    """The study's claims, if they and all else in its file speak of these runs and alternatives, or of its own."""
    check_sections(study)
    claims = [Claim.from_record(record) for record in study["claims"]]
    # The study's cells may be absent from our grid; then claims about them are not tested.
    for claim in claims:
        check_claim(claim, runs | set(study["published"]))
    for explanation in study["explanations"]:
        check_explanation(explanation, study["published"], alternatives)
    for kind in ("claims", "explanations"):
        ((most, count),) = Counter(record["id"] for record in study[kind]).most_common(1)
        if count > 1:
            raise InputError(f"{PUBLISHED}: {kind}: expected an id for each, got {most} {count} times")
    return claims


def check_sections(study: Any) -> None:
    """That there is something in each section, and all that the report tells; that numbers are numbers, and all else
    records."""
    for name, kind in SECTIONS.items():
        if not isinstance(study, dict) or not isinstance(study.get(name), kind) or not study[name]:
            raise InputError(f"{PUBLISHED}: expected a {'list' if kind is list else 'mapping'} {name}, not empty")
    for run_name, measures in study["published"].items():
        for measure, value in entries(f"published: {run_name}", measures).items():
            finite(f"{PUBLISHED}: published: {run_name}: {measure}", value)
    for section, *keys in TOLD:
        value = study[section]
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        finite(f"{PUBLISHED}: {': '.join([section, *keys])}", value)
    for name in ("claims", "explanations"):
        for record in study[name]:
            entries(name, record)


def entries(name: str, record: Any) -> dict[str, Any]:
    """The record, if it is one."""
    if not isinstance(record, dict):
        raise InputError(f"{PUBLISHED}: {name}: expected entries, got {record!r}")
    return record


def check_claim(claim: Claim, runs: set[str]) -> None:
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
    for key in ("id", "says"):
        text(f"explanation {name}: {key}", explanation[key])
    instead = entries(f"explanation {name}: instead", explanation.get("instead", {}))
    for number in [*instead, *instead.values()]:
        key, _, measure = str(number).partition("/")
        if measure not in published.get(key, {}):
            raise InputError(f"explanation {name}: expected a published number, got {number!r}")
