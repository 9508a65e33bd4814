"""Statistics against cases that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlib.evidence.statistics import holm, mean_interval, percentile, share_interval, sign_flip_p

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "mean", "low", "high"),
    [
        ([0.7, 0.7, 0.7], 0.7, 0.7, 0.7),
        ([0.8] * 9 + [0.9 - 0.1 - 1e-16], 0.8, 0.8, 0.8),  # the same but for rounding, as differences are
        ([0.7], 0.7, NAN, NAN),
        ([], NAN, NAN, NAN),
        ([NAN, 0.7], 0.7, NAN, NAN),
        ([NAN, 0.7, 0.7], 0.7, 0.7, 0.7),
        ([0, 1], 0.5, 0, 1),  # a resample is 0, 0 or 1, 1 once in four times
        ([0, NAN, 1], 0.5, 0, 1),
    ],
)
def test_mean_and_its_interval(values, mean, low, high):
    interval = mean_interval(values, 0.95, 999, seed=0)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((mean, low, high), nan_ok=True)


def test_the_seed_decides_the_interval():
    values = np.random.default_rng(0).normal(size=10)
    one, same, other = (mean_interval(values, 0.95, 999, seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert one.low < values.mean() < one.high


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(0).normal(size=10)
    narrow, wide = (mean_interval(values, confidence, 999, 0) for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(3, 1, (300, 20))
    intervals = [mean_interval(sample, 0.95, 299, seed) for seed, sample in enumerate(samples)]
    assert 0.90 <= np.mean([interval.low <= 3 <= interval.high for interval in intervals]) <= 0.98


@pytest.mark.parametrize(
    ("differences", "alternative", "p"),
    [
        ([1, 2], "greater", 1 / 4),
        ([1, 2], "less", 1),
        ([-1, 2], "greater", 2 / 4),
        ([1, 2, 3], "greater", 1 / 8),
        ([-1, 2, 3], "greater", 2 / 8),
        ([-1, -2, -3], "less", 1 / 8),
        ([1, 2, 3, 4], "greater", 1 / 16),
        ([1, 1, 1, -1], "greater", 5 / 16),  # one way to a sum of 4, four to a sum of 2
        ([1, 1, -1, -1], "less", 11 / 16),
        ([0, 0], "greater", 1),
        ([1, NAN, 2], "greater", 1 / 4),
        ([0.01] * 13, "greater", 2**-13),
        ([1], "greater", 1 / 2),
        ([-1], "greater", 1),
        ([], "greater", 1),
        ([NAN], "greater", 1),
    ],
)
def test_sign_flips_are_counted_exactly(differences, alternative, p):
    assert sign_flip_p(differences, alternative) == pytest.approx(p)


def test_many_pairs_are_flipped_at_random_but_the_same_way_each_time():
    differences = np.random.default_rng(0).normal(0.4, 1, 30)
    p = sign_flip_p(differences, "greater")
    assert p == sign_flip_p(differences, "greater")
    assert 0 < p < 0.05


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        # In order 0.01 · 4, 0.02 · 3, 0.03 · 2, 0.04 · 1, none smaller than the one before.
        ([0.04, 0.01, 0.03, 0.02], [0.06, 0.04, 0.06, 0.06]),
        ([0.005, 0.5, 0.6], [0.015, 1, 1]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm_by_hand(p, corrected):
    assert holm(p) == pytest.approx(np.array(corrected))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_makes_nothing_more_certain(p):
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize(
    ("value", "values", "percent"),
    [
        (2, [1, 2, 3], 50),
        (0, [1, 2], 0),
        (9, [1, 2], 100),
        (2, [2, 2], 50),
        (3, [1, 2, 3, 4], 62.5),
        (1.5, [1, NAN, 2], 50),
        (1, [], NAN),
        (1, [NAN], NAN),
    ],
)
def test_percentile_counts_half_of_the_equal_ones(value, values, percent):
    assert percentile(value, values) == pytest.approx(percent, nan_ok=True)


@pytest.mark.parametrize(
    ("successes", "trials", "share", "low", "high"),
    [
        (0, 10, 0, 0, 0.27753),  # z² / (n + z²), z = 1.95996
        (10, 10, 1, 0.72247, 1),
        (5, 10, 0.5, 0.23659, 0.76341),
        (0, 0, NAN, NAN, NAN),
    ],
)
def test_a_share_has_its_wilson_interval(successes, trials, share, low, high):
    interval = share_interval(successes, trials, 0.95)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((share, low, high), abs=1e-5, nan_ok=True)
