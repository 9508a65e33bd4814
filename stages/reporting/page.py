"""What the pages say, as numbers and labels; the sentences are in the templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from nnlib.evidence.claims import Word, finding
from nnlib.evidence.fidelity import LARGE_GAIN, NOT_REPRODUCED
from nnlib.evidence.statistics import median_interval, middle
from nnlib.evidence.study import Claim, Comparison, Study, measure
from stages.reporting.assignment import assignment
from stages.reporting.data import Report, records
from stages.reporting.figures.costs import implied
from stages.reporting.formats import NOT_THERE, interval, number
from stages.reporting.formats import measure as written

CELLS = ("none", "bn", "l2", "bn_l2")
# Why a claim was made that does not hold, as nnlib.evidence.tables.reasons has it.
REASONS = ("seed", "bug", "own numbers", "not printed", "margin")
# In the order in which verdicts are listed.
ORDER = [str(word) for word in Word]


def context(report: Report) -> dict[str, Any]:
    """Everything that the templates of report.html, report.md and README.md tell."""
    claims = verdicts(report, "study")
    return {
        "report": report,
        "study": report.study,
        "params": report.params,
        "rules": report.params.evidence.margins.model_dump() | {"confidence": report.params.evidence.confidence},
        "words": ORDER,
        "claims": claims,
        "failed": failed(claims),
        "questions": verdicts(report, "readers"),
        "four": four(report),
        "single": single_runs(report),
        "bug": bug(report),
        "implied": implied(report),
        "fidelity": fidelity(report),
        "chance": chance(report),
        "tables": {name: records(table) for name, table in report.tables.items()},
        "run_results": run_results(report),
        "others_said": assignment(report),
        "others": [judged(report, other) for other in report.others if other.claims],
    }


def four(report: Report) -> list[dict[str, Any]]:
    """The four experiments of the assignment, with their cell and label."""
    names = report.study.four.names()
    cells = {run: cell for cell, run in names.items() if cell in CELLS}
    return [{"run": run, "cell": cells[run], "label": report.label(run)} for run in report.study.experiments]


def verdicts(report: Report, asked_by: str) -> list[dict[str, Any]]:
    """The study's claims, or its readers' questions, each with its verdict and its comparisons in words."""
    half = dict(zip(report.first_half["claim"], report.first_half["verdict"], strict=True))
    return claim_rows(report, report.study, report.tables, asked_by, half)


def failed(claims: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many claims are not supported, and for which reasons."""
    wrong = [claim for claim in claims if claim["verdict"] not in (Word.SUPPORTED, Word.NOT_TESTED)]
    counts = {reason: sum(reason in claim["why"] for claim in wrong) for reason in REASONS}
    return {"count": len(wrong), "explained": sum(bool(claim["why"]) for claim in wrong)} | counts


def judged(report: Report, other: Study) -> dict[str, Any]:
    """Another study with its claims."""
    tables = report.verdicts.get(other.key, {})
    return {"study": other, "claims": claim_rows(report, other, tables, "study", {}) if tables else []}


def claim_rows(
    report: Report, study: Study, tables: dict[str, pd.DataFrame], asked_by: str, half: dict[str, str]
) -> list[dict[str, Any]]:
    rows = {row["claim"]: row for row in records(tables["claims"])}
    official = {row["claim"]: row["official"] for row in records(tables["official"])} if "official" in tables else {}
    comparisons = records(tables["comparisons"])
    missed = not_reproduced(report) if study is report.study else []
    found = []
    for claim in study.claims:
        if claim.asked_by != asked_by:
            continue
        row = rows[claim.id]
        parts = [
            part | {"words": words(report, study, comparison)}
            for part, comparison in zip(
                (part for part in comparisons if part["claim"] == claim.id), claim.comparisons, strict=True
            )
        ]
        found.append(
            row
            | {"says": claim.says, "quote": claim.quote, "section": claim.section, "note": claim.note}
            | {"of": parts, "first_half": half.get(claim.id), "same": half.get(claim.id) == row["verdict"]}
            | {"official": official.get(claim.id) if any("test_accuracy" in name for name in claim.names) else None}
            | {"missed": [row for row in missed if any(name.startswith(f"{row['run']}/") for name in claim.names)]}
            | {
                "why": [reason for reason in row["reasons"].split("; ") if reason],
                "fails": fails(claim, row["verdict"], parts),
            }
        )
    return sorted(found, key=lambda row: ORDER.index(row["verdict"]))


def fails(claim: Claim, verdict: str, parts: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    """Of a claim of every case, in how many of how many parts it fails, where it holds in others."""
    failed = sum(part["verdict"] in (Word.CONTRADICTED, Word.NOT_SUPPORTED, Word.EQUIVALENT) for part in parts)
    wrong = claim.every and verdict in (Word.CONTRADICTED, Word.NOT_SUPPORTED)
    return (failed, len(parts)) if wrong and 0 < failed < len(parts) else None


def words(report: Report, study: Study, comparison: Comparison) -> dict[str, str]:
    """What is compared, where the claim places it, and the unit."""

    def label(name: str) -> str:
        run = name.partition("/")[0]
        return study.runs[run].label if run in study.runs else report.label(run)

    first, *_ = comparison.names
    key = first.rpartition("/")[2]
    found = measure(key)
    layer = key.rpartition("W")[2]
    evidence = report.params.evidence
    told = found.words.format(steps=evidence.early_steps, epochs=evidence.early_epochs) if found else key
    quantity = told + (layer if layer.isdecimal() else "")
    if comparison.sum_of_signs:
        quantity += f" to W{len(comparison.of)}"
        difference = f"{label(comparison.of[0])} minus {label((comparison.minus or [''])[0])}"
        compared = f"{difference}, sum of the signs"
    elif comparison.minus or comparison.over:
        sign = "minus" if comparison.minus else "divided by"
        compared = f"{label(str(comparison.of))} {sign} {label(str(comparison.minus or comparison.over))}"
    else:
        compared = label(str(comparison.of))
    points = bool(found and found.kind == "accuracy")
    margin = report.params.evidence.margins.model_dump().get(comparison.kind, 0.0)
    low, high = (
        None if end is None else (end or sign * margin) * (100 if points else 1)
        for end, sign in ((comparison.low, 1), (comparison.high, -1))
    )
    unit, decimals = " points" if points else "", 0 if comparison.sum_of_signs else 4
    if low is None:
        region = f"below {number(high, decimals)}{unit}"
    elif high is None:
        region = f"above {number(low, decimals)}{unit}"
    else:
        region = f"above {number(low, decimals)} and below {number(high, decimals)}{unit}"
    return {"quantity": quantity, "compared": compared, "region": region, "points": "yes" if points else ""}


def single_runs(report: Report) -> dict[str, Any]:
    """What a study of one run each says: its winner, how often that wins, what the study's own rerun shows."""
    study, tables = report.study, report.tables
    published = {run: report.printed(run, "test_accuracy") for run in study.experiments}
    printed = {run: value for run, value in published.items() if value is not None}
    winner = max(printed, key=printed.__getitem__) if printed else None
    shares = {int(row["runs"]): row for row in records(tables["winners"])} if len(tables["winners"]) else {}
    right = max(study.experiments, key=lambda run: report.median(run, "test_accuracy"))
    plain = study.four.none
    low, high = middle(report.values(str(plain), "test_accuracy"))
    reruns = [
        {"label": report.label(run)}
        | {name: report.printed(key, "test_accuracy") for name, key in (("printed", run), ("again", other))}
        for run, other in study.same.items()
    ]
    return {
        "winner_label": report.label(winner) if winner else None,
        "lead": sorted(printed.values())[-1] - sorted(printed.values())[-2] if len(printed) > 1 else None,
        "wins": shares.get(1, {}).get(winner) if winner else None,
        "found": {count: row[right] for count, row in shares.items()},
        "plain": {"low": low, "high": high},
        "reruns": [rerun for rerun in reruns if None not in rerun.values()],
    }


def bug(report: Report) -> dict[str, Any]:
    """What leaving the derivative out does, of batch norm with L2: Σ W² without and with it, and the test accuracy."""
    cells = report.study.four
    left_out, true = str(cells.bn_l2), str(cells.bn_l2_exact)
    change = (report.values(left_out, "test_accuracy") - report.values(true, "test_accuracy")).dropna()
    lost = median_interval(-change.to_numpy(), report.params.evidence.confidence)
    return {
        "squares": report.median(left_out, "sum_squared_weights"),
        "true_squares": report.median(true, "sum_squared_weights"),
        "lost": {"median": lost.estimate, "median_low": lost.low, "median_high": lost.high},
        "worse": int((change < 0).sum()),
        "of": len(change),
        "rows": [
            {"label": report.label(run)}
            | {"median": report.median(run, "sum_squared_weights")}
            | dict(zip(("low", "high"), middle(report.values(run, "sum_squared_weights")), strict=True))
            for run in report.added
        ],
    }


def not_reproduced(report: Report) -> list[dict[str, Any]]:
    """The experiments of which so few printed numbers lie among ours that they count as not reproduced."""
    rows = records(report.tables["baseline"])
    few = [row for row in rows if row["run"] in report.study.experiments and row["probability"] < NOT_REPRODUCED]
    return [row | {"label": report.label(row["run"])} for row in few]


def fidelity(report: Report) -> dict[str, Any]:
    """How many of the printed numbers lie among ours, in all and of each experiment, and what would explain it."""
    rows = {row["run"]: row for row in records(report.tables["baseline"])}
    known = [run for run in report.study.experiments if run in rows]
    runs = [rows[run] | {"label": report.label(run)} for run in known]
    return {
        "all": rows.get("all"),
        "runs": runs,
        "missed": not_reproduced(report),
        "explanations": [
            row
            | {"says": explanation.says}
            | {
                "large": row["gain"] > LARGE_GAIN,
                "instead": bool(explanation.instead),
                "runs": [
                    part | {"label": report.label(part["run"])}
                    for part in records(report.tables["explanations"])
                    if part["explanation"] == explanation.id and part["run"] in report.study.experiments
                ],
            }
            for explanation in report.study.explanations
            for row in records(report.tables["explanations"])
            if row["explanation"] == explanation.id and row["run"] == "all"
        ],
        "numbers": [row | {"label": report.label(row["run"])} for row in records(report.tables["fidelity"])],
        "chose": len(report.study.chose_protocol),
    }


def chance(report: Report) -> dict[str, Any]:
    """More than one source of chance: the medians of each comparison on each split, of the same replicas, and the
    initial weights' share of the seeds' variance."""
    splits, margins = report.tables["splits"], report.params.evidence.margins.model_dump()
    replicas = report.params.chance.split_replicas
    few = {run: {name: values[:replicas] for name, values in of.items()} for run, of in report.measured.items()}
    claims = {claim.id: claim for claim in report.study.claims}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for (claim, place), there in splits.groupby(["claim", "comparison"], sort=False):
        comparison = claims[str(claim)].comparisons[int(str(place))]
        told = words(report, report.study, comparison)
        ours = finding(comparison, few, {}, margins, report.params.evidence.confidence).size.estimate
        medians = there["median"].tolist()
        sides = {value > (1 if comparison.over else 0) for value in (ours, *medians)}
        row = {"words": told, "ours": ours, "medians": medians, "turns": len(sides) > 1}
        # More than one claim may ask for the same comparison.
        rows[told["quantity"], told["compared"]] = row
    return {
        "splits": list(rows.values()),
        "names": list(dict.fromkeys(splits["split"])),
        "turned": sum(row["turns"] for row in rows.values()),
        "crossed": [row | {"label": report.label(row["run"])} for row in records(report.tables["crossed"])],
    }


def run_results(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """The study's table of run results: (printed, ours) of each experiment."""
    runs, printed = report.added, report.study.counting
    study = report.study

    def of_study(run: str, value: Any) -> str:
        return str(value) if run in study.seconds else NOT_THERE

    def both(name: str) -> list[tuple[str, str]]:
        cells = []
        for run in runs:
            ours = median_interval(report.values(run, name), report.params.evidence.confidence)
            row = {"median": ours.estimate, "median_low": ours.low, "median_high": ours.high}
            cells.append((written(report.printed(run, name), name), interval(row, name)))
        return cells

    def steps(run: str) -> str:
        counts = report.replicas[run]["steps"]
        return " to ".join(f"{count:,}" for count in sorted({int(counts.min()), int(counts.max())}))

    rows = {
        "Epochs (the study counts from 0)": [
            (of_study(run, printed.get("epochs", NOT_THERE)), str(report.settings[run].epochs)) for run in runs
        ],
        "Iterations (the study counts one more)": [
            (of_study(run, f"{printed.get('iterations', 0):,}"), steps(run)) for run in runs
        ],
        "Train accuracy": both("train_accuracy"),
        "Validation accuracy": both("validation_accuracy"),
        "Test accuracy": both("test_accuracy"),
        f"Accuracy on {report.params.dataset.title}'s official test set": both("official_accuracy"),
        "Train final cost": both("train_cost"),
        "Validation final cost": both("validation_cost"),
    }
    return list(rows.items())
