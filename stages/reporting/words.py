"""What each figure says in words, all of it from the results: its finding, its caption, and its numbers for those who
cannot see it.

A finding is a plain sentence. Where there is nothing to find (one replica, all diverged), it says what is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nnlib.evidence.claims import said
from nnlib.evidence.tables import FATES
from stages.reporting.formats import NOT_THERE, decimal, level, number, percent, points
from stages.reporting.labels import LABELS
from stages.reporting.results import PAIR, READER, Findings, Results
from stages.reporting.labs.roulette import roulette_data


class Words(NamedTuple):
    title: str
    caption: str
    numbers: str


def verdicts(r: Results) -> Words:
    claims = r.asked_by("study") + r.asked_by("readers")
    return Words(
        f"Of the study's {len(r.asked_by('study'))} claims, {said(Counter(r.words))}",
        f"Each mark is a comparison of {_count(r.params.replicas, 'seed')}: the share in which it held, with its exact "
        "interval; supported (●), contradicted (✖), equivalent (◆) or undecided (■); hollow, the share within a margin "
        "that counts as equal. At one half, the dotted line, it is as often one way as the other.",
        "; ".join(f"{claim['claim']}: {claim['verdict']} ({claim['parts']})" for claim in claims),
    )


def experiments(r: Results) -> Words:
    values = {key: r.tables[key]["test_accuracy"] for key in r.experiments}
    title = "Test accuracy of the experiments"
    medians, widths = _known({key: v.median() for key, v in values.items()}), _known(_widths(values))
    if medians and max(widths.values()) > 0:
        widest = max(widths, key=widths.__getitem__)
        apart = max(medians.values()) - min(medians.values())
        title = (
            f"The seed alone moves test accuracy by up to {_points(widths[widest])} "
            f"(experiment {LABELS[widest].text}); "
            f"the medians of all {len(medians)} experiments lie {_points(apart)} apart"
        )
    return Words(title, f"{_dots(r)} “-exact” is batch norm with its true derivative.", _accuracies(r, values))


def grid(r: Results) -> Words:
    values = {key: r.tables[key]["test_accuracy"] for key in r.grid["run"]}
    title = "Test accuracy over the grid"
    medians = _known({key: v.median() for key, v in values.items()})
    if len(medians) > 1:
        best, worst = (choose(medians, key=medians.__getitem__) for choose in (max, min))
        title = (
            f"Test accuracy is highest with {r.labels[best]} (median {percent(medians[best])}) "
            f"and lowest with {r.labels[worst]} ({percent(medians[worst])})"
        )
    return Words(title, f"{_dots(r)} A colour for each batch size.", _accuracies(r, values))


def seeds(r: Results) -> Words:
    table, failed = r.by_seed, r.failures
    title = "Test accuracy of every seed in every configuration"
    ranked = table.dropna(how="all").idxmin(axis=1) if len(table.columns) > 1 else pd.Series(dtype=int)
    if len(ranked):
        worst = ranked.value_counts().index[0]
        often = (ranked == worst).sum()
        title = f"Seed {worst} is the lowest of {len(table.columns)} in {often} of {len(ranked)} configurations"
    limit = level(r.params.evidence.collapsed_below)
    counts = {kind: int((failed.to_numpy() == kind).sum()) for kind in FATES}
    known = table.stack().dropna()
    ends = f", from clear at {percent(known.max())} to strong at {percent(known.min())}" if len(known) else ""
    return Words(
        title,
        "A row for each configuration, a column for each seed; the stronger its blue, the lower the test accuracy"
        f"{ends}. "
        f"↑: below {limit}, but above it in a longer run of the same network, so undertrained "
        f"({_count(counts['undertrained'], 'run')}); ×: below {limit}, and in no longer run above it "
        f"({counts['collapsed']}); –: diverged ({counts['diverged']}).",
        "; ".join(f"seed {seed}: median {percent(column.median())}" for seed, column in table.items()),
    )


def train_validation(r: Results) -> Words:
    gaps = {key: r.gap(key) for key in r.labels}
    medians = _known({key: gap.median() for key, gap in gaps.items()})
    region = r.region("little-overfitting")
    title, band = "Training minus validation accuracy", ""
    if region is not None:
        band = f" Grey: what the claim calls close, from {points(region[0])} to {points(region[1])} points."
        beyond = [key for key, value in medians.items() if not region[0] < value < region[1]]
        title = (
            f"Training accuracy is more than {100 * region[1]:g} points from validation accuracy in {len(beyond)} of "
            f"{len(medians)} configurations (medians)"
        )
    if not medians:
        title = "Training minus validation accuracy"
    return Words(
        title,
        _dots(r) + band,
        "; ".join(
            f"{r.labels[key]}: median {points(gap.median())} points{_printed(r.printed_gap(key), points)}"
            for key, gap in gaps.items()
        ),
    )


def grid_costs(r: Results) -> Words:
    cells = r.longest_cells.sort_values("batch_size").to_dict("records")
    strength = min(cell["L2"] for cell in cells)
    last = {cell["run"]: r.last(cell["run"], "validation_cost") for cell in cells}
    ends = {cell["batch_size"]: _validation(r, cell["run"]) for cell in cells if cell["L2"] == strength}
    stopped = any((r.tables[cell["run"]]["stopped_at"] > 0).any() for cell in cells)
    shared = set.intersection(*(set(curve.index) for curve in ends.values()))
    after = _known({cell["batch_size"]: last[cell["run"]] for cell in cells if cell["L2"] == strength})
    same = _known({size: curve[max(shared)] for size, curve in ends.items()} if shared else {})
    title = "Validation cost of the batch sizes, against steps and against epochs"
    if after and same:
        title = (
            f"{'At the end, after at most' if stopped else 'After'} {cells[0]['epochs']} epochs"
            f"{',' if stopped else ''} the validation cost is {_by_batch(after)}; "
            f"after the same {max(shared):,} steps, {_by_batch(same)} (λ {strength:g})"
        )
    roughness = {f"batch {cell['batch_size']}, λ {cell['L2']:g}": r.last(cell["run"], "roughness") for cell in cells}
    rough = listed(f"{number(value, 2)} ({key})" for key, value in _known(roughness).items())
    return Words(
        title,
        f"The cells of {cells[0]['epochs']} epochs: median over the replicas (line), lowest to highest (band). A "
        "smaller batch makes more steps in an epoch. How much the training cost changes from one look to the next, at "
        f"first: {rough or NOT_THERE}.",
        "; ".join(f"{r.labels[run]}: {number(cost)}" for run, cost in last.items()),
    )


def epochs(r: Results) -> Words:
    rows = r.epochs.to_dict("records")
    gains = [row["median"] for row in rows if np.isfinite(row["median"])]
    title = "What more epochs bring"
    if gains:
        title = f"More epochs change test accuracy by {points(min(gains))} to {points(max(gains))} points"
    return Words(
        title,
        "Test accuracy of the longer run less that of the shorter, replica by replica: median with its exact "
        f"{level(r.params.evidence.confidence)} interval.",
        "; ".join(
            f"batch {row['batch_size']}, λ {row['l2']:g}, {row['from_epochs']} to {row['to_epochs']} epochs: "
            f"{points(row['median'])} ({points(row['median_low'])} to {points(row['median_high'])})"
            for row in rows
        )
        or "Nothing to compare.",
    )


def experiment_costs(r: Results) -> Words:
    lasts = {name: {key: r.last(key, name) for key in r.experiments} for name in ("train_cost", "validation_cost")}
    own = [f"experiment {LABELS[key].text}" for key in r.experiments if key in r.exploded]
    scale = f" All panels have the same scale, but for {listed(own)}." if own else " All panels have the same scale."
    return Words(
        _highest(r, lasts["train_cost"], "The training cost ends highest", "Cost against steps"),
        "Median over the replicas (line), lowest to highest (band); beside, the study's last costs (diamonds). The "
        "training cost is that of the step's mini-batch, its L2 term divided by the batch size." + scale,
        "; ".join(
            f"{r.labels[key]}: training {number(lasts['train_cost'][key])}, "
            f"validation {number(lasts['validation_cost'][key])}"
            for key in r.experiments
        ),
    )


def weights_squared(r: Results) -> Words:
    lasts = {key: r.last(key, "sum_squared_weights") for key in r.experiments}
    steps = {LABELS[key].text: _jump(r.curves[key]) for key in r.experiments}
    said = listed(f"{label} (step {step:,})" for label, step in steps.items() if step)
    jump = f" The highest replica jumps away from the median in {said}." if said else ""
    return Words(
        _highest(r, lasts, "Σ W² ends highest", "The sum of squared weights"),
        "Median over the replicas (line), lowest to highest (band), each label as near to its line's end as it fits. "
        f"Dotted: what the study's two costs imply.{jump}",
        "; ".join(f"{r.labels[key]}: {number(value)}" for key, value in lasts.items())
        + f"; implied by the study: {number(r.implied.sum_squared_weights)}",
    )


def batchnorm(r: Results) -> Words:
    difference = r.tables["experiment-4"]["test_accuracy"] - r.tables["experiment-1"]["test_accuracy"]
    printed = r.printed_difference("experiment-4", "experiment-1", "test_accuracy")
    title = "Batch norm alone: experiment 4 against experiment 1"
    if difference.notna().any():
        title = (
            f"Batch norm alone changes test accuracy by {points(difference.median())} points (median), from "
            f"{points(difference.min())} to {points(difference.max())}{_printed(printed, points)}"
        )
    return Words(
        title,
        f"Accuracy of experiment 4 less experiment 1's, replica by replica: {_small(_dots(r))} And validation cost: "
        "median (line), lowest to highest (band).",
        "; ".join(
            f"{LABELS[key].text}: validation cost {number(r.last(key, 'validation_cost'))}"
            for key in ("experiment-1", "experiment-4", "experiment-4-exact")
            if key in r.experiments
        ),
    )


def time(r: Results) -> Words:
    added = _known({code: rounds.median() for code, rounds in r.slower.items()})
    names = {"loop": "the readable loop", "engine": "the engine"}
    study = r.study["seconds"]["experiment-4"] / r.study["seconds"]["experiment-1"] - 1
    said = listed(f"{_signed_percent(value)} ({names[code]})" for code, value in added.items())
    title = f"Batch norm changes the time of a step by {said}, medians; the study's by {_signed_percent(study)}"
    return Words(
        title if added else "What batch norm costs in time",
        "Experiment 4 against experiment 1, timed in turn, the engine in whole calls; a dot is one of "
        f"{_count(max(map(len, r.slower.values())), 'round')}, the bar across their median, the band their "
        "middle half, the diamond the study's. It depends on the machine, so no claim is judged by it.",
        "; ".join(
            f"{names[code]}: {_signed_percent(rounds.min())} to {_signed_percent(rounds.max())}"
            for code, rounds in r.slower.items()
            if len(rounds)
        )
        or NOT_THERE,
    )


def weight_distributions(r: Results) -> Words:
    pairs = {name: (r.spread(name, "without"), r.spread(name, "with")) for name in r.layers}
    changes = _known({name: after / before - 1 for name, (before, after) in pairs.items() if before > 0})
    said = listed(f"{name} {_signed_percent(change)}" for name, change in changes.items())
    return Words(
        f"L2 changes the spread of the weights: {said}" if said else "Weights without and with L2",
        f"{_count(r.params.replicas, 'replica')} together, experiment 1 (without) and 3 (with). The legend has the "
        "mean standard deviation.",
        "; ".join(
            f"{name}: standard deviation {number(before)} without, {number(after)} with L2"
            for name, (before, after) in pairs.items()
        ),
    )


def weight_differences(r: Results) -> Words:
    shifts = {name: r.mean_difference(name) for name in r.layers}
    medians = _known({name: shift.median() for name, shift in shifts.items()})
    title = "Mean weights without L2 minus with L2"
    if medians:
        most = max(medians, key=lambda name: abs(medians[name]))
        title = f"L2 shifts the mean of no layer's weights by more than {number(abs(medians[most]))} ({most}, median)"
    region = r.region("l2-mean-shift-small")
    band = f" Grey: what the claim calls little, from {decimal(region[0])} to {decimal(region[1])}." if region else ""
    below = (
        f" Below, the matrices of seed {r.seed_shown}, without W1, in which nothing is to be seen: blue, smaller "
        "without L2; red, larger."
        if r.replica is not None and len(r.layers) > 1
        else ""
    )
    return Words(
        title,
        f"{_dots(r)}{band}{below} Both networks start from the same weights and see the same order of examples.",
        "; ".join(f"{name}: median {number(shift.median())}" for name, shift in shifts.items()),
    )


def first_layer(r: Results) -> Words:
    changes = {title: change.numpy() for title, change in r.first_layer_changes.items()}
    title, numbers = "What training changes in the first layer", "Nothing to show."
    sizes = {
        name: (_size(change[:, r.never_inked]), _size(change[:, ~r.never_inked])) for name, change in changes.items()
    }
    if sizes:
        numbers = "; ".join(
            f"{name}: {number(blank, 3)} where no training image has ink, {number(inked, 3)} elsewhere"
            for name, (blank, inked) in sizes.items()
        )
    if sizes and r.never_inked.any():
        said = listed(f"{number(blank, 3)} {name}" for name, (blank, _) in sizes.items())
        title = f"Where no training image has ink, the first weights change by {said}"
    units = len(next(iter(changes.values()))) if changes else 0
    shown = f" The first 20 of {units} units." if units > 20 else ""
    return Words(
        title,
        f"Trained minus first weights of each unit, {_whose(r)}, as a picture: blue fell, red rose.{shown} "
        "Sizes are root mean squares. A pixel without ink has no gradient; L2 fades its weights.",
        numbers,
    )


def confusion(r: Results) -> Words:
    title, numbers = "Which digit is read as which", "Nothing to show."
    if READER in r.confusion:
        share = r.shares_read[READER]
        errors = share * (1 - np.eye(len(share)))
        row, column = np.unravel_index(errors.argmax(), errors.shape)
        often = percent(errors[row, column], 1)
        title = f"The most frequent mistake of experiment 3: {often} of the {row}s read as {column}"
        if not errors.any():
            title = "Experiment 3 reads every image right"
        known = [digit for digit in range(len(share)) if share[digit].any()]
        numbers = "; ".join(f"{digit}: {percent(share[digit, digit], 1)} right" for digit in known)
    alive = {key: int((r.tables[key]["diverged_at"] == 0).sum()) for key in r.confusion}
    count = listed(sorted({_count(number, "replica") for number in alive.values()})) or "no replica"
    return Words(
        title,
        f"Percent of each digit's {_images(r)}, mean over {count}; below, in points, the other experiments less "
        "experiment 3 (blue: less often, red: more often). Numbers under 0.5 are left out.",
        numbers,
    )


def mistakes(r: Results) -> Words:
    shown = r.mistakes
    rows = list(zip(shown["labels"], shown["guesses"], shown["confidences"], strict=True))
    title = "The most confident mistakes of experiment 3"
    if rows:
        label, guess, confidence = rows[0]
        title = f"The most confident mistake: a {label} read as {guess} with probability {percent(confidence, 1)}"
    return Words(
        title,
        f"{_count(len(rows), 'test image')} that experiment 3 gets wrong, {_whose(r)}, the most confident first.",
        "; ".join(f"{label} read as {guess}, {percent(p, 1)}" for label, guess, p in rows) or "Nothing to show.",
    )


def labs(r: Findings) -> Words:
    counts = roulette_data(r.single_runs)
    wins = {one["label"]: one["wins"] / counts["combinations"] for one in counts["experiments"]}
    title = "Which experiment wins, one run of each"
    if wins and max(wins.values()) > 0:
        best = max(wins, key=wins.__getitem__)
        title = f"Of all studies of one run each, {percent(wins[best], 0)} name {best} the winner"
    title += "; how the weights grow with batch norm, its derivative left out or true"
    ends = [
        f"with its {what} Σ W² ends at {number(r.last(key, 'sum_squared_weights'), 0)}, "
        f"at a test accuracy of {percent(r.last(key, 'test_accuracy'))}"
        for key, what in PAIR.items()
        if key in r.experiments
    ]
    return Words(
        title,
        "Left, as in the roulette: every replica's test accuracy, and in how many of all draws of one run of each an "
        "experiment is the best alone. Right, as in the explosion lab: Σ W² of batch norm with L2.",
        "; ".join([*(f"{label} wins {percent(share, 0)}" for label, share in wins.items()), *ends]),
    )


def listed(parts: Iterable[str]) -> str:
    """One, two and three."""
    *before, last = [*parts] or [""]
    return f"{', '.join(before)} and {last}" if before else last


def _known(values: Mapping[Any, float]) -> dict[Any, float]:
    return {key: float(value) for key, value in values.items() if np.isfinite(value)}


def _widths(values: Mapping[str, pd.Series]) -> dict[str, float]:
    return {key: column.max() - column.min() for key, column in values.items()}


def _points(value: float) -> str:
    return f"{100 * value:.1f} points"


def _signed_percent(value: float) -> str:
    """With its sign, 0 without one: 0.18 → +18 %, −0.002 → 0 %."""
    rounded = round(100 * value)
    return f"{rounded:+} %".replace("-", "−") if rounded else "0 %"


def _count(how_many: int, what: str) -> str:
    return f"{how_many} {what}{'' if how_many == 1 else 's'}"


def _small(text: str) -> str:
    return text[0].lower() + text[1:]


def _printed(value: float | None, written: Callable[[float], str]) -> str:
    return "" if value is None else f"; the study: {written(value)}"


def _dots(r: Results) -> str:
    """How a strip of dots is read."""
    if r.params.replicas == 1:
        return "The one replica (dot) and the study's single run (hollow diamond)."
    return (
        f"Every one of {r.params.replicas} replicas (dot), the median (bar across), the middle half (band) and, below "
        "them, the study's single run (hollow diamond)."
    )


def _accuracies(r: Results, values: Mapping[str, pd.Series]) -> str:
    return "; ".join(
        f"{r.labels[key]}: median {percent(column.median())} ({percent(column.min())} to {percent(column.max())})"
        f"{_printed(r.printed(key, 'test_accuracy'), percent)}"
        for key, column in values.items()
    )


def _validation(r: Results, run: str) -> pd.Series:
    """Median validation cost by step."""
    return r.curves[run].set_index("step")["validation_cost"]


def _by_batch(costs: Mapping[int, float]) -> str:
    return listed(f"{number(cost, 2)} with batch {size}" for size, cost in costs.items())


def _highest(r: Results, lasts: Mapping[str, float], begins: str, neutral: str) -> str:
    """Which experiment's last value is the highest, and which the lowest."""
    known = _known(lasts)
    if len(known) < 2:
        return neutral
    most, least = (choose(known, key=known.__getitem__) for choose in (max, min))
    return (
        f"{begins} in experiment {LABELS[most].text}, at {number(known[most], 2)}, and lowest in "
        f"{LABELS[least].text}, at {number(known[least], 2)} (medians)"
    )


def _jump(curve: pd.DataFrame, factor: float = 1.25) -> int | None:
    """The step at which the highest Σ W² has grown by that factor since the look before, and the median by nothing."""
    high, median = (curve[name] / curve[name].shift() for name in ("sum_squared_weights_high", "sum_squared_weights"))
    jumps = curve["step"][(high > factor) & (median.round(1) == 1)]
    return int(jumps.iloc[0]) if len(jumps) else None


def _size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else np.nan


def _whose(r: Results) -> str:
    return "no replica" if r.replica is None else f"seed {r.seed_shown}"


def _images(r: Results) -> str:
    counts = r.test[1].sum(1).int().tolist()
    low, high = min(counts), max(counts)
    return f"{low:,} to {high:,} test images" if low < high else f"{high:,} test images"
