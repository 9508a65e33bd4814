"""How near our runs are to published numbers, against counts of all cases and densities computed directly."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnlib.evidence.fidelity import (
    baseline_table,
    crossed_variance,
    explanation_table,
    fidelity_table,
    implied_weights,
    log_likelihood,
)
from nnlib.evidence.study import Explanation

NAN = math.nan


def explanation(**what):
    return Explanation(id="other", says="it was otherwise", **what)


def test_a_published_number_inside_and_one_outside_our_range():
    measured = {"a": {"x": [1.0, 2.0, 3.0, NAN]}, "b": {"x": [1.0, 2.0, 3.0]}, "lost": {"x": [NAN]}}
    published = {"a": {"x": 2.5, "not measured": 1.0}, "b": {"x": 4.0}, "gone": {"x": 1.0}, "lost": {"x": 1.0}}
    table = fidelity_table(published, measured, confidence=0.95, chose_protocol=["b/x"])
    assert table["run"].tolist() == ["a", "b"]
    assert table["inside"].tolist() == [True, False]
    assert table["percentile"].tolist() == [pytest.approx(200 / 3), 100]
    assert table["chose_protocol"].tolist() == [False, True]
    assert table[["median", "lowest", "highest"]].iloc[0].tolist() == [2, 1, 3]


def test_the_ends_of_a_range_are_inside():
    for end in (1.0, 3.0):
        table = fidelity_table({"a": {"x": end}}, {"a": {"x": [1.0, 2.0, 3.0]}}, confidence=0.95)
        assert table["inside"].tolist() == [True]


VALUES = st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0]), min_size=4, max_size=4)


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=3), st.sampled_from([0.0, 2.5, 4.0]))
def test_a_baseline_is_of_all_studies_of_one_replica_of_each_run(runs, value):
    measured = {f"run{r}": {f"x{i}": np.array(own) for i, own in enumerate(numbers)} for r, numbers in enumerate(runs)}
    published = {run: dict.fromkeys(numbers, value) for run, numbers in measured.items()}
    counts = [
        sum(
            min(np.delete(own, k)) <= own[k] <= max(np.delete(own, k))
            for k, numbers in zip(study, runs, strict=True)
            for own in map(np.array, numbers)
        )
        for study in product(range(4), repeat=len(runs))
    ]
    inside = sum(min(own) <= value <= max(own) for numbers in runs for own in numbers)
    table = baseline_table(published, measured)
    row = table.iloc[0]
    assert table["run"].tolist() == ["all", *measured]
    assert (row["numbers"], row["inside"]) == (sum(map(len, runs)), inside)
    assert row["expected"] == pytest.approx(np.mean(counts))
    assert row["deviation"] == pytest.approx(np.std(counts), abs=1e-7)
    assert row["probability"] == pytest.approx(np.mean(np.array(counts) <= inside))


def test_a_baseline_leaves_out_what_chose_the_protocol_and_what_diverged():
    measured = {"a": {"x": [1.0, 2.0, 3.0, NAN], "y": [1.0, 2.0, 3.0, 99.0]}, "b": {"x": [1.0, NAN, NAN, NAN]}}
    published = {"a": {"x": 2.5, "y": 50.0}, "b": {"x": 1.0}}
    table = baseline_table(published, measured)
    assert table[["run", "numbers", "inside"]].to_numpy().tolist() == [["all", 2, 1], ["a", 2, 1]]
    assert table["expected"].tolist() == pytest.approx([2 / 3, 2 / 3])  # of three replicas the middle one has both
    table = baseline_table(published, measured, ["a/y"])
    assert table[["run", "numbers", "inside"]].to_numpy().tolist() == [["all", 1, 1], ["a", 1, 1]]
    assert baseline_table({"a": {"x": 1.5}}, {"a": {"x": [1.0, 2.0, NAN]}})["inside"].tolist() == [1, 1]  # two are left
    assert len(baseline_table({}, measured)) == len(baseline_table(published, measured, ["a/x", "a/y"])) == 0


@pytest.mark.parametrize(
    ("grid", "logarithmic"), [(np.linspace(-20, 20, 2001), False), (np.geomspace(1e-12, 1e12, 4001), True)]
)
def test_a_likelihood_is_a_density(grid, logarithmic):
    values = np.array([0.1, 0.4, 0.2, 0.9])
    density = np.exp([log_likelihood(value, values, logarithmic=logarithmic) for value in grid])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)


def test_a_likelihood_is_that_of_the_next_value_if_mean_and_variance_are_unknown():
    # Of two values it is Cauchy's, here with scale √2 · √(1 + 1/2), at its middle 1 / (π · scale).
    assert log_likelihood(1.0, np.array([0.0, 2.0])) == pytest.approx(-np.log(np.pi * np.sqrt(3)))
    # Of many it is nearly the normal one with their mean and variance.
    many = stats.norm(3, 2).ppf((np.arange(20_000) + 0.5) / 20_000)
    assert log_likelihood(4.0, many) == pytest.approx(stats.norm(3, 2).logpdf(4), abs=1e-3)
    assert log_likelihood(9.0, np.exp(many), logarithmic=True) == pytest.approx(
        stats.lognorm(2, scale=np.exp(3)).logpdf(9), abs=1e-3
    )


@pytest.mark.parametrize("values", [[], [0.1], [0.1] * 3])
def test_too_few_values_have_no_likelihood(values):
    assert math.isnan(log_likelihood(0.1, np.array(values)))
    assert math.isnan(log_likelihood(0.0, np.array([1.0, 2.0]), logarithmic=True))


def test_an_explanation_that_fits_better_gains():
    measured = {"a": {"test_accuracy": [0.8, 0.81, 0.82]}, "b": {"test_accuracy": [0.9, 0.91, 0.92]}}
    published = {"a": {"test_accuracy": 0.91}, "b": {"test_accuracy": 0.81}}
    swapped = explanation(instead={"a/test_accuracy": "b/test_accuracy", "b/test_accuracy": "a/test_accuracy"})
    table = explanation_table([swapped], published, measured, {})
    assert table["run"].tolist() == ["all", "a", "b"]
    assert table["numbers"].tolist() == [2, 1, 1]
    better = log_likelihood(0.91, np.array([0.9, 0.91, 0.92])) - log_likelihood(0.91, np.array([0.8, 0.81, 0.82]))
    assert table["gain"].tolist() == pytest.approx([2 * better, better, better])
    assert better > 5


def test_an_explanation_of_one_run_says_nothing_of_the_one_before_it():
    measured = {"a": {"test_accuracy": [0.8, 0.81, 0.82]}, "b": {"test_accuracy": [0.9, 0.91, 0.92]}}
    published = {"a": {"test_accuracy": 0.91}, "b": {"test_accuracy": 0.81}}
    table = explanation_table([explanation(instead={"b/test_accuracy": "a/test_accuracy"})], published, measured, {})
    assert table[["run", "numbers"]].to_numpy().tolist() == [["all", 1], ["b", 1]]


def test_as_many_replicas_of_the_protocol_as_of_the_explanation_are_weighed():
    ours, changed = np.array([NAN, 0.8, 0.9, 0.85, 0.95, 0.7]), np.array([0.6, NAN, 0.7, 0.65])
    table = explanation_table(
        [explanation(change="other"), explanation(change="gone")],
        {"a": {"test_accuracy": 0.75}},
        {"a": {"test_accuracy": ours}},
        {"other": {"a": {"test_accuracy": changed}}},
    )
    assert table["protocol"][0] == pytest.approx(log_likelihood(0.75, ours[1:4]))
    assert table["instead"][0] == pytest.approx(log_likelihood(0.75, changed[[0, 2, 3]]))
    assert table["numbers"].tolist() == [1, 1, 0]
    assert table["gain"].isna().tolist() == [False, False, True]


def test_a_number_may_have_been_measured_on_another_set():
    measured = {"a": {"test_accuracy": [0.8, 0.9, 0.7], "official_accuracy": [0.5, 0.6, 0.7], "train_cost": [1.0, 2.0]}}
    table = explanation_table(
        [explanation(measured={"test_accuracy": "official_accuracy"})],
        {"a": {"test_accuracy": 0.6, "train_cost": 1.0}},
        measured,
        {},
    )
    assert table["numbers"].tolist() == [1, 1]
    assert table["instead"][0] == pytest.approx(log_likelihood(0.6, np.array([0.5, 0.6, 0.7])))


def test_costs_are_likely_by_their_ratios():
    cost, other = np.array([1.0, 10.0, 100.0]), np.array([90.0, 100.0, 110.0])
    measured = {"a": {"train_cost": cost}, "b": {"train_cost": other}}
    table = explanation_table(
        [explanation(instead={"a/train_cost": "b/train_cost"})], {"a": {"train_cost": 100.0}}, measured, {}
    )
    assert table["protocol"][0] == log_likelihood(100.0, cost, logarithmic=True)
    assert table["gain"][0] > 0


def test_two_costs_tell_the_weights():
    squares, cross_entropy = implied_weights(263576.84, 878.8498, L2=0.01, m_train=32, m_validation=9600)
    assert squares == pytest.approx(1.687e9, rel=1e-3)
    assert cross_entropy == pytest.approx(0.26, abs=0.005)
    for m, cost in ((32, 263576.84), (9600, 878.8498)):
        assert cross_entropy + 0.01 / (2 * m) * squares == pytest.approx(cost, rel=1e-9)


def test_the_variance_is_shared_between_initial_weights_and_shuffles():
    random = np.random.default_rng(0)
    weights, shuffle = random.normal(0, 3, (400, 1)), random.normal(0, 2, (1, 400))
    found = crossed_variance(5 + weights + shuffle + random.normal(0, 1, (400, 400)))
    assert [found[name] for name in ("weights", "shuffle", "interaction")] == pytest.approx(
        [9 / 14, 4 / 14, 1 / 14], abs=0.05
    )
    assert found["deviation"] == pytest.approx(math.sqrt(14), rel=0.05)
    # By hand: rows 1 and 3, columns 1.5 and 2.5, nothing left; the components 2 and 1/2.
    assert crossed_variance([[0.5, 1.5], [2.5, 3.5]]) == pytest.approx(
        {"weights": 0.8, "shuffle": 0.2, "interaction": 0, "deviation": math.sqrt(2.5)}
    )


def test_a_component_below_0_counts_as_0():
    found = crossed_variance([[0.0, 1.0], [1.0, 0.0]])
    assert (found["weights"], found["shuffle"], found["interaction"]) == (0, 0, 1)


def test_rows_and_columns_change_places():
    values = np.random.default_rng(1).normal(0, 1, (3, 5)) + np.arange(3)[:, None]
    one, other = crossed_variance(values), crossed_variance(values.T)
    assert (one["weights"], one["shuffle"]) == pytest.approx((other["shuffle"], other["weights"]))
    assert one["interaction"] == pytest.approx(other["interaction"])
