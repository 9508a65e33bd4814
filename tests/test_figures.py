"""The report's figures: what they say of results that differ from the study's, their colours, their bytes."""

import itertools
import json
import re
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from made_up import EXPERIMENTS, images, made_up
from pipeline import REPOSITORY

from stages.reporting import colours, words
from stages.reporting.catalogue import CATALOGUE, LABS
from stages.reporting.figures.style import DARKEST, MANY_DOTS, WIDE, spread
from stages.reporting.formats import decimal, inline_svg, power

ALL = tuple(f"experiment-{key}" for key in EXPERIMENTS)
GRID = {"batch_size": [32, 64], "epochs": [1, 2], "l2": [0.01]}
SMALL = {"replicas": 3, "epochs": 1, "grid": GRID}
NETWORK = {"initialization": "xavier"}
CASES = {
    "as usual": SMALL,
    "one replica, one hidden layer": SMALL | {"replicas": 1, "network": NETWORK | {"layers_dims": [784, 12, 10]}},
    "eight hidden layers, other seeds": SMALL
    | {"seed": 1000, "network": NETWORK | {"layers_dims": [784, *[6] * 8, 10]}},
    "no hidden layer, one cell that is not the study's": SMALL
    | {"grid": {"batch_size": [7], "epochs": [3], "l2": [0]}, "network": NETWORK | {"layers_dims": [784, 10]}},
    "many units, experiment 3 diverged": SMALL
    | {"network": NETWORK | {"layers_dims": [784, 50, 10]}, "diverged": ("experiment-3",)},
    "all diverged": SMALL | {"diverged": (*ALL, *(f"grid-b{b}-e{e}-l0.01" for b in (32, 64) for e in (1, 2)))},
    "many replicas": SMALL | {"replicas": MANY_DOTS + 1},
}


@pytest.fixture(scope="module")
def as_usual():
    return made_up(**SMALL)


@pytest.fixture
def r(as_usual):
    """The results as usual for a test to change, with nothing computed of them yet."""
    return replace(deepcopy(as_usual))


@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn_and_says_something_right_whatever_the_results(case):
    r = made_up(**CASES[case])
    for name, item in (CATALOGUE | {"labs": LABS}).items():
        shown = replace(item, layouts=item.layouts if case == "as usual" else (WIDE,)).show(r)
        for svg in (shown.wide, shown.narrow or shown.wide):
            letters = re.findall(r"<text ([^>]*)>([^<]*)<", svg)
            assert letters, name
            assert not [text for _, text in letters if re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE)], name
            assert not [style for style, _ in letters if "fill: #" not in style], name
            used = set(re.findall(r"(?:fill|stroke): (#\w+)", svg))
            assert used <= {colour.light for colour in colours.COLOURS.values()}, name
        for said in (shown.title, shown.caption, shown.numbers):
            assert said.strip(), name
            assert not re.search(r"\bnan\b|\binf\b|\bNone\b|  |\[|\]", said, re.IGNORECASE), f"{name}: {said}"
        assert not shown.title.endswith(".")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_digit_that_the_test_set_lacks_is_left_out(as_usual):
    r = replace(as_usual, test=images(4))
    said = words.confusion(r)
    assert re.search(r"mistake of experiment 3: [1-9][\d.]* % of the [0-3]s read", said.title)
    assert re.findall(r"(\d): ", said.numbers) == ["0", "1", "2", "3"]
    svg = CATALOGUE["confusion"].show(r).wide
    assert max(map(float, re.findall(r"fill-opacity: ([\d.]+)", svg))) == DARKEST


def test_where_nothing_is_read_wrong_no_mistake_is_named(r, monkeypatch):
    monkeypatch.setattr(type(r), "confusion", dict.fromkeys(r.experiments, 4 * np.eye(10)))
    assert words.confusion(r).title == "Experiment 3 reads every image right"


def test_the_same_results_give_the_same_bytes(as_usual):
    first, second = as_usual, made_up(**SMALL)
    for name in ("seeds", "weights-squared", "first-layer"):
        assert CATALOGUE[name].show(first) == CATALOGUE[name].show(second), name


def test_a_finding_is_computed(r):
    accuracies = {key: r.tables[key]["test_accuracy"].median() for key in r.grid["run"]}
    best = max(accuracies, key=accuracies.__getitem__)
    assert f"highest with {r.labels[best]} (median {100 * accuracies[best]:.2f} %)" in words.grid(r).title
    gap = (r.tables["experiment-1"]["train_accuracy"] - r.tables["experiment-1"]["validation_accuracy"]).median()
    assert r.gap("experiment-1").median() == gap


def test_batch_sizes_are_compared_at_the_last_step_that_all_of_them_looked_at(r):
    short, long = (r.curves[f"grid-b{size}-e2-l0.01"] for size in (64, 32))
    short["step"], long["step"] = [2, 4, 6, 8, 9], [4, 8, 12, 16, 20]
    short["validation_cost"], long["validation_cost"] = [1.0, 1, 1, 3, 1], [2.0, 2, 2, 2, 1.5]
    assert "after the same 8 steps, 2.00 with batch 32 and 3.00 with batch 64 (" in words.grid_costs(r).title
    # A short run may have no look but its last, which the longer ones pass by.
    long["step"] = [10, 20, 30, 40, 50]
    assert words.grid_costs(r).title == "Validation cost of the batch sizes, against steps and against epochs"


def test_where_runs_stop_early_costs_are_those_of_their_end(r):
    assert words.grid_costs(r).title.startswith("After 2 epochs the validation cost is ")
    cell = r.longest_cells["run"].iloc[0]
    r.tables[cell].loc[0, "stopped_at"] = 5
    r.tables[cell]["validation_cost"] = 0.25
    title = words.grid_costs(r).title
    assert title.startswith("At the end, after at most 2 epochs, the validation cost is 0.25 with batch 32 and ")


def test_weights_are_shown_of_a_replica_that_has_them_whatever_became_of_batch_norm():
    assert made_up(**SMALL, diverged=("experiment-2", "experiment-4")).replica == 0
    assert made_up(**SMALL, diverged=("experiment-1",)).replica is None


def test_one_seed_moves_nothing():
    alone = made_up(**SMALL | {"replicas": 1}).answer
    assert alone[0].startswith("The study drew 18 conclusions from one run each. Judged by 1 run each: ")
    assert not [line for line in alone if "The seed alone" in line]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ([0.5, 0.5, 0.7], "loses 10.00 points (median; a loss in 2 of 3 seeds)"),
        ([0.6, 0.6, 0.5], "gains 0.00 points (median; a gain in 0 of 3 seeds)"),
        ([0.7, 0.7, 0.5], "gains 10.00 points (median; a gain in 2 of 3 seeds)"),
        ([0.5, np.nan, np.nan], "loses 10.00 points (median; a loss in 1 of 1 seed)"),
        ([np.nan, np.nan, np.nan], None),
    ],
)
def test_what_the_bug_costs_is_told_as_it_is(r, broken, says):
    r.tables["experiment-2"]["test_accuracy"] = broken
    r.tables["experiment-2-exact"]["test_accuracy"] = 0.6
    told = [line for line in r.answer if line.startswith("Its batch norm has a bug")]
    assert [line.endswith(f"the test accuracy {says}.") for line in told] == ([True] if says else [])


def test_a_replica_that_jumps_is_told_with_its_step(r):
    curve = r.curves["experiment-1"]
    for name, values in {"": 1.0, "_high": [1, 1, 3, 3, 3]}.items():
        curve[f"sum_squared_weights{name}"] = values
    assert f"1 plain (step {curve['step'][2]:,})" in words.weights_squared(r).caption
    curve["sum_squared_weights_high"] = 1.0
    assert "1 plain" not in words.weights_squared(r).caption


def test_the_picture_of_the_labs_says_who_wins_how_often(r):
    accuracies = {"1": [0.9, 0.9, 0.9], "2": [0.8, 0.8, 0.8], "3": [0.95, 0.85, 0.85], "4": [0.1, 0.1, 0.1]}
    for key, values in accuracies.items():
        r.tables[f"experiment-{key}"]["test_accuracy"] = values
    said = words.labs(r)
    assert said.title.startswith("Of all studies of one run each, 67 % name 1 plain the winner")
    assert "3 L2 wins 33 %; 4 batch norm wins 0 %" in said.numbers
    svg = LABS.show(r).wide
    assert [svg.count(f">wins {share} %<") for share in (67, 33, 0)] == [1, 1, 2]


def test_diverged_runs_are_in_no_number():
    r = made_up(**CASES["many units, experiment 3 diverged"])
    assert "experiment-3" not in r.confusion
    assert r.replica is None
    assert "experiment 3 L2: median –" in words.experiments(r).numbers
    assert (r.failures.loc["experiment-3"] == "diverged").all()


def test_a_run_below_the_threshold_is_undertrained_if_a_longer_one_is_above(r):
    for key, accuracies in {"grid-b32-e1-l0.01": [0.5, 0.5, 0.9], "grid-b32-e2-l0.01": [0.9, 0.6, 0.9]}.items():
        r.tables[key]["test_accuracy"] = accuracies
    assert r.failures.loc["grid-b32-e1-l0.01"].tolist() == ["undertrained", "collapsed", ""]
    assert r.failures.loc["grid-b32-e2-l0.01"].tolist() == ["", "collapsed", ""]


def luminance(red: float, green: float, blue: float) -> float:
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue))
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def parts(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))


def contrast(letters: tuple[float, ...], ground: tuple[float, ...]) -> float:
    light, dark = sorted([luminance(*letters), luminance(*ground)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [name for name in colours.COLOURS if name not in ("line", "paper")])
def test_letters_stand_out_in_every_colour_of_the_table(name, scheme):
    letters, paper, ink = (parts(getattr(colours.COLOURS[one], scheme)) for one in (name, "paper", "ink"))
    assert contrast(letters, paper) >= 4.5
    # And ink on the strongest tile of that colour, of those that tiles have.
    if name in ("blue", "red"):
        tile = tuple(DARKEST * a + (1 - DARKEST) * b for a, b in zip(letters, paper, strict=True))
        assert contrast(ink, tile) >= 4.5


def test_inside_the_page_every_colour_is_a_variable_that_the_page_has(as_usual):
    page = inline_svg(CATALOGUE["experiments"].show(as_usual).wide, "one")
    assert not re.search(r": #\w{6}", page)
    for scheme in ("light", "dark"):
        declared = set(re.findall(r"--(\w+):", colours.variables(scheme)))
        assert set(re.findall(r"var\(--(\w+)", page)) <= declared
    assert 'aria-describedby="one-numbers"' in page
    assert 'id="one-numbers"' in page


@pytest.mark.parametrize("template", ["runs", "replicas"])
def test_what_dvc_plots_has_the_colours_of_the_figures(template):
    encoding = json.loads((REPOSITORY / f".dvc/plots/{template}.json").read_text())["encoding"]
    assert encoding["color"]["field"] == "run"
    assert encoding["color"]["scale"]["range"] == list(colours.SERIES)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2, "0.2"), (1000, "1,000"), (1e5, "10⁵"), (2e6, "2 × 10⁶"), (1e-5, "10⁻⁵"), (-0.05, "−0.05")],
)
def test_ticks_are_plain_numbers_or_powers_of_ten(value, text):
    assert decimal(value) == text


def test_a_change_has_its_sign_and_no_change_none():
    said = [words._signed_percent(value) for value in (0.184, -0.184, 0.004, -0.004, 0)]
    assert said == ["+18 %", "−18 %", "0 %", "0 %", "0 %"]


def test_a_power_is_rounded_before_its_exponent_is_known():
    assert power(9.9999e9) == "1.000 × 10¹⁰"


@pytest.mark.parametrize("wanted", [[], [0.5], [0.01, 0.02, 0.03], [0.5, 0.5, 0.9], [0.0, 0.0, 0.1, 0.2]], ids=str)
def test_labels_stand_apart_in_order_and_above_the_axis(wanted):
    places = spread(wanted, 0.1)
    assert len(places) == len(wanted)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
    assert min(places, default=0) >= 0
