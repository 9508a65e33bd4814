"""What the sentences, captions and alt texts of the committed report.md say, against the tables that they rest on.

What follows from a table is computed here; the numbers in the report's own tables are recomputed elsewhere.
"""

import re
from functools import cache
from statistics import median

import pandas as pd
import pytest
from pipeline import REPOSITORY
from recomputed_exactly import Comparison, exact, read
from recomputed_exactly import median as exact_median

from nnlib.evidence.claims import Word
from stages.reporting.figures.reports import KINDS
from stages.yaml_files import read_yaml

REPORTS = REPOSITORY / "reports"
PAGE = REPORTS / "report.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="reports/report.md is not there: it is not committed yet")

PARAMS, STUDY = (read_yaml(REPOSITORY / path) for path in ("params.yaml", "data/studies/study.yaml"))
CLAIMS = {claim["id"]: claim for claim in STUDY["claims"]}
LABELS = {run: told["label"] for run, told in STUDY["runs"].items()}
SHOWN = [STUDY["cells"][0][cell] for cell in ("none", "bn", "l2", "bn_l2", "bn_exact", "bn_l2_exact")]
FOUR = [run for run in LABELS if run in SHOWN[:4]]
PLAIN, BN, L2, BOTH = (LABELS[run] for run in SHOWN[:4])
((RUN, AGAIN),) = STUDY["same"].items()
GRID = [f"grid-b{b}-e{e}-l{l2}" for b in (32, 64, 128) for e in (50, 100) for l2 in (0.01, 0.04)]
WORDS = {"three": 3, "four": 4, "nine": 9, "ten": 10, "twenty": 20}
TOKEN = re.compile(
    "|".join(rf"{re.escape(label)}(?=\W)" for label in LABELS.values())
    + r"|batch \d+, \d+ epochs, λ [\d.]+\b|\b(?:np|drop|twin|torch)-[\w-]+|\bW\d|(?<=\()[^()]+(?=\): [+−])"
    + r"|[<>] \d+(?= %)|(?<![\w.])[+−]?\d+(?:,\d{3})*(?:\.\d+)?(?: × 10[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?"
    + rf"|(?:\b(?:partly|not) )?\b(?:supported|equivalent|contradicted|undecided)|(?i:\b(?:{'|'.join(WORDS)}))\b"
)
tokens = TOKEN.findall


@cache
def table(name):
    """One of reports/; `study/` and `reports/` are those of reports/verdicts."""
    name = re.sub("^(study|reports)/", r"verdicts/\g<0>", name)
    return pd.read_csv(REPORTS / f"{name}.csv", keep_default_na=False, na_values=[""])


def rows(name, **values):
    """Those in which a column has that value, or one of those."""
    found = table(name)
    for column, value in values.items():
        found = found[found[column].isin(value if isinstance(value, list) else [value])]
    return found.to_dict("records")


def each(name, *columns, **values):
    """Of each of those rows a column, or %column in percent, or its run's label; or a number that is no finding."""

    def cell(row, column):
        if not isinstance(column, str):
            return column
        return label(row["run"]) if column == "run" else 100 * row[column[1:]] if column[0] == "%" else row[column]

    return [cell(row, column) for row in rows(name, **values) for column in columns]


def label(run):
    return LABELS.get(run) or "batch {}, {} epochs, λ {}".format(*re.findall(r"[\d.]+", run))


def seeds(run, measure):
    """One value for each seed."""
    found = table(f"runs/{'grid' if run in GRID else run}/replicas")
    found = found.assign(gap=100 * (found["train_accuracy"] - found["validation_accuracy"]))
    return found[found["run"] == run][measure].tolist()


def medians(runs, *measures):
    return [part for run in runs for part in (label(run), *(median(seeds(run, name)) for name in measures))]


def lost():
    """What batch norm with L2 loses by the missing derivative, in points of test accuracy, by seed."""
    left_out, true = (seeds(SHOWN[k], "test_accuracy") for k in (3, 5))
    return [100 * (b - a) for a, b in zip(left_out, true, strict=True)]


def counted(question, group="all"):
    """How many reports find better and how many worse; or how many times each experiment is the winner."""
    return each("reports/counted", "count", question=question, group=group)


def reports(question):
    """What a figure says of the reports: of all, of each, and of those that could be trained."""
    shown = [row for row in rows("reports/reports", doubtful=False) if row[question] == row[question]]
    shown.sort(key=lambda row: ([*KINDS].index(row[f"{question}_kind"]), -row[question]))
    said, both = [], []
    for row in shown:
        of = {"report": row["report"], "question": question}
        own, again = (each("reports/differences", "%difference", source=source, **of) for source in ("seed", "again"))
        said += [] if row["report"] == "study" else [row["report"]]
        said += [KINDS[row[f"{question}_kind"]][0], 100 * row[question], *again]
        said += [len(own), min(own), max(own)] if own else []
        both += [min(own) < 0 < max(own)] if own else []
    return [
        *(sum(sign * row[question] > 0 for row in shown) for sign in (1, -1)),
        *said,
        len(both),
        *([] if all(both) else [sum(both)]),
    ]


def splits():
    """How many comparisons there are on other splits, and in how many a median lies on the other side of none."""
    few = PARAMS["chance"]["split_replicas"]
    folders = [read(REPORTS / f"runs/{folder}/replicas.csv") for folder in ("grid", *LABELS)]
    measured = {
        run: {name: values[:few] for name, values in own.items()} for folder in folders for run, own in folder.items()
    }
    sides = {}
    for (claim, place), there in table("study/splits").groupby(["claim", "comparison"]):
        part = CLAIMS[claim]["comparisons"][place]
        values = [exact_median(Comparison(part, {}).paired(measured)), *map(exact, there["median"])]
        sides[str([part.get(name) for name in ("of", "minus", "over")])] = {v > bool(part.get("over")) for v in values}
    return len(sides), few, sum(len(both) > 1 for both in sides.values())


def judged():
    """How many claims have which verdict, why not a better one, and how many had the same on the seeds before."""
    claims = rows("study/claims", asked_by="study")
    before = {row["claim"]: row["verdict"] for row in rows("first-half/claims")}
    verdicts = [claim["verdict"] for claim in claims]
    why = [str(claim["reasons"]).split("; ") for claim in claims if claim["verdict"] != "supported"]
    luck, own, silent, bug, margin = (
        sum(one in of for of in why) for one in ("seed", "own numbers", "not printed", "bug", "margin")
    )
    explained = sum(of != ["nan"] for of in why)
    first, last = PARAMS["seed"], PARAMS["seed"] + PARAMS["replicas"] - 1
    return [
        len(claims),
        *(part for word in map(str, Word) if word in verdicts for part in (verdicts.count(word), word)),
        *(
            len(why),
            "supported",
            explained,
            luck,
            10,
            own,
            silent,
            bug,
            "supported",
            margin,
            0,
            first - 1,
            *tokens(STUDY["frozen"]["date"]),
            first,
            last,
        ),
        *(sum(before[claim["claim"]] == claim["verdict"] for claim in claims), len(claims)),
    ]


def confused():
    """The share of the most frequent mistake, its digit and prediction; the share of each digit that is right."""
    found = table("figures/confusion")
    mistakes, right = found.query("digit != prediction"), found.query("digit == prediction")
    worst = mistakes.loc[mistakes["share"].idxmax()]
    each_right = zip(right["digit"], 100 * right["share"], strict=True)
    return 100 * worst["share"], worst["digit"], worst["prediction"], *(part for pair in each_right for part in pair)


def implied():
    """The study's two costs, each with its number of examples; Σ W² and the cross-entropy that follow."""
    told = STUDY["explosion"]
    high, low = (STUDY["published"][told["run"]][name] for name in ("train_cost", "validation_cost"))
    few, many, half = told["m_train"], told["m_validation"], told["L2"] / 2
    squares = (high - low) / (half / few - half / many)
    return high, few, low, many, squares, low - half / many * squares


def notes():
    """Claim → what its note names: bounds of its comparisons, and what the study prints of them."""
    low, high = ({key: claim["comparisons"][0].get(end) for key, claim in CLAIMS.items()} for end in ("low", "high"))
    theirs = table("study/comparisons").groupby("claim")["published"]
    least, most = theirs.min(), theirs.max()
    gap, mean, spread, cost = "little-overfitting", "l2-mean-shift-small", "l2-mild", "costs-blow-up"
    said = {
        "more-epochs-help": PARAMS["grid"]["l2"],
        gap: [100 * high[gap], 100 * most[gap], 3, *map(float, re.findall(r"[\d.]+", AGAIN))],
        "batch-32-faster": PARAMS["grid"]["epochs"],
        "l2-reduces-overfitting": [3],
        "weights-stabilized": [4],
        cost: [low[cost], round(least[cost], -2)],
        "cost-needs-both": [low["cost-needs-both"], 1],
        "weights-need-both": [2, 4, 4, 2],
        "batchnorm-lowers-accuracy-with-l2": [2, 4, 2],
        "high-cost-harmless": [100 * PARAMS["evidence"]["margins"]["accuracy"]],
        mean: [high[mean], 0.0432, most[mean]],  # the difference as it prints it, and that of its rounded means
        "l2-weight-spread": ["W3", "W4"],
        spread: [*theirs.get_group(spread), low[spread], high[spread]],
        "more-epochs-help-with-larger-l2": [sum(theirs.get_group("more-epochs-help-with-larger-l2") < 0), 0.04],
    }
    return {key: said.get(key, []) + [BN] * ("experiment-4/" in str(claim)) for key, claim in CLAIMS.items()}


@cache
def says():
    """Figure, claim or heading → what its sentences name in this order. What stands here itself is no finding."""
    first, replicas, level = PARAMS["seed"], PARAMS["replicas"], 100 * PARAMS["evidence"]["confidence"]
    printed = {run: 100 * own["test_accuracy"] for run, own in STUDY["published"].items()}
    *_, second, winner = sorted(FOUR, key=printed.get)
    wins = [count > 0 for count in counted("winner")]
    high, few, low, many, squares, entropy = implied()
    told, half = label(STUDY["explosion"]["run"]), [STUDY["explosion"]["L2"], 2]
    acts, cannot = (counted("l2_vs_none", group) for group in ("L2 acts", "L2 cannot act"))
    history = (REPOSITORY / "docs" / "evidence.md").read_text(encoding="utf-8")
    spread, places = ("reports/spread", "%share", "%low", "%high"), {"measure": "test_accuracy", "run": FOUR}
    middle, longest = ("%middle_low", "%middle_high"), [run for run in GRID if "-e100-" in run]
    return notes() | {
        "How one run fools you": [
            *(replicas, label(winner), *each("study/winners", f"%{winner}", runs=1), label(RUN), BOTH, median(lost())),
            *(sum(counted("bn_vs_none")), *counted("bn_vs_none"), BN),
            *(*tokens(STUDY["explanations"][0]["says"]), 3),
        ],
        "experiments": [
            *each("study/fidelity", "run", "%median", 90, *middle, "%published", **places),
            *each("study/fidelity", "run", **places, inside=False),
        ],
        "One run": [
            *(label(RUN), len(table("runs/grid/runs")), printed[RUN], printed[AGAIN], printed[AGAIN] - printed[RUN]),
            *(printed[winner] - printed[second], label(winner), PLAIN, 9, 10),
            *(*each("study/fidelity", *middle, **places | {"run": SHOWN[0]}), level),
        ],
        "Other reports": [
            *(4, len(table("reports/reports")) - 1, sum(table("reports/reports")["doubtful"])),
            *(sum(counted("bn_vs_none")), *counted("bn_vs_none")),
            *(sum(counted("l2_vs_none")), *counted("l2_vs_none"), 4),
            *(sum(counted("winner")), sum(wins), *each(*spread, question="l2_vs_none", source="seeds")),
            *each(*spread, question="bn_vs_none", source=["seeds", "code"]),
        ],
        "reports-batchnorm": reports("bn_vs_none"),
        "reports-l2": [
            *(*reports("l2_vs_none"), sum(cannot), sum(cannot)),
            *each("reports/noise", "%root_mean_square", "pairs", source="printed", of="L2 cannot act"),
            *each("reports/noise", "%root_mean_square", source="study", of="none"),
            *(acts[0], sum(acts), cannot[0], sum(cannot)),
        ],
        "The bug": [
            *(*medians([SHOWN[3]], "sum_squared_weights"), median(seeds(SHOWN[5], "sum_squared_weights"))),
            *(median(lost()), sum(value > 0 for value in lost()), replicas),
        ],
        "gradient": [
            *(
                *each("figures/gradient", "cosine"),
                table("figures/gradient")["steps"][0],
                1,
                told,
                high,
                low,
                few,
                many,
            ),
            *(high, *half, few, low, *half, many, squares, entropy),
        ],
        "weights-squared": [*medians(SHOWN, "sum_squared_weights"), squares, told],
        "Verdicts": judged(),
        "Further questions": [
            *(100 * PARAMS["evidence"]["margins"]["accuracy"], PARAMS["evidence"]["margins"]["cost"]),
            *(*["supported"] * 3, "contradicted", 100 - level, "contradicted"),
        ],
        "Sentences that we did not turn into claims": [
            part for row in STUDY["left_out"] for name in ("quote", "section", "why") for part in tokens(row[name])
        ],
        "Sources of chance": [
            *each("study/crossed", "run", "%weights", "%shuffle", "%interaction"),
            *(len(PARAMS["chance"]["split_seeds"]), *splits()),
        ],
        "How close our runs come": [
            *each("study/baseline", "inside", "numbers", "expected", "deviation", "inside", "probability", run="all"),
            len(STUDY["chose_protocol"]),
        ],
        "In your own study": each("study/winners", "runs", f"%{SHOWN[2]}", runs=[3, 10, 20]),
        "Limitations": [
            *(int(day) for day in re.findall(r"^\| (\d+) November", history, flags=re.M)[:2]),
            *(10, len(PARAMS["chance"]["split_seeds"])),
        ],
        "experiment-costs": medians(SHOWN, "train_cost", "validation_cost"),
        "grid": each("study/fidelity", "run", "%median", "%published", run=GRID),
        "epochs": [*each("study/epochs", "batch_size", "l2", "from_epochs", "to_epochs", "%median"), level],
        "train-validation": medians([*GRID, SHOWN[0], SHOWN[3], SHOWN[1]], "gap"),
        "grid-costs": [
            *medians(longest, "early_steps_validation_cost", "early_epochs_validation_cost", "roughness"),
            max(PARAMS["grid"]["epochs"]),
        ],
        "weight-distributions": [
            *(sum(table("figures/weight-distributions")["change"] < 0), 4),
            *(*each("figures/weight-distributions", "layer", "without", "with"), replicas, PLAIN, L2),
        ],
        "weight-differences": [
            part
            for layer, of in table("weight-diff").groupby("layer")
            for part in (layer, median(of["mean_difference"]))
        ],
        "confusion": [*confused(), L2, 0.5],
        "mistakes": [
            int(100 * min(each("figures/mistakes", "probability"))),
            *(*each("figures/mistakes", "label", "prediction", "%probability"), L2),
        ],
        "Protocol": [
            sum(table(f"runs/{SHOWN[0]}/runs")[f"{name}_examples"][0] for name in ("train", "validation", "test")),
            *(255, 100 * PARAMS["preprocess"]["test"], 100 * PARAMS["preprocess"]["validation"]),
            *(*PARAMS["network"]["layers_dims"], 0, PARAMS["learning_rate"]),
            *(PARAMS["stopping"][name] for name in ("eval_every", "threshold", "patience")),
            *(first, first + replicas - 1),
        ],
    }


def agrees(token, value):
    """Whether a name is that name, or a number is that value at the digits that are printed."""
    if isinstance(value, str):
        return token == value
    if token[0] in "<>":
        bound = float(token[1:])
        return 0 < value < bound if token[0] == "<" else bound < value < 100
    digits, _, power = token.replace(",", "").replace("−", "-").partition(" × 10")
    digits = str(WORDS.get(token.lower(), digits))
    if not re.fullmatch(r"[+-]?[\d.]+", digits):
        return False
    unit = 10.0 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")) or 0)
    return abs(float(digits) - float(value) / unit) <= 0.50001 * 10.0 ** -len(digits.partition(".")[2])


@cache
def told():
    """Claim → the paragraphs beside its table."""
    ids = {claim["says"]: key for key, claim in CLAIMS.items()}
    blocks = re.findall(r"<summary>(.*?)</details>", PAGE.read_text(encoding="utf-8"), flags=re.S)
    paragraphs = [[line.strip() for line in re.findall(r"^[^|\n].*", block, flags=re.M)] for block in blocks]
    return {ids[lines[0].rpartition(": ")[0]]: lines for lines in paragraphs}


@cache
def sections():
    """Figure, claim or heading → its prose."""
    found = {claim: lines[1:] for claim, lines in told().items()}
    found = {
        claim: " ".join(
            line for line in lines if line[0] != ">" and not line.startswith("On MNIST's official test set")
        )
        for claim, lines in found.items()
    }
    text = re.sub(r"<details>.*?</details>", "", PAGE.read_text(encoding="utf-8"), flags=re.S)
    for part in re.split(r"^#+ ", text, flags=re.M)[1:]:
        title, _, body = part.partition("\n")
        figure = re.search(r'<img alt="(.*?)" src="figures/(.*?)\.svg" width="480">', body)
        if figure:
            assert figure[1].startswith(title)
            body = body.replace(figure[0], figure[1].removeprefix(title))
        prose = re.sub(r"\]\(.*?\)|^\|.*|^\d+\. ", "", body, flags=re.M)
        found[figure[2] if figure else title] = f"{title}\n{prose}"
    return found


def wrong(name, text):
    """Where a section says something else than its tables."""
    said, known = tokens(text), says().get(name, [])
    pairs = zip(said, known, strict=False)
    found = [f"{name}: the page says {one}, its tables {other}" for one, other in pairs if not agrees(one, other)]
    return found + [f"{name}: names {len(said)}, its tables {len(known)}"] * (len(said) != len(known))


def test_every_number_stands_in_a_table():
    assert says().keys() <= sections().keys()
    problems = [problem for name, text in sections().items() for problem in wrong(name, text)]
    assert not problems, "\n".join(problems)


def test_a_number_that_is_altered_in_its_last_digit_is_found():
    count, missed = 0, []
    for name, text in sections().items():
        for match in TOKEN.finditer(text):
            last = re.fullmatch(r"([+−]?[\d,.]*)(\d)( × .*)?", match[0])
            for by in (1, 9) if last else ():
                altered = f"{last[1]}{(int(last[2]) + by) % 10}{last[3] or ''}"
                count += 1
                missed += [match[0]] * (not wrong(name, text[: match.start()] + altered + text[match.end() :]))
    assert count > 500
    assert len(missed) < 0.05 * count, missed


def test_a_claim_is_told_as_it_was_judged():
    verdicts = {row["claim"]: row["verdict"] for row in rows("study/claims")}
    official = {row["claim"]: row["official"] for row in rows("study/official")}
    for key, claim in CLAIMS.items():
        note = claim.get("note", "")
        if "experiment-4/" in str(claim):
            note += f" This claim involves experiment {BN}, whose printed results our runs do not reproduce."
        beside = [f"> “{claim['quote']}” ({claim['section']})"] if "quote" in claim else []
        beside += [note.strip()] if note else []
        beside += [f"On MNIST's official test set: {official[key]}."] * ("test_accuracy" in str(claim["comparisons"]))
        assert told()[key] == [f"{claim['says']}: {verdicts[key]}</summary>", *beside]


def holds():
    """What is said without a number → whether its tables say so."""
    plain, norm, l2, both = SHOWN[:4]
    accuracy, squares, validation, training = (
        {run: seeds(run, name) for run in SHOWN}
        for name in ("test_accuracy", "sum_squared_weights", "validation_cost", "train_cost")
    )
    printed = {run: own["test_accuracy"] for run, own in STUDY["published"].items()}
    *_, second, most = sorted(printed[run] for run in FOUR)
    true, left_out = each("figures/gradient", "cosine")
    cells = dict(zip(GRID, each("study/fidelity", "median", run=GRID), strict=True))
    shifts = table("weight-diff").groupby("layer")["mean_difference"].median().abs()
    gains = {row["explanation"]: row["gain"] for row in rows("study/explanations", run="all")}
    noise = {row["source"]: row["root_mean_square"] for row in rows("reports/noise", of=["L2 cannot act", "none"])}
    verdicts = {row["claim"]: row["verdict"] for row in rows("study/claims")}
    others = [run for run in SHOWN if run not in (norm, both)]
    return {
        "The winner depends on the seed": max(each("study/winners", *FOUR, runs=1)) < 0.9,
        "the two results differ by more than the winner's lead": most - second < printed[AGAIN] - printed[RUN],
        "Reports disagree": min(counted("bn_vs_none") + counted("l2_vs_none")) > 0,
        "the study apparently swapped the columns": max(gains, key=gains.get) == "columns-swapped",
        f"Our runs do not reproduce experiment {BN}.": [norm]
        == [row["run"] for row in rows("study/baseline", run=FOUR) if row["probability"] < 0.01],
        "the test accuracies of the experiments overlap": max(min(accuracy[run]) for run in FOUR)
        < min(max(accuracy[run]) for run in FOUR),
        "The study apparently ran one setting twice": seeds(RUN, "test_accuracy") == seeds(AGAIN, "test_accuracy"),
        "Under the study's protocol chance is smaller": noise["study"] < noise["printed"],
        "Without the derivative a step makes the weights larger": left_out > 0.1,
        "With the true derivative the step is at a right angle": abs(true) < 0.001,
        "h = 0.26, which is an ordinary value": min(validation[l2]) < implied()[-1] < max(validation[l2]),
        "explodes, too, but its cost does not show it": max(validation[norm]) < 1,
        "the weights explode, with L2 and without": min(squares[norm] + squares[both])
        > 1000 * max(max(squares[run]) for run in others),
        "Only batch norm with L2 and without the true derivative has an exploding cost": all(
            min(cost[both]) > 10 * max(max(cost[run]) for run in [*others, norm]) for cost in (training, validation)
        ),
        "Smaller batches and more epochs give a higher test accuracy": all(
            cells[one] > cells[other]
            for low, high in (("b64", "b32"), ("b128", "b64"), ("e50", "e100"))
            for other in GRID
            if (one := other.replace(low, high)) != other
        ),
        "More epochs raise the test accuracy in every cell": min(each("study/epochs", "median_low")) > 0,
        "all batch sizes have a similar validation cost": verdicts["batch-32-faster-on-validation"] == "equivalent",
        "after equally many epochs, the smallest has the lowest": verdicts["batch-32-faster-per-epoch"] == "supported",
        "at most a few hundredths": 0.01 < max(shifts) < 0.05,
        "which were trained afterwards": min(seeds(plain, "seed")) == PARAMS["seed"],
    }


def test_what_is_said_without_a_number_holds():
    page = PAGE.read_text(encoding="utf-8")
    assert [said for said, true in holds().items() if not true or said not in page] == []
