"""What there is to say of a solution's functions, for a reader and for a program."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnlib.check.solution import ANY, TABLE

# What the study measured of a mistake, by its name: a sentence, made from its results. The file may be absent.
MEASURED = Path(__file__).with_name("measured.json")
# Results with more entries are not shown whole, nor inputs with more than twice as many in all.
WHOLE = 12
WRONG = ("known mistake", "different")


def known(function: str) -> dict[str, dict[str, Any]]:
    """The known mistakes of a function."""
    return TABLE[function].get("mistakes", {}) | ANY["mistakes"]


@dataclass
class Verdict:
    """What there is to say of one function, in text, numbers and lists.

    Attributes
    ----------
    function, called : the assignment's name for it, and the solution's
    status : "right", "known mistake", "different", "not judged" (it could not be called) or "missing"
    mistakes : their names in mistakes.yaml; of a right function, those that do no harm
    note : why it is not judged, or what the verdict depends on
    input, expected, got : the smallest input on which it is not right, and the results, by their names
    """

    function: str
    called: str = ""
    status: str = "missing"
    mistakes: list[str] = field(default_factory=list)
    note: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    got: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """The verdict, with what mistakes.yaml says about it."""
        entry, measured = TABLE[self.function], json.loads(MEASURED.read_text("utf-8")) if MEASURED.exists() else {}
        mistakes = [
            {"name": one} | known(self.function)[one] | {"measured": measured.get(one)} for one in self.mistakes
        ]
        return asdict(self) | {"mistakes": mistakes, "formula": entry["formula"], "section": entry.get("section")}

    def __str__(self) -> str:
        data, called = self.data(), f" (here {self.called})" if self.called.lower() != self.function else ""
        lines = [f"{self.function}{called}: {'right, with a remark' if self.status == 'right' else self.status}"]
        lines += [self.note] if self.note else []
        for one in data["mistakes"]:
            lines.append(f"{one['name']}: {one['says']}")
            said = {"what it does": "effect", "measured": "measured", "why": "why"}
            lines += [f"  {word}: {one[key]}" for word, key in said.items() if one.get(key)]
        if self.status in WRONG:
            lines.append(f"formula: {data['formula']}")
            lines += [f'derived in docs/backprop.md, "{data["section"]}"'] if data["section"] else []
        return "\n  ".join(lines + self.difference())

    def difference(self) -> list[str]:
        """The input, what was expected and what came: whole, or the entry that is farthest off."""
        if not self.expected:
            return []
        pairs = {name: (numbers(self.got[name]), numbers(right)) for name, right in self.expected.items()}
        name = max(pairs, key=lambda name: distance(*pairs[name]))
        got, right = pairs[name]
        small = sum(np.size(one) for one in self.input.values()) <= 2 * WHOLE
        shown = (
            f"{key} = {text(one)}" if small or not np.ndim(one) else f"{key} {np.shape(one)}"
            for key, one in self.input.items()
        )
        lines = [f"for {', '.join(shown)}{'' if small else '; --json has the numbers'}"]
        lines += ["of which the part that λ adds:"] if self.input.get("L2") else []
        worst = np.unravel_index(apart(got, right).argmax(), right.shape)
        for word, one in (("expected", right), ("got     ", got)):
            place, value = ("", one) if one.size <= WHOLE else (str([int(k) for k in worst]), one[worst])
            lines.append(f"{word} {name}{place} = {text(value.tolist())}")
        percent = 100 * distance(got, right)
        if np.isfinite(percent):
            lines.append(f"largest difference: {percent:,.{0 if percent >= 10 else 2}f} % of the largest entry")
        return lines


@dataclass
class Report:
    """What `check` found: true if every function that is there is right, a text when printed.

    Attributes
    ----------
    name : of the solution
    verdicts : a `Verdict` for each function of the assignment
    unread : the cells of notebooks that are no Python, of which nothing is judged
    """

    name: str
    verdicts: list[Verdict]
    unread: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return {one.status for one in self.verdicts} - {"missing"} == {"right"}

    @property
    def missing(self) -> list[str]:
        """The assignment's functions that are not there."""
        return [
            one.function for one in self.verdicts if one.status == "missing" and "optional" not in TABLE[one.function]
        ]

    def data(self) -> dict[str, Any]:
        """The report in text, numbers and lists, for JSON."""
        functions = [one.data() for one in self.verdicts if one.status != "missing"]
        said = {"solution": self.name, "right": bool(self), "functions": functions, "missing": self.missing}
        return said | {"unread": self.unread}

    def __str__(self) -> str:
        right = [one.function for one in self.verdicts if one.status == "right"]
        count = {status: sum(one.status == status for one in self.verdicts) for status in (*WRONG, "not judged")}
        counts = {
            "right": len(right),
            "with a known mistake": count.pop("known mistake"),
            **count,
            "missing": len(self.missing),
        }
        parts = [f"{self.name}: {', '.join(f'{n} {word}' for word, n in counts.items() if n)}"]
        parts += [str(one) for one in self.verdicts if one.status not in ("missing", "right") or one.mistakes]
        parts += [
            f"{word}: {', '.join(names)}" for word, names in (("right", right), ("missing", self.missing)) if names
        ]
        parts += [f"not read, since Python cannot: {cell}" for cell in self.unread]
        return "\n\n".join(parts)


def numbers(value: Any) -> np.ndarray:
    return np.array(value, dtype=float)


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest entry; infinite where one is a number and the other is not."""
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0) or 1
    return float(apart(got, expected).max(initial=0)) / scale


def apart(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The difference of each entry: 0 where both are no number, infinite where one is."""
    with np.errstate(invalid="ignore"):
        both = (got == expected) | (np.isnan(got) & np.isnan(expected))
        return np.where(both, 0, np.nan_to_num(np.abs(got - expected), nan=np.inf, posinf=np.inf))


def plain(value: Any) -> Any:
    """Arrays as lists; NaN and infinity, which JSON does not have, as text."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
