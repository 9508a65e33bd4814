"""The tables of verdicts once more, from tables of replicas and studies alone, in exact rational arithmetic.

A program of its own: of the project it uses nothing. Numbers are Fractions, but for what stands for a replica that
diverged: infinity or NaN.
"""

import csv
import math
from bisect import bisect_left, bisect_right
from fractions import Fraction
from itertools import permutations, product
from math import comb

from ruamel.yaml import YAML

INF, NAN = math.inf, math.nan
HALF = Fraction(5, 10**8)  # of the last digit that counts: what is nearer to a bound lies on it
WORDS = ("supported", "equivalent", "not supported", "contradicted", "undecided", "not tested")
CLAIM_COLUMNS = {word: word.replace(" ", "_") for word in WORDS}


def exact(text):
    return Fraction(str(text))


def is_nan(value):
    return isinstance(value, float) and math.isnan(value)


def read(path):
    """run → measure → a Fraction for each replica, None where the table has none."""
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            own = found.setdefault(row.pop("run"), {})
            for name, text in row.items():
                own.setdefault(name, []).append(exact(text) if text else None)
    return found


def kind(name):
    """Of a measure, which decides its margin and what stands for a replica that diverged."""
    if name.endswith("_accuracy") or name == "generalization_gap":
        return "accuracy"
    return "cost" if name.endswith("_cost") or name == "roughness" else "weights"


def number(measured, name):
    run, measure = name.split("/")
    own = measured[run]
    if measure == "generalization_gap" and measure not in own:
        pairs = zip(own["train_accuracy"], own["validation_accuracy"], strict=True)
        return [None if None in pair else pair[0] - pair[1] for pair in pairs]
    return own[measure]


def counted(measured, name):
    """The numbers, what diverged as worse than all others."""
    values, measure = number(measured, name), name.split("/")[1]
    if all(value is None for value in values):
        raise KeyError(name)
    if measure.startswith(("mean_W", "std_W")) or measure == "generalization_gap":
        worst = NAN
    else:
        worst = -INF if kind(measure) == "accuracy" else INF
    return [worst if value is None else value for value in values]


class Comparison:
    def __init__(self, record, margins):
        self.of, self.minus, self.over = (record.get(part) for part in ("of", "minus", "over"))
        self.signs = record.get("sum_of_signs", False)
        self.low, self.high = (None if record.get(end) is None else exact(record[end]) for end in ("low", "high"))
        parts = [part for part in (self.of, self.minus, self.over) if part]
        self.names = [name for part in parts for name in (part if isinstance(part, list) else [part])]
        self.runs = list(dict.fromkeys(name.split("/")[0] for name in self.names))
        with_0 = self.minus and not self.signs and {self.low, self.high} == {0, None}
        margin = margins.get(kind(self.names[0].split("/")[1])) if with_0 else None
        self.margin = exact(margin) if margin else 0
        self.above, self.below = (self.low or 0) + HALF, (self.high or 0) - HALF

    def quantity(self, first, second):
        """From the first number and the other, if there is one."""
        if self.minus:
            return first - second
        return first / second if self.over else first

    def case(self, quantity, margin):
        """held, within, against, or None for NaN."""
        if is_nan(quantity):
            return None
        if margin and abs(quantity) < margin + HALF:
            return "within"
        above = self.low is None or quantity > self.above
        return "held" if above and (self.high is None or quantity < self.below) else "against"

    def numbers(self, measured):
        """The first numbers and the other ones, of each replica; with signs, of each replica a tuple."""
        if not self.signs:
            values = [counted(measured, name) for name in self.names]
            return values[0], values[-1]
        return (list(zip(*(counted(measured, name) for name in names), strict=True)) for names in (self.of, self.minus))

    def value(self, first, second):
        if self.signs:
            unknown = any(map(is_nan, [*first, *second]))
            return NAN if unknown else Fraction(sum((a > b) - (a < b) for a, b in zip(first, second, strict=True)))
        return self.quantity(first, second)

    def paired(self, measured):
        """The quantity of each replica."""
        return [self.value(*own) for own in zip(*self.numbers(measured), strict=True)]

    def combinations(self, measured):
        """The quantity of each replica of one run with each of the other; {places: quantity}."""
        if len(self.runs) == 1:
            return {(k,): value for k, value in enumerate(self.paired(measured))}
        both = product(*map(enumerate, self.numbers(measured)))
        return {(i, j): self.value(a, b) for (i, a), (j, b) in both}


def sign_p(held, replicas):
    """For both sides, if each is as likely as not."""
    tail = sum(comb(replicas, k) for k in range(min(held, replicas - held) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**replicas))


def median(values):
    values = sorted(values)
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return low if low == high else (low + high) / 2


def median_interval(values, level):
    """The narrowest from one of the sorted values to another that misses the median at most so often."""
    n, values = len(values), sorted(values)
    tails = [Fraction(2 * sum(comb(n, k) for k in range(d + 1)), 2**n) for d in range(n // 2)]
    allowed = [d for d, tail in enumerate(tails) if tail <= level]
    return (values[allowed[-1]], values[n - 1 - allowed[-1]]) if allowed else (NAN, NAN)


def holm(p):
    """Each corrected, and the level at which it is tested, for a whole level of 1."""
    corrected, levels, most = {}, {}, Fraction(0)
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        most = max(most, min(Fraction(1), p[place] * (len(p) - rank)))
        corrected[place], levels[place] = most, Fraction(1, len(p) - rank)
    return corrected, levels


def hochberg_decides(p, level):
    """Which of these p-values: all up to the largest that reaches the level divided by its rank from the top."""
    order = sorted(p, reverse=True)
    bound = next((value for rank, value in enumerate(order, 1) if value <= level / rank), -1)
    return [value <= bound for value in p]


def judge(claims, measured, published, margins, level, all_pairs=False):
    """Rows of claims and of comparisons of one family."""
    findings = [
        [finding(Comparison(part, margins), measured, published, level, all_pairs) for part in one] for one in claims
    ]
    level = level * 2 / 3
    p = {
        k: max(part["p"] for part in parts if part["replicas"])
        for k, parts in enumerate(findings)
        if any(part["replicas"] for part in parts)
    }
    places = list(p)
    corrected, levels = holm([p[k] for k in places])
    decided = sum(value <= level for value in corrected.values())
    rows = []
    for k, parts in enumerate(findings):
        row = {"parts": len(parts), "p": NAN, "corrected": NAN, "level": NAN}
        if k in p:
            rank = places.index(k)
            own = levels[rank] * level if corrected[rank] <= level else level / (len(places) - decided)
            row |= {"p": p[k], "corrected": corrected[rank], "level": own}
            tested = [part for part in parts if part["replicas"]]
            holds = hochberg_decides([part["p"] for part in tested], own)
            instead = hochberg_decides([part["p_instead"] for part in tested], own)
            for part, wins, other in zip(tested, holds, instead, strict=True):
                part["verdict"] = word_of(part, other) if wins else "undecided"
        words = [part["verdict"] for part in parts]
        printed = [part["agrees"] for part in parts if part["agrees"] is not None]
        row["own_numbers"] = "not printed" if not printed else "agree" if all(printed) else "disagree"
        rows.append(row | {column: words.count(word) for word, column in CLAIM_COLUMNS.items()} | {"words": words})
    return rows, findings


def word_of(part, instead):
    if 2 * part["held"] > part["replicas"]:
        return "supported"
    if instead:
        return "equivalent" if 2 * part["within"] > part["replicas"] else "contradicted"
    return "not supported"


def ahead(first, second, paired):
    """P(first > second), equal ones counted half; so is what compares with nothing, NaN."""
    if paired:
        return sum(ahead([a], [b], False) for a, b in zip(first, second, strict=True)) / len(first)
    rank, ordered = len(first) * len(second), sorted(value for value in second if not is_nan(value))
    for value in first:
        if not is_nan(value):
            below, not_above = bisect_right(ordered, value - HALF), bisect_left(ordered, value + HALF)
            rank += below - (len(ordered) - not_above)
    return Fraction(rank, 2 * len(first) * len(second))


def finding(comparison, measured, published, level, all_pairs):
    """What is found of one comparison; what takes all pairs of replicas only if it is asked for."""
    found = {"margin": comparison.margin, "p": NAN, "verdict": "not tested", "replicas": 0}
    try:
        (theirs,) = comparison.paired(published)
    except KeyError:
        theirs = NAN
    found |= {"published": theirs, "agrees": None if is_nan(theirs) else comparison.case(theirs, 0) == "held"}
    try:
        paired = comparison.paired(measured)
    except KeyError:
        return found
    cases = [comparison.case(value, comparison.margin) for value in paired]
    known = [value for value in paired if not is_nan(value)]
    middle, held = median(known), cases.count("held")
    low, high = median_interval(known, level)
    found |= {"replicas": len(paired), "p": sign_p(held, len(paired)), "share": Fraction(held, len(paired))}
    found |= {case: cases.count(case) for case in ("held", "within", "against")}
    found |= {"median": middle, "median_low": low, "median_high": high}
    others = [cases.count(case) for case in ("within", "against") if 2 * cases.count(case) > len(paired)]
    found["p_instead"] = sign_p(others[0], len(paired)) if others else Fraction(1)
    if not all_pairs:
        return found
    pairs = comparison.combinations(measured)
    found["holds"] = comparison.runs, {k for k, value in pairs.items() if comparison.case(value, 0) == "held"}
    if not is_nan(theirs):
        low, high, others = theirs - HALF, theirs + HALF, [value for value in pairs.values() if not is_nan(value)]
        rank = len(others) + sum(value <= low for value in others) - sum(value >= high for value in others)
        found["percentile"] = Fraction(100 * rank, 2 * len(others))
    if len(comparison.names) == 2:
        found["ahead"] = ahead(*(counted(measured, name) for name in comparison.names), len(comparison.runs) == 1)
    return found


def claim_word(words, every):
    if len(set(words)) == 1:
        return words[0]
    supported, contradicted = words.count("supported"), words.count("contradicted")
    if every and contradicted:
        return "contradicted"
    if supported + contradicted == 0:
        return "undecided" if {"undecided", "not tested"} & set(words) else "not supported"
    return "partly supported" if supported >= contradicted else "partly contradicted"


def single_run(findings, replicas):
    """Of all combinations of one replica of each run, the share in which all parts hold. The replicas that a run may
    have are the bits of a number; a run that others depend on is fixed to each of its replicas in turn."""
    allowed, partners = {}, {}
    for runs, holds in (part["holds"] for part in findings):
        if len(runs) == 1:
            mask = sum(1 << k for (k,) in holds)
            allowed[runs[0]] = allowed.get(runs[0], (1 << replicas) - 1) & mask
            continue
        for run, other, order in ((runs[0], runs[1], 1), (runs[1], runs[0], -1)):
            masks = [0] * replicas
            for pair in holds:
                one, two = pair[::order]
                masks[one] |= 1 << two
            there = partners.setdefault(run, {}).get(other, [(1 << replicas) - 1] * replicas)
            partners[run][other] = [a & b for a, b in zip(there, masks, strict=True)]
            allowed.setdefault(run, (1 << replicas) - 1)

    def count(runs, allowed):
        if not runs:
            return 1
        run = max(sorted(runs), key=lambda one: len(runs & partners.get(one, {}).keys()))
        group, found = {run}, [run]
        while found:
            new = runs & partners.get(found.pop(), {}).keys() - group
            group |= new
            found += new
        rest = count(runs - group, allowed)
        if group == {run}:
            return rest * allowed[run].bit_count()
        total = 0
        for k in range(replicas):
            if allowed[run] >> k & 1:
                fixed = {other: allowed[other] & partners[run].get(other, [-1] * replicas)[k] for other in group}
                total += count(group - {run}, fixed)
        return rest * total

    return Fraction(count(set(allowed), allowed), replicas ** len(allowed))


def with_exact_derivative(part, instead):
    def renamed(value):
        if isinstance(value, list):
            return [renamed(name) for name in value]
        run, measure = value.split("/")
        return f"{instead.get(run, run)}/{measure}"

    return part | {name: renamed(part[name]) for name in ("of", "minus", "over") if part.get(name)}


def claim_tables(study, measured, evidence, all_pairs=True):
    """`claims` and `comparisons`."""
    level = 1 - exact(evidence["confidence"])
    published = {
        run: {name: [exact(value)] for name, value in own.items()}
        for run, own in (study.get("published") or {}).items()
    }
    cells = (study.get("cells") or [{}])[0]
    pairs = {cells.get("bn"): cells.get("bn_exact"), cells.get("bn_l2"): cells.get("bn_l2_exact")}
    instead = {run: other for run, other in pairs.items() if run and other}
    rows, parts = {}, {}
    for asked_by in ("study", "readers"):
        claims = [one for one in study["claims"] if one.get("asked_by", "study") == asked_by]
        family = [one["comparisons"] for one in claims]
        exact_family = [[with_exact_derivative(part, instead) for part in one] for one in family]
        judged, findings = judge(family, measured, published, evidence["margins"], level, all_pairs)
        exactly, _ = judge(exact_family, measured, published, evidence["margins"], level)
        without, _ = judge(family, measured, published, {}, level)
        for k, (one, row) in enumerate(zip(claims, judged, strict=True)):
            every = one.get("every", False)
            word, bug, margin = (claim_word(found[k].pop("words"), every) for found in (judged, exactly, without))
            there = all("holds" in part for part in findings[k])
            single = single_run(findings[k], findings[k][0]["replicas"]) if there else NAN
            reasons = {
                "bug": bug == "supported" and family[k] != exact_family[k],
                "own numbers": row["own_numbers"] == "disagree",
                "not printed": row["own_numbers"] == "not printed",
                "seed": single >= Fraction(1, 10),
                "margin": margin == "supported",
            }
            if word in ("supported", "not tested") or asked_by == "readers":
                reasons = {}
            why = "; ".join(reason for reason, holds in reasons.items() if holds)
            row |= {"claim": one["id"], "asked_by": asked_by, "verdict": word, "single_run": single, "reasons": why}
            rows[one["id"]], parts[one["id"]] = row, findings[k]
    drop = ("holds", "agrees", "p_instead")
    comparisons = [
        {"claim": one["id"], "comparison": place} | {name: value for name, value in part.items() if name not in drop}
        for one in study["claims"]
        for place, part in enumerate(parts[one["id"]])
    ]
    return {"claims": [rows[one["id"]] for one in study["claims"]], "comparisons": comparisons}


def quantile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def fidelity_tables(study, measured, level):
    """`fidelity` and `baseline`."""
    rows, of_runs = [], {}
    for run, own in study["published"].items():
        for name, printed in own.items():
            raw = measured.get(run, {}).get(name)
            if raw is None or all(value is None for value in raw):
                continue
            value, ours = exact(printed), [v for v in raw if v is not None]
            low, high = median_interval(ours, level)
            below, equal = sum(v < value for v in ours), sum(v == value for v in ours)
            chose = f"{run}/{name}" in study.get("chose_protocol", [])
            rows.append(
                {"run": run, "measure": name, "published": value, "median": median(ours), "median_low": low}
                | {"median_high": high, "middle_low": quantile(ours, Fraction(1, 20))}
                | {"middle_high": quantile(ours, Fraction(19, 20)), "lowest": min(ours), "highest": max(ours)}
                | {"percentile": Fraction(100 * (2 * below + equal), 2 * len(ours)), "chose_protocol": chose}
                | {"inside": min(ours) <= value <= max(ours)}
            )
            if not chose:
                of_runs.setdefault(run, []).append((value, raw))
    everything, baseline = (0, 0, [Fraction(1)]), []
    for run, numbers in of_runs.items():
        kept = [k for k in range(len(numbers[0][1])) if all(raw[k] is not None for _, raw in numbers)]
        if len(kept) < 2:
            continue
        inside, chances = 0, [Fraction(0)] * (len(numbers) + 1)
        for value, raw in numbers:
            inside += min(raw[k] for k in kept) <= value <= max(raw[k] for k in kept)
        for left_out in kept:
            others = [[raw[k] for k in kept if k != left_out] for _, raw in numbers]
            pairs = zip(others, numbers, strict=True)
            chances[sum(min(own) <= raw[left_out] <= max(own) for own, (_, raw) in pairs)] += Fraction(1, len(kept))
        baseline.append(baseline_row(run, len(numbers), inside, chances))
        count, among, before = everything
        together = [Fraction(0)] * (len(before) + len(chances) - 1)
        for (i, a), (j, b) in product(enumerate(before), enumerate(chances)):
            together[i + j] += a * b
        everything = count + len(numbers), among + inside, together
    return {"fidelity": rows, "baseline": [baseline_row("all", *everything), *baseline] if baseline else []}


def baseline_row(run, numbers, inside, chances):
    expected = sum(k * chance for k, chance in enumerate(chances))
    variance = sum((k - expected) ** 2 * chance for k, chance in enumerate(chances))
    row = {"run": run, "numbers": numbers, "inside": inside, "expected": expected, "deviation": math.sqrt(variance)}
    return row | {"probability": sum(chances[: inside + 1])}


def chance_tables(study, measured, crossed):
    """`beats`, the first row of `winners`, and `crossed`."""
    runs = [run for run in study["runs"] if run in study["cells"][0].values() and not study["runs"][run].get("added")]
    values = {run: counted(measured, f"{run}/test_accuracy") for run in runs}
    beats = [
        {"run": run, "other": other, "ahead": ahead(values[run], values[other], False)}
        for run, other in permutations(runs, 2)
    ]
    wins = {"runs": 1}
    for run in runs:
        others, share = [values[other] for other in runs if other != run], Fraction(0)
        for value in values[run]:
            for equal in product((False, True), repeat=len(others)):
                ways = [
                    sum(v == value if tie else v < value for v in own) for own, tie in zip(others, equal, strict=True)
                ]
                share += Fraction(math.prod(ways), (1 + sum(equal)) * math.prod(map(len, others)))
        wins[run] = share / len(values[run])
    rows = []
    for run, own in crossed.items():
        side = math.isqrt(len(own["test_accuracy"]))
        table = [own["test_accuracy"][side * k : side * (k + 1)] for k in range(side)]
        by_row, by_column = ([sum(line) / side for line in lines] for lines in (table, zip(*table, strict=True)))
        mean = sum(by_row) / side
        left = sum((table[i][j] - by_row[i] - by_column[j] + mean) ** 2 for i, j in product(range(side), repeat=2))
        interaction = left / (side - 1) ** 2
        weights, shuffle = (
            max(Fraction(0), sum((v - mean) ** 2 for v in means) / (side - 1) - interaction / side)
            for means in (by_row, by_column)
        )
        total = weights + shuffle + interaction
        rows.append(
            {"run": run, "weights": weights / total, "shuffle": shuffle / total, "interaction": interaction / total}
            | {"deviation": math.sqrt(total)}
        )
    return {"beats": beats, "winners": [wins], "crossed": rows}


def tables(root, key):
    """The tables of one study by name, each as rows."""
    yaml = YAML(typ="safe")
    study, params = (yaml.load(root / path) for path in (f"data/studies/{key}.yaml", "params.yaml"))
    evidence, runs = params["evidence"], root / "reports/runs"
    if key != "study":
        return claim_tables(study, read(runs / "studies" / key / "replicas.csv"), evidence)
    measured = {}
    for folder in ("grid", *study["runs"]):
        measured |= read(runs / folder / "replicas.csv")
    official = {
        run: own | ({"test_accuracy": own["official_accuracy"]} if "official_accuracy" in own else {})
        for run, own in measured.items()
    }
    found = claim_tables(study, measured, evidence)
    other = claim_tables(study, official, evidence, all_pairs=False)["claims"]
    splits = [
        {"split": folder.name, "median": row.get("median")}
        | {name: row[name] for name in ("claim", "comparison", "replicas", "held", "within", "against")}
        for folder in sorted((runs / "chance").glob("split-*"))
        for row in claim_tables(study, read(folder / "replicas.csv"), evidence, all_pairs=False)["comparisons"]
        if row["replicas"]
    ]
    return (
        found
        | fidelity_tables(study, measured, 1 - exact(evidence["confidence"]))
        | chance_tables(study, measured, read(runs / "chance/crossed/replicas.csv"))
        | {"splits": splits}
        | {"official": [{"claim": row["claim"], "official": row["verdict"]} for row in other]}
    )
