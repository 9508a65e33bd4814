"""Probabilities of studies of single runs, against every combination of a few replicas."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlib.evidence import probability as module
from nnlib.evidence.probability import (
    probability,
    probability_of_improvement,
    single_run_probability,
    single_run_wins,
    winner_shares,
)
from nnlib.evidence.study import Claim, Comparison

RULES = {"confidence": 0.95, "resamples": 200, "seed": 0}
RUNS = "abcde"
NAN = math.nan


def claim(*comparisons):
    return Claim(id="c", says="it is so", asked_by="readers", comparisons=[Comparison(**one) for one in comparisons])


def single_run(*comparisons, measured):
    return single_run_probability(claim(*comparisons), measured, **RULES)


# Which pairs of five runs are compared: chains, stars, circles, and all that hangs together otherwise.
PAIRS = st.lists(st.permutations(range(5)).map(lambda order: tuple(order[:2])), min_size=1, max_size=8)
ACCURACIES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, NAN]), min_size=3, max_size=3)


@given(PAIRS, st.lists(ACCURACIES, min_size=5, max_size=5), st.booleans())
def test_a_single_run_s_probability_is_that_of_all_combinations(pairs, values, alone):
    if any(np.isnan(own).all() for own in values):
        return
    measured = {run: {"test_accuracy": np.array(own)} for run, own in zip(RUNS, values, strict=True)}
    comparisons = [
        {"of": f"{RUNS[a]}/test_accuracy", "minus": f"{RUNS[b]}/test_accuracy", "low": 0.0} for a, b in pairs
    ]
    if alone:
        comparisons.append({"of": "a/test_accuracy", "low": 0.15})
    counted = np.where(np.isnan(values), -1, values)  # what diverged is below all others
    holds = [
        all(counted[a][study[a]] > counted[b][study[b]] for a, b in pairs)
        and (not alone or counted[0][study[0]] > 0.15)
        for study in product(range(3), repeat=5)
    ]
    found = single_run(*comparisons, measured=measured)
    assert found.estimate == pytest.approx(np.mean(holds))
    assert 0 <= found.low <= found.high <= 1 + 1e-9


@given(PAIRS, st.integers(0, 2**32 - 1))
def test_every_run_s_replicas_are_drawn_by_the_weights(pairs, seed):
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(3), size=4)
    factors = [((RUNS[a], RUNS[b]), random.random((3, 3)) < 0.7) for a, b in pairs]
    expected = np.zeros(4)
    for study in product(range(3), repeat=5):
        chosen = dict(zip(RUNS, study, strict=True))
        if all(holds[chosen[a], chosen[b]] for (a, b), holds in factors):
            expected += weights[:, study].prod(1)
    assert probability(factors, weights) == pytest.approx(expected)


def test_a_count_that_would_be_large_is_done_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    circle = [((a, b), random.random((20, 20)) < 0.6) for a, b in ("ab", "bc", "cd", "da", "ac")]
    weights = random.dirichlet(np.ones(20), size=30)
    at_once = probability(circle, weights)
    monkeypatch.setattr(module, "LARGEST", 10_000)
    assert probability(circle, weights) == pytest.approx(at_once)


def test_what_depends_on_one_run_alone_is_counted_over_its_replicas():
    measured = {"a": {"mean_W1": np.arange(4.0), "mean_W2": np.array([0.0, 0.0, 9.0, 9.0])}}
    both = [{"of": "a/mean_W1", "low": 0.5}, {"of": "a/mean_W1", "minus": "a/mean_W2", "high": 0.0}]
    assert single_run(*both, measured=measured).estimate == pytest.approx(2 / 4)  # 2 and 3
    ratio = {"of": "a/mean_W1", "over": "a/mean_W2", "low": 0.3}
    assert single_run(ratio, measured=measured).estimate == pytest.approx(2 / 4)  # 1 / 0 and 3 / 9


def test_a_study_of_single_runs_knows_no_margin():
    measured = {"a": {"test_accuracy": np.array([0.9, 0.901])}, "b": {"test_accuracy": np.array([0.9, 0.9])}}
    one = {"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0}
    assert single_run(one, measured=measured).estimate == pytest.approx(1 / 2)


def test_where_all_combinations_agree_the_interval_is_that_of_as_many_studies():
    measured = {"a": {"mean_W1": np.full(50, 2.0)}, "b": {"mean_W1": np.full(50, 1.0)}}
    one = {"of": "a/mean_W1", "minus": "b/mean_W1"}
    always, never = (single_run(one | region, measured=measured) for region in ({"low": 0.0}, {"high": 0.0}))
    assert (always.estimate, never.estimate) == (1, 0)
    assert always.low == pytest.approx(0.025 ** (1 / 50)) == pytest.approx(1 - never.high)


def test_what_is_not_there_has_no_probability():
    lost = {"a": {"mean_W1": np.full(3, NAN)}, "b": {"mean_W1": np.ones(3)}}
    for one in ({"of": "a/mean_W1", "low": 0.0}, {"of": "gone/mean_W1", "minus": "b/mean_W1", "low": 0.0}):
        assert math.isnan(single_run({"of": "b/mean_W1", "low": 0.0}, one, measured=lost).estimate)
        assert math.isnan(probability_of_improvement(Comparison(**one), lost, **RULES).estimate)


VALUES = st.lists(st.sampled_from([0.1, 0.2, 0.3, NAN]), min_size=5, max_size=5).filter(lambda v: not np.isnan(v).all())


@given(VALUES, VALUES, st.sampled_from([{"low": 0.0}, {"high": 0.0}]))
def test_one_run_beats_another_in_so_many_pairs(a, b, region):
    measured = {"a": {"test_accuracy": a}, "b": {"test_accuracy": b}}
    counted = [[-1 if math.isnan(value) else value for value in values] for values in (a, b)]
    expected = np.mean([(x > y) + (x == y) / 2 for x, y in product(*counted)])
    for with_other in ({"minus": "b/test_accuracy"}, {"over": "b/test_accuracy"}):
        one = Comparison(of="a/test_accuracy", **with_other, **region)
        assert probability_of_improvement(one, measured, **RULES).estimate == pytest.approx(expected)


def test_an_interval_of_one_against_another_covers_the_truth():
    # P(A > B) of two normals one standard deviation apart.
    truth, random = 0.760, np.random.default_rng(0)
    one = Comparison(of="a/mean_W1", minus="b/mean_W1", low=0.0)
    covered = []
    for _ in range(100):
        measured = {"a": {"mean_W1": random.normal(1, 1, 50)}, "b": {"mean_W1": random.normal(0, 1, 50)}}
        found = probability_of_improvement(one, measured, **RULES)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= 0.88  # 95 % of 100 are fewer once in 300 times


def test_what_compares_no_two_numbers_has_no_winner():
    measured = {"a": {"mean_W1": np.ones(3)}}
    assert math.isnan(probability_of_improvement(Comparison(of="a/mean_W1", low=0.0), measured, **RULES).estimate)


@given(st.lists(VALUES, min_size=2, max_size=4))
def test_a_single_run_wins_as_often_as_it_is_the_highest(values):
    counted = [[-1 if math.isnan(value) else value for value in own] for own in values]
    expected = np.zeros(len(values))
    for study in product(*counted):
        best = (np.array(study) == max(study)) & (max(study) >= 0)
        expected += best / max(1, best.sum())
    runs = dict(zip(RUNS, map(np.array, values), strict=False))
    found = single_run_wins(runs)
    assert list(found) == list(runs)
    assert list(found.values()) == pytest.approx(expected / 5 ** len(values))


def test_every_replica_may_be_drawn():
    shares = winner_shares({"a": np.array([2.0, 0.0]), "b": np.array([1.0, 1.0])}, [2], draws=20_000, seed=0)
    assert shares[2]["a"] == pytest.approx(1 / 4 + 2 / 4 / 2, abs=0.02)  # twice the first; once each is a tie


def test_more_runs_find_the_better_one_more_often():
    runs = {"a": np.arange(50.0) + 10, "b": np.arange(50.0), "c": np.full(50, NAN)}
    shares = winner_shares(runs, [1, 2, 10], draws=20_000, seed=0)
    assert shares == winner_shares(runs, [1, 2, 10], draws=20_000, seed=0)
    assert shares[1] == single_run_wins(runs)
    assert shares[1]["a"] < shares[2]["a"] < shares[10]["a"]
    # The mean of ten is nearly normal, with twice the variance of one.
    assert shares[10]["a"] == pytest.approx(0.5 + math.erf(10 / np.sqrt(2 * 2 * (50**2 - 1) / 12 / 10)) / 2, abs=0.02)
    assert shares[10]["c"] == 0
    assert sum(shares[2].values()) == pytest.approx(1)


@pytest.mark.parametrize(("apart", "expected"), [(1e-6, 1.0), (4e-8, 0.5), (0.0, 0.5)])
def test_values_that_agree_to_seven_decimals_count_half(apart, expected):
    measured = {"a": {"mean_W1": np.full(3, 0.5 + apart)}, "b": {"mean_W1": np.full(3, 0.5)}}
    better = Comparison(of="a/mean_W1", minus="b/mean_W1", low=0.0)
    assert probability_of_improvement(better, measured, **RULES).estimate == expected
