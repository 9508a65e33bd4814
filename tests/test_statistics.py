"""Statistics against cases that can be counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnlib.evidence import statistics
from nnlib.evidence.statistics import (
    fewest_successes,
    fewest_trials,
    holm,
    median_interval,
    percentile,
    share_found,
    share_interval,
    sign_p,
    trials_needed,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7, 0.7, 0.7, 0.7, 0.7, 0.7], (0.7, 0.7, 0.7)),
        ([0.7], (0.7, NAN, NAN)),
        ([], (NAN, NAN, NAN)),
        ([NAN, 0.7], (0.7, NAN, NAN)),
        ([3, 1], (2, NAN, NAN)),
        ([5, 1, 2, 4, 3], (3, NAN, NAN)),  # all five above the median: once in 32
        ([6, 5, 1, 2, 4, 3], (3.5, 1, 6)),  # once in 64
        ([*range(1, 10)], (5, 2, 8)),  # one or none of nine: 10 in 512
        ([-INF, 1, 2, 3, 4, INF], (2.5, -INF, INF)),
        ([-INF, -INF, -INF, 1, 2, 3], (-INF, -INF, 3)),
        ([INF] * 6, (INF, INF, INF)),
    ],
)
def test_median_and_its_interval(values, expected):
    interval = median_interval(values, 0.95)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx(expected, nan_ok=True)


def test_a_confidence_that_is_met_exactly_is_met():
    # With two values the median lies between them half of the time, with three in three quarters.
    assert (median_interval([1, 2], 0.5).low, median_interval([1, 2, 3], 0.75).high) == (1, 3)
    assert math.isnan(median_interval([1, 2], 0.51).low)


def test_one_value_far_off_moves_an_interval_by_one_place():
    values = np.arange(20.0)
    spoilt = np.where(values == 10, -1e9, values)
    one, other = median_interval(values, 0.95), median_interval(spoilt, 0.95)
    assert (one.low, other.low, one.high, other.high) == (5, 4, 14, 14)


def test_more_confidence_is_a_wider_interval():
    narrow, wide = (median_interval(range(30), confidence) for confidence in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential"])
def test_the_interval_covers_the_true_median_at_least_as_often_as_it_says(draw):
    samples = getattr(np.random.default_rng(0), draw)(size=(2000, 20))
    median = {"exponential": np.log(2)}.get(draw, 0)
    intervals = [median_interval(sample, 0.9) for sample in samples]
    # Twenty values cover with 95.9 %, or with the next places 88.5 %, which is too little.
    assert np.mean([one.low <= median <= one.high for one in intervals]) == pytest.approx(0.959, abs=0.013)


@pytest.mark.parametrize(
    ("successes", "trials", "p"),
    [(0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 2, 1 / 2), (0, 5, 2 / 32), (1, 5, 12 / 32), (9, 10, 22 / 1024), (5, 10, 1)],
)
def test_signs_are_counted_exactly(successes, trials, p):
    assert sign_p(successes, trials) == pytest.approx(p)


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.04], [0.02, 0.04]),
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
        ([0.5, 0.6], [1, 1]),
        ([0.6, 0.7], [1, 1]),
        ([], []),
    ],
)
def test_holm_by_hand(p, corrected):
    assert holm(p) == pytest.approx(np.array(corrected))


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_makes_nothing_more_certain(p):
    corrected = holm(p)
    assert (corrected >= np.array(p)).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_how_many_trials_a_share_needs():
    # Where all succeed, as many as make 2 · 2⁻ⁿ small enough.
    assert trials_needed(1.0, 0.05) == trials_needed(0.0, 0.05) == 6
    assert trials_needed(1.0, 2 * 2**-12) == 12
    # The textbook's normal approximation for a share of 0.7 gives 47 and 49 with its correction.
    assert 44 <= trials_needed(0.7, 0.05) <= 52
    assert trials_needed(0.7, 0.001) > trials_needed(0.7, 0.05)
    assert trials_needed(0.5, 0.05) is None
    assert trials_needed(1.0, 1.0) == 1


def test_trials_that_always_decide_are_enough_however_sure_one_wants_to_be(monkeypatch):
    monkeypatch.setattr(statistics, "POWER", 1.0)
    assert trials_needed(1.0, 0.05) == 6


@pytest.mark.parametrize("level", [0.05, 0.05 / 98])
@pytest.mark.parametrize("trials", [12, 50])
def test_how_many_successes_decide(trials, level):
    fewest = int(fewest_successes(trials, level))
    if fewest <= trials:
        assert sign_p(fewest, trials) <= level
    assert fewest > trials or sign_p(fewest - 1, trials) > level


def test_the_share_that_so_many_trials_find_needs_so_many_trials():
    for level in (0.05, 0.05 / 98):
        share = share_found(50, level)
        assert trials_needed(share + 1e-9, level) <= 50
        assert trials_needed(share - 0.02, level) > 50
        assert stats.binom.sf(fewest_successes(50, level) - 1, 50, share) == pytest.approx(0.8)
    # Six of six decide, five of five do not.
    assert share_found(6, 0.05) == pytest.approx(0.8 ** (1 / 6))
    assert np.isnan(share_found(5, 0.05))


@pytest.mark.parametrize(
    ("share", "level", "needed"),
    [
        (0.56277, 0.05, 499),
        (0.56765, 0.03, 500),
        (0.56178, 0.05, 518),
        (0.51475, 0.05, 9054),
        (0.513, 0.05, None),  # 11,647
    ],
)
def test_of_many_trials_too_the_fewest_that_a_share_needs_are_found(share, level, needed):
    assert trials_needed(share, level) == needed


def test_only_so_many_trials_are_tried(monkeypatch):
    for most, needed in ((518, 518), (517, None)):
        monkeypatch.setattr(statistics, "MOST", most)
        assert trials_needed(0.56178, 0.05) == needed


def test_the_fewest_trials_that_can_decide():
    assert fewest_trials(1, 0.05) == 6
    for tests in (1, 3, 98):
        lowest = tests * sign_p(0, fewest_trials(tests, 0.05))
        assert lowest <= 0.05 < 2 * lowest


@pytest.mark.parametrize(
    ("value", "values", "expected"),
    [(2.5, [1, 2, 3, NAN], 200 / 3), (1, [1, 2], 25), (0, [1], 0), (9, [1], 100), (1, [], NAN), (1, [NAN], NAN)],
)
def test_percentiles(value, values, expected):
    assert percentile(value, values) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (5, 10), (1, 1)])
def test_a_share_lies_in_its_interval(successes, trials):
    interval = share_interval(successes, trials, 0.95)
    assert 0 <= interval.low <= interval.estimate == successes / trials <= interval.high <= 1


def test_a_share_of_all_by_hand():
    # Ten of ten: the lowest share that gives that once in forty.
    assert share_interval(10, 10, 0.95).low == pytest.approx(0.025 ** (1 / 10))
    assert math.isnan(share_interval(0, 0, 0.95).estimate)
