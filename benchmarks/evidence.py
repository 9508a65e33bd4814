"""Do the rules keep what they promise, on data like ours? Run as

    python -m benchmarks.evidence [--samples N]

Families of claims are drawn from the committed tables: in each sample seeds are drawn with replacement, with all their
numbers, so that the comparisons depend on each other as ours do. What is true is set: the values of a comparison get a
known median, and for each seed a coin says whether its values are mirrored at the medians. The rules of the first
version stand beside, and the usual bootstrap.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.common import FOLDER, markdown
from nnlib.data.files import write_text
from nnlib.evidence.claims import DECIMALS, Word, counted_numbers, decide, quantity
from nnlib.evidence.probability import probability_of_improvement
from nnlib.evidence.statistics import Interval, Values, holm, median_interval, sign_p
from nnlib.evidence.study import Claim, Comparison
from stages.parameters import load
from stages.paths import GRID, RUNS
from stages.studies import load_study
from stages.verdicts import read

SEEDS, BOOTSTRAPS = 50, 300  # fewer samples for the bootstrap, since each takes a thousand resamples
MEASURES = {"accuracy": "test_accuracy", "cost": "train_cost", "": "mean_W1"}  # one of each kind
EVIDENCE, STUDY = load().evidence, load_study()
MARGINS = EVIDENCE.margins.model_dump()
HEADER = ("truth", "a wrong word: new rules", "old rules", "found: new rules", "old rules")
ALSO_TRUE = {(Word.NOT_SUPPORTED, Word.EQUIVALENT), (Word.NOT_SUPPORTED, Word.CONTRADICTED)}
ABOUT = """{} families of {} claims with {} comparisons of {} seeds, drawn from the committed tables. A wrong word: any
comparison has a word that is not true of it, promised in {:.3g} % of families at most; “not supported” is true of what
is equivalent or contradicted, too. Found: the comparisons with their true word. The words mean what the new rules say;
the old ones had no margin for accuracies.
"""


class Family:
    """The study's claims, as far as their runs are there, each comparison as a difference that must lie above 0."""

    def __init__(self) -> None:
        measured = read([RUNS / GRID, *(RUNS / name for name in STUDY.runs)])
        self.claims: list[Claim] = []
        self.kinds: list[str] = []
        columns = []
        for claim in (claim for claim in STUDY.claims if claim.asked_by == "study"):
            parts = []
            for part in claim.comparisons:
                try:
                    values = quantity(part, counted_numbers(part, measured))
                except LookupError:
                    continue
                low, high = (np.inf if end is None else end for end in (part.low, part.high))
                columns.append(np.minimum(np.inf if part.low is None else values - low, high - values))
                name = MEASURES[part.kind]
                parts.append(Comparison(of=f"run{len(self.kinds)}/{name}", minus=f"zero/{name}", low=0.0))
                self.kinds.append(part.kind)
            self.claims += [claim.replace(comparisons=parts)] if parts else []
        self.values, self.margin = np.array(columns).T, np.array([MARGINS.get(kind, 0.0) for kind in self.kinds])
        self.medians, self.held = np.median(self.values, axis=0), (self.values > self.margin).mean(0)

    def draw(self, medians: Values, random: np.random.Generator) -> Values:
        """(seeds, comparisons) with these medians; where one is NaN, the values of the tables."""
        values, coins = self.values[random.integers(0, len(self.values), SEEDS)], random.choice([-1, 1], (SEEDS, 1))
        return np.where(np.isnan(medians), values, medians + coins * (values - self.medians))

    def true_words(self, medians: Values) -> list[Word]:
        """Of infinitely many seeds; undecided where a comparison holds in half of them."""
        values = np.concatenate([medians + sign * (self.values - self.medians) for sign in (-1, 1)])
        values = np.where(np.isnan(medians), np.concatenate([self.values] * 2), values)
        held = (np.round(values, DECIMALS) > self.margin).mean(0)
        within = ((self.margin > 0) & (np.abs(np.round(values, DECIMALS)) <= self.margin)).mean(0)
        cases = [held > 0.5, held == 0.5, within > 0.5, within + held < 0.5]
        words = np.select(cases, ["supported", "undecided", "equivalent", "contradicted"], "not supported")
        return [Word(word) for word in words]

    def new_rules(self, values: Values) -> list[Word]:
        measured = {f"run{k}": {MEASURES[kind]: values[:, k]} for k, kind in enumerate(self.kinds)}
        measured["zero"] = dict.fromkeys(MEASURES.values(), np.zeros(SEEDS))
        verdicts = decide(self.claims, measured, {}, margins=MARGINS, confidence=EVIDENCE.confidence)
        return [part.verdict for verdict in verdicts for part in verdict.findings]

    def old_rules(self, values: Values) -> list[Word]:
        """Sign tests against 0, and of costs a second one, that the difference lies within the margin; all of them
        corrected together by Holm's method. Accuracies had no margin."""
        ahead, within = (values > 0).sum(0), (np.abs(values) <= self.margin).sum(0)
        costs, same = np.array([kind == "cost" for kind in self.kinds]), np.zeros(len(ahead), dtype=bool)
        p = [sign_p(int(count), SEEDS) for count in [*ahead, *within[costs]]]
        decided, of_costs = np.split(holm(p) <= 1 - EVIDENCE.confidence, [len(ahead)])
        same[costs] = of_costs & (2 * within[costs] > SEEDS)
        cases = [same, ~decided, 2 * ahead > SEEDS]
        return [Word(word) for word in np.select(cases, ["equivalent", "undecided", "supported"], "contradicted")]

    def compared(self, words: list[Word], true: list[Word]) -> tuple[bool, float]:
        """As `ABOUT` says."""
        pairs = [pair for pair in zip(words, true, strict=True) if pair[0] is not Word.UNDECIDED]
        wrong = any(a is not b and (a, b) not in ALSO_TRUE for a, b in pairs)
        return wrong, sum(a is b for a, b in pairs) / max(1, len(true) - true.count(Word.UNDECIDED))


def families(family: Family, samples: int, random: np.random.Generator) -> str:
    margin, clear = family.margin, (family.held < 0.1) | (family.held > 0.9)
    truths = {
        "no difference": 0 * margin,
        "half the margin ahead": margin / 2,
        "just the margin ahead": margin,
        "what is clear as found, all else just the margin ahead": np.where(clear, np.nan, margin),
        "all as found": np.full(len(margin), np.nan),
    }
    rows = []
    for name, medians in truths.items():
        true, drawn = family.true_words(medians), [family.draw(medians, random) for _ in range(samples)]
        both = [[family.compared(rules(v), true) for v in drawn] for rules in (family.new_rules, family.old_rules)]
        new, old = (np.mean(found, axis=0) for found in both)
        rows.append((name, *map(percent, (new[0], old[0], new[1], old[1]))))
    return markdown(HEADER, rows)


def intervals(samples: int, random: np.random.Generator) -> str:
    bad = stats.norm.ppf(0.4 / 0.9)
    kinds = {  # with the median 0; and their mean, which is what the bootstrap is after
        "normal": (lambda n: random.normal(size=n), 0.0),
        "skewed": (lambda n: random.exponential(size=n) - np.log(2), 1 - np.log(2)),
        "one bad seed in ten": (lambda n: random.normal(size=n) - 20 * (random.random(n) < 0.1) - bad, -2 - bad),
    }
    rows = []
    for (name, (draw, mean)), n in ((kind, n) for kind in kinds.items() for n in (10, SEEDS)):
        drawn = [draw(n) for _ in range(samples)]
        bca = [stats.bootstrap((own,), np.mean, n_resamples=999, rng=0) for own in drawn[:BOOTSTRAPS]]
        ours = percent([covers(median_interval(own, 0.95), 0) for own in drawn])
        rows.append((f"{name}, {n} seeds", ours, percent([covers(one.confidence_interval, mean) for one in bca])))
    for truth in (0.5, 0.75, 0.95):
        covered, ahead = [], Comparison(of="a/mean_W1", minus="b/mean_W1", low=0.0)
        for sample in range(samples):
            a, b = random.normal(size=(2, SEEDS))
            measured = {"a": {"mean_W1": a + np.sqrt(2) * stats.norm.ppf(truth)}, "b": {"mean_W1": b}}
            found = probability_of_improvement(ahead, measured, confidence=0.95, resamples=300, seed=sample)
            covered.append(covers(found, truth))
        rows.append((f"P(A > B) = {truth}, {SEEDS} seeds", percent(covered), "–"))
    return markdown(("95 % intervals", "ours covers", "BCa of the mean covers"), rows)


def covers(interval: Interval, value: float) -> bool:
    return bool(interval.low <= value <= interval.high)


def percent(shares: Any) -> str:
    return f"{100 * np.mean(shares):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description="Error rates and coverage of the evidence, by simulation.")
    parser.add_argument("--samples", type=int, default=1000, help="of each kind (default: %(default)s)")
    samples, random, family = parser.parse_args().samples, np.random.default_rng(0), Family()
    about = ABOUT.format(samples, len(family.claims), len(family.kinds), SEEDS, 100 * (1 - EVIDENCE.confidence))
    samples_of = f"{samples} samples of each kind, {BOOTSTRAPS} for BCa."
    text = f"{about}\n{families(family, samples, random)}\n{samples_of}\n\n{intervals(samples, random)}"
    write_text(FOLDER / "evidence.md", text)
    print(text)


if __name__ == "__main__":
    main()
