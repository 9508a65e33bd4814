"""What the page says of the other public reports of the assignment, as numbers and labels."""

from __future__ import annotations

from typing import Any

from nnlib.evidence.mistakes import MISTAKES
from nnlib.evidence.reports import WINNER
from nnlib.evidence.study import Study
from stages.reporting.data import Report, records

# What is counted, in words: what a report answers to a question of `nnlib.evidence.reports`.
ANSWERS = {
    ("bn_vs_none", "better"): "batch norm is better than plain",
    ("l2_vs_none", "better"): "L2 is better than plain",
    ("bn_l2_vs_l2", "better"): "batch norm + L2 is better than L2",
    (WINNER, "none"): "plain wins",
    (WINNER, "bn"): "batch norm wins",
    (WINNER, "l2"): "L2 wins",
    (WINNER, "bn_l2"): "batch norm + L2 wins",
}


def assignment(report: Report) -> dict[str, Any]:
    """How many reports come to which answer, beside what seeds alone would give, and what goes wrong in them."""
    tables = {name: records(table) for name, table in report.verdicts["reports"].items()}
    counted = {
        (row["question"], row["answer"]): row | {"words": ANSWERS[row["question"], row["answer"]]}
        for row in tables["counted"]
        if row["group"] == "all" and (row["question"], row["answer"]) in ANSWERS
    }
    worse = {row["question"]: row["count"] for row in tables["counted"] if _is(row, group="all", answer="worse")}
    wins = {answer: row["count"] for (question, answer), row in counted.items() if question == WINNER}
    return {
        "public": len(report.others),
        "doubtful": sum(bool(study.doubtful) for study in report.others),
        "counted": [counted[key] for key in ANSWERS if key in counted],
        "better": {question: row["count"] for (question, _), row in counted.items() if question != WINNER},
        "worse": worse,
        "of_four": sum(wins.values()),
        "winners": sum(count > 0 for count in wins.values()),
        "acts": _counts(tables["counted"], "L2 acts"),
        "chance": _counts(tables["counted"], "L2 cannot act"),
        "noise": {(row["source"], row["of"]): row for row in tables["noise"]},
        "spread": {(row["question"], row["source"]): row for row in tables["spread"]},
        "explosions": [row for row in tables["explosions"] if row["report"] != report.study.key],
        "mistakes": [row | MISTAKES[row["mistake"]]._asdict() for row in tables["mistakes"]],
        "reports": [_told(study, tables) for study in report.others],
    }


def winners(report: Report) -> dict[str, str]:
    """Of each other report that ran all four experiments, the one that wins in it, as a run of the study."""
    cells = report.study.four.names()
    rows = records(report.verdicts["reports"]["conclusions"])
    return {
        row["report"]: cells[row["numbers"]]
        for row in rows
        if _is(row, question=WINNER) and row["report"] != report.study.key and row["numbers"] in cells
    }


def _told(study: Study, tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    of = {name: [row for row in rows if row.get("report") == study.key] for name, rows in tables.items()}
    return {"study": study, "conclusions": of["conclusions"]} | of["reports"][0]


def _counts(rows: list[dict[str, Any]], group: str) -> dict[str, int]:
    found = [row for row in rows if _is(row, question="l2_vs_none", group=group)]
    return {"reports": found[0]["reports"] if found else 0} | {row["answer"]: row["count"] for row in found}


def _is(row: dict[str, Any], **values: str) -> bool:
    return all(row[name] == value for name, value in values.items())
