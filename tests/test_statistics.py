"""Statistics against what can be counted by hand, against brute force, and against statsmodels."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from nnlib.evidence.statistics import (
    hochberg,
    holm,
    holm_levels,
    known,
    median_interval,
    middle,
    percentile,
    percentile_interval,
    resample_weights,
    share_interval,
    sign_p,
)

NAN, INF = math.nan, math.inf
P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.02, 1.0]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7], (0.7, NAN, NAN)),
        ([], (NAN, NAN, NAN)),
        ([NAN, 0.7], (0.7, NAN, NAN)),
        ([5, 1, 2, 4, 3], (3, NAN, NAN)),  # all five above the median: once in 32
        ([6, 5, 1, 2, 4, 3], (3.5, 1, 6)),  # once in 64
        ([*range(1, 10)], (5, 2, 8)),  # one or none of nine: 10 in 512
        ([-INF, 1, 2, 3, 4, INF], (2.5, -INF, INF)),
        ([-INF, -INF, -INF, 1, 2, 3], (-INF, -INF, 3)),
        ([INF] * 6, (INF, INF, INF)),
    ],
)
def test_median_and_its_interval(values, expected):
    found = median_interval(values, 0.95)
    assert (found.estimate, found.low, found.high) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [6, 8, 11, 12])
def test_a_median_s_interval_is_the_narrowest_that_covers_often_enough(count, confidence):
    # Of values that are above or below the true median like coins, the interval misses it if too many are on one side.
    ends = median_interval(np.arange(count), confidence)
    above = np.array([sum(coins) for coins in product((0, 1), repeat=count)])

    def coverage(left_out):
        """Of the interval without so many values at each end."""
        return np.mean((above > left_out) & (count - above > left_out))

    if math.isnan(ends.low):
        assert coverage(0) < confidence
    else:
        left_out = int(ends.low)
        assert ends.high == count - 1 - left_out
        assert coverage(left_out) >= confidence > coverage(left_out + 1)


@pytest.mark.parametrize(
    ("successes", "trials", "p"),
    [(0, 0, NAN), (0, 1, 1), (2, 2, 1 / 2), (0, 5, 2 / 32), (1, 5, 12 / 32), (9, 10, 22 / 1024), (5, 10, 1)],
)
def test_signs_are_counted_exactly(successes, trials, p):
    assert sign_p(successes, trials) == pytest.approx(p, nan_ok=True)


@given(st.integers(1, 60), st.data())
def test_a_share_has_the_interval_of_clopper_and_pearson(trials, data):
    successes = data.draw(st.integers(0, trials))
    found = share_interval(successes, trials, 0.95)
    assert found.estimate == successes / trials
    assert (found.low, found.high) == pytest.approx(proportion_confint(successes, trials, method="beta"), abs=1e-9)


def test_nothing_is_known_of_a_share_of_none():
    assert math.isnan(share_interval(0, 0, 0.95).estimate)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_corrections_are_those_of_statsmodels(count):
    random = np.random.default_rng(count)
    p = np.round(random.random(count) ** 3, 1 if count == 5 else 9)  # some equal, some 0
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert hochberg(p) == pytest.approx(multipletests(p, method="simes-hochberg")[1])


@given(P_VALUES, st.integers(0, 20))
def test_what_is_missing_is_not_counted(p, place):
    place = min(place, len(p))
    for correct in (holm, hochberg, lambda p: holm_levels(p, 0.05)):
        found = correct([*p[:place], NAN, *p[place:]])
        assert math.isnan(found[place])
        assert np.delete(found, place) == pytest.approx(correct(p))
    assert len(holm([])) == len(hochberg([])) == len(holm_levels([], 0.05)) == 0


@given(P_VALUES, st.floats(0.001, 0.5))
def test_holm_s_levels_decide_as_its_corrected_p_values_do(p, level):
    levels, corrected = holm_levels(p, level), holm(p)
    clear = np.abs(corrected - level) > 1e-9  # but for rounding
    assert ((np.array(p) <= levels) == (corrected <= level))[clear].all()


def test_holm_s_levels_by_hand():
    assert holm_levels([0.9, 0.001, 0.02, 0.8], 0.06) == pytest.approx([0.03, 0.015, 0.02, 0.03])
    assert holm_levels([0.001, 0.002], 0.05) == pytest.approx([0.025, 0.05])


def test_resamples_draw_as_many_seeds_as_there_are():
    weights = resample_weights(7, 500, 0)
    assert weights.shape == (500, 7)
    assert (weights * 7 == np.round(weights * 7)).all()
    assert weights.sum(1) == pytest.approx(1)
    assert weights.mean(0) == pytest.approx(np.full(7, 1 / 7), abs=0.02)
    assert (weights == resample_weights(7, 500, 0)).all()


def test_a_percentile_interval_leaves_out_as_much_at_each_end():
    found = percentile_interval(np.arange(101.0), 7, 0.9)
    assert (found.estimate, found.low, found.high) == pytest.approx((7, 5, 95))
    assert math.isnan(percentile_interval(np.array([1, NAN]), 7, 0.9).low)


@pytest.mark.parametrize(
    ("value", "values", "expected"),
    [(2.5, [1, 2, 3, NAN], 200 / 3), (1, [1, 2], 25), (0, [1], 0), (9, [1], 100), (1, [], NAN), (1, [NAN], NAN)],
)
def test_percentiles(value, values, expected):
    assert percentile(value, values) == pytest.approx(expected, nan_ok=True)


def test_the_middle_leaves_out_as_much_at_each_end():
    assert middle([*range(101), NAN]) == pytest.approx((5, 95))
    assert middle([NAN]) == pytest.approx((NAN, NAN), nan_ok=True)
    assert known([1, NAN, INF]).tolist() == [1, INF]
