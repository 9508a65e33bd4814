"""From made-up replicas to a verdict: each word, margins, what diverged, what is corrected."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnlib.evidence.claims import Word, claim_word, decide, number
from nnlib.evidence.study import DERIVED, FIRST_TEST_SHARE, Claim, Comparison

SUPPORTED, CONTRADICTED, UNDECIDED, EQUIVALENT = Word.SUPPORTED, Word.CONTRADICTED, Word.UNDECIDED, Word.EQUIVALENT
NOT_SUPPORTED = Word.NOT_SUPPORTED
PARTLY_SUPPORTED, PARTLY_CONTRADICTED, NOT_TESTED = Word.PARTLY_SUPPORTED, Word.PARTLY_CONTRADICTED, Word.NOT_TESTED
MARGINS = {"accuracy": 0.002, "cost": 0.02}
NAN, INF = math.nan, math.inf


def claim(*comparisons, id="claim", **more):
    return Claim(
        id=id, says="it is so", asked_by="readers", comparisons=[Comparison(**one) for one in comparisons], **more
    )


def verdicts(claims, measured, published=None, level=0.05):
    """Two-sided p-values must reach this level."""
    return decide(claims, measured, published or {}, margins=MARGINS, confidence=1 - level / FIRST_TEST_SHARE)


def seeds(*groups):
    """So many seeds of each value, as (how many, value)."""
    return np.concatenate([np.full(many, value) for many, value in groups])


def word(values, name="test_accuracy", region=None):
    """The verdict on one comparison of run a, that has these values, with run b, that has zeros."""
    one = {"of": f"a/{name}", "minus": f"b/{name}"} | (region or {"low": 0.0})
    measured = {"a": {name: values}, "b": {name: np.zeros(len(values))}}
    (verdict,) = verdicts([claim(one)], measured)
    assert verdict.word == verdict.findings[0].verdict
    return verdict.word


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (seeds((50, 0.01)), SUPPORTED),
        (seeds((33, 0.01), (17, 0.0)), SUPPORTED),  # the fewest of 50 that decide: p = 0.033
        (seeds((32, 0.01), (18, 0.0)), UNDECIDED),
        (seeds((18, 0.01), (32, 0.0)), UNDECIDED),
        (seeds((17, 0.01), (33, 0.001)), EQUIVALENT),
        (seeds((50, 0.001)), EQUIVALENT),  # ahead in every seed, but by less than the margin
        (seeds((50, -0.001)), EQUIVALENT),
        (seeds((17, 0.01), (33, -0.003)), CONTRADICTED),
        (seeds((17, 0.01), (1, 0.0), (32, -0.003)), NOT_SUPPORTED),
        (seeds((10, 0.01), (20, 0.0), (20, -0.003)), NOT_SUPPORTED),
        (seeds((50, -0.01)), CONTRADICTED),
        (seeds((50, 0.002)), EQUIVALENT),  # the margin itself is within
        (seeds((5, 0.01)), UNDECIDED),
        (seeds((6, 0.01)), SUPPORTED),
    ],
)
def test_one_comparison(values, expected):
    assert word(values) == expected
    assert word(-values, region={"high": 0.0}) == expected


def test_the_margin_is_that_of_the_kind_of_measure():
    assert word(seeds((20, 0.01)), "train_cost") == EQUIVALENT
    assert word(seeds((20, 0.03)), "train_cost") == SUPPORTED
    assert word(seeds((20, 1e-4)), "mean_W1") == SUPPORTED  # no margin
    assert word(seeds((20, 0.001)), region={"low": -0.002, "high": None}) == SUPPORTED  # compared with another number


def test_a_difference_as_large_as_the_margin_is_within_whatever_its_last_bits_are():
    # 24 of 12,000 images, as tables print it.
    for images in range(24, 12_000, 997):
        a, b = (np.full(20, float(f"{k / 12_000:.8g}")) for k in (images, images - 24))
        measured = {"a": {"test_accuracy": a}, "b": {"test_accuracy": b}}
        (verdict,) = verdicts([claim({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0})], measured)
        assert (verdict.word, verdict.findings[0].within) == (EQUIVALENT, 20)


REGIONS = {
    "low": ({"low": 0.5}, 0.6, 0.4),
    "high": ({"high": 0.5}, 0.4, 0.6),
    "both": ({"low": 0.4, "high": 0.6}, 0.5, 0.7),
    "over": ({"over": "b/mean_W1", "high": 1.2}, 0.55, 0.65),  # b has 0.5
}


@pytest.mark.parametrize("kind", REGIONS)
def test_a_number_must_lie_in_the_region(kind):
    region, inside, outside = REGIONS[kind]
    for values, expected in (
        (seeds((20, inside)), SUPPORTED),
        (seeds((20, outside)), CONTRADICTED),
        (seeds((10, inside), (10, outside)), UNDECIDED),
    ):
        measured = {"a": {"mean_W1": values}, "b": {"mean_W1": np.full(20, 0.5)}}
        (verdict,) = verdicts([claim({"of": "a/mean_W1"} | region)], measured)
        assert verdict.word == expected


def test_the_ends_of_a_region_are_outside():
    for region in ({"low": 0.5}, {"high": 0.5}):
        (verdict,) = verdicts([claim({"of": "a/mean_W1"} | region)], {"a": {"mean_W1": np.full(20, 0.5)}})
        assert verdict.findings[0].held == 0


def test_signs_are_added_over_the_numbers_of_one_replica():
    one = {"of": ["a/mean_W1", "a/mean_W2"], "minus": ["b/mean_W1", "b/mean_W2"], "sum_of_signs": True}
    measured = {
        "a": {"mean_W1": seeds((20, 1.0)), "mean_W2": seeds((15, -1.0), (5, 1.0))},
        "b": {"mean_W1": np.zeros(20), "mean_W2": np.zeros(20)},
    }
    (verdict,) = verdicts([claim(one | {"low": -2.0, "high": 2.0})], measured)
    assert (verdict.findings[0].held, verdict.word) == (15, SUPPORTED)


def test_a_finding_says_how_many_and_how_much():
    measured = {
        "a": {"test_accuracy": seeds((18, 0.6), (1, 0.501), (1, 0.4))},
        "b": {"test_accuracy": np.full(20, 0.5)},
    }
    (verdict,) = verdicts([claim({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0})], measured)
    (found,) = verdict.findings
    assert (found.replicas, found.held, found.within, found.against, found.margin) == (20, 18, 1, 1, 0.002)
    assert (found.share.estimate, found.size.estimate) == (0.9, pytest.approx(0.1))
    assert found.p == verdict.p == verdict.corrected == pytest.approx(2 * (1 + 20 + 190) / 2**20)
    assert verdict.level == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("name", "region", "lost_first", "lost_second"),
    [
        ("test_accuracy", {"low": 0.0}, CONTRADICTED, SUPPORTED),
        ("validation_cost", {"high": 0.0}, CONTRADICTED, SUPPORTED),
        ("log10_sum_squared_weights", {"high": 0.0}, CONTRADICTED, SUPPORTED),
        ("mean_W1", {"low": 0.0}, NOT_SUPPORTED, NOT_SUPPORTED),  # nothing can be said of it: it did not hold
    ],
)
def test_a_replica_that_diverged_is_worse_than_all_others(name, region, lost_first, lost_second):
    sound, lost = np.full(20, 0.5), np.append(np.full(19, NAN), 0.5)
    for first, second, expected in (
        (lost, sound, lost_first),
        (sound, lost, lost_second),
        (lost, lost, NOT_SUPPORTED if name == "mean_W1" else None),
    ):
        measured = {"a": {name: first}, "b": {name: second}}
        (verdict,) = verdicts([claim({"of": f"a/{name}", "minus": f"b/{name}"} | region)], measured)
        assert verdict.findings[0].replicas == 20
        # Where both diverged, neither is ahead; the one pair that is left is equal.
        assert verdict.findings[0].held == (19 if expected is SUPPORTED else 0)
        assert expected is None or verdict.word == expected


def test_a_ratio_of_two_that_diverged_does_not_hold():
    cost = {"train_cost": np.append(np.full(19, NAN), 1.0)}
    (verdict,) = verdicts([claim({"of": "a/train_cost", "over": "b/train_cost", "low": 0.5})], {"a": cost, "b": cost})
    assert (verdict.findings[0].held, verdict.findings[0].replicas) == (1, 20)


@pytest.mark.parametrize("measured", [{}, {"a": {}}, {"a": {"mean_W1": np.full(9, NAN)}}])
def test_without_its_run_or_its_measure_or_where_all_diverged_it_is_not_tested(measured):
    gone = {"of": "a/mean_W1", "low": 0.0}
    there = {"of": "b/mean_W1", "low": 0.0}
    measured = measured | {"b": {"mean_W1": np.full(20, 1.0)}}
    alone, both = verdicts([claim(gone), claim(gone, there, id="both")], measured)
    assert (alone.word, both.word) == (NOT_TESTED, PARTLY_SUPPORTED)
    assert [part.verdict for part in both.findings] == [NOT_TESTED, SUPPORTED]
    assert all(map(math.isnan, (alone.p, alone.corrected, alone.level, alone.findings[0].size.estimate)))
    part = alone.findings[0]
    assert (part.replicas, part.held, part.within, part.against) == (0, 0, 0, 0)
    # It costs the other no level.
    assert both.level == pytest.approx(0.05)


def test_a_minority_is_never_taken_for_the_majority():
    """It holds in few, and so does each of the other cases."""
    assert word(seeds((100, 0.1), (450, 0.0), (450, -0.1))) == NOT_SUPPORTED


def test_the_signs_are_those_of_differences():
    pairs = {"of": ["a/mean_W1", "a/mean_W2"], "minus": ["b/mean_W1", "b/mean_W2"], "sum_of_signs": True}
    measured = {"a": {"mean_W1": np.full(20, 1.0), "mean_W2": np.full(20, 1.0)}}
    measured["b"] = {"mean_W1": np.full(20, 2.0), "mean_W2": np.full(20, 0.5)}
    (verdict,) = verdicts([claim(pairs | {"low": -1.0, "high": 1.0})], measured)
    assert verdict.findings[0].size.estimate == 0


def test_a_number_that_is_given_goes_before_the_one_that_follows_from_others():
    (name, (of, minus)), *_ = DERIVED.items()
    both = {"a": {of: [5.0], minus: [3.0]}}
    assert number(both, f"a/{name}") == [2.0]
    assert number({"a": both["a"] | {name: [7.0]}}, f"a/{name}") == [7.0]


@pytest.mark.parametrize(
    ("parts", "every", "expected"),
    [
        ([SUPPORTED, SUPPORTED], False, SUPPORTED),
        ([CONTRADICTED, CONTRADICTED], False, CONTRADICTED),
        ([EQUIVALENT, EQUIVALENT], True, EQUIVALENT),
        ([NOT_TESTED, NOT_TESTED], True, NOT_TESTED),
        ([SUPPORTED, UNDECIDED], True, PARTLY_SUPPORTED),
        ([SUPPORTED, EQUIVALENT], True, PARTLY_SUPPORTED),
        ([SUPPORTED, NOT_TESTED], False, PARTLY_SUPPORTED),
        ([CONTRADICTED, UNDECIDED], False, PARTLY_CONTRADICTED),
        ([CONTRADICTED, EQUIVALENT], False, PARTLY_CONTRADICTED),
        ([CONTRADICTED, UNDECIDED], True, CONTRADICTED),
        ([SUPPORTED, SUPPORTED, CONTRADICTED], True, CONTRADICTED),
        ([SUPPORTED, SUPPORTED, CONTRADICTED], False, PARTLY_SUPPORTED),
        ([SUPPORTED, CONTRADICTED], False, PARTLY_SUPPORTED),
        ([SUPPORTED, CONTRADICTED, CONTRADICTED], False, PARTLY_CONTRADICTED),
        ([EQUIVALENT, UNDECIDED], False, UNDECIDED),
        ([EQUIVALENT, NOT_SUPPORTED], False, NOT_SUPPORTED),
        ([NOT_SUPPORTED, NOT_TESTED], False, UNDECIDED),
        ([CONTRADICTED, NOT_SUPPORTED], False, PARTLY_CONTRADICTED),
        ([UNDECIDED, NOT_TESTED], False, UNDECIDED),
    ],
)
def test_the_word_on_a_claim_comes_from_its_parts(parts, every, expected):
    assert claim_word(parts, every=every) == claim_word(parts[::-1], every=every) == expected


def of(*helds, replicas=50):
    """Claims as lists of how many seeds of each part hold, and measures of which that is true."""
    claims, measured = [], {}
    for place, parts in enumerate(helds):
        names = [f"mean_W{10 * place + part}" for part in range(len(parts))]
        claims.append(claim(*({"of": f"a/{name}", "low": 0.0} for name in names), id=f"c{place}"))
        values = (seeds((held, 1.0), (replicas - held, -1.0)) for held in parts)
        measured.setdefault("a", {}).update(zip(names, values, strict=True))
    return claims, measured


def p(held, replicas=50):
    return stats.binomtest(held, replicas).pvalue


def test_all_parts_need_no_correction_inside_a_claim():
    (verdict,) = verdicts(*of([33] * 8))
    assert verdict.word == SUPPORTED
    assert verdict.p == pytest.approx(p(33))


def test_some_parts_are_corrected_inside_a_claim():
    # p(34) = 0.015 is too much for one of four, 0.05 / 4, and not for one of three, once p(35) = 0.0066 has decided.
    for helds, decided in (([34, 26, 26, 25], 0), ([35, 34, 26, 25], 2)):
        (verdict,) = verdicts(*of(helds))
        assert [part.verdict for part in verdict.findings] == [SUPPORTED] * decided + [UNDECIDED] * (4 - decided)
        assert verdict.word == (PARTLY_SUPPORTED if decided else UNDECIDED)


def test_claims_are_corrected_for_how_many_there_are():
    decided = verdicts(*of([34], [34], [34]))
    assert {one.word for one in decided} == {SUPPORTED}  # 0.015 is below 0.05 / 3
    assert {one.word for one in verdicts(*of([34], [34], [34], [34]))} == {UNDECIDED}
    # Claims that are decided leave their level to the others.
    assert [one.word for one in verdicts(*of([50], [50], [33]))] == [SUPPORTED] * 3
    assert [one.level for one in verdicts(*of([50], [50], [33]))] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])


def test_a_claim_with_an_open_part_keeps_its_level():
    # Each has a part that is clear; were its level passed on, the last claim's other part would be tested at 0.05.
    found = verdicts(*of(*[[50, 25]] * 9, [50, 33]))
    assert {one.word for one in found} == {PARTLY_SUPPORTED}
    assert [one.level for one in found] == pytest.approx([0.05 / 10] * 10)
    assert [part.verdict for part in found[-1].findings] == [SUPPORTED, UNDECIDED]


def test_one_p_value_that_meets_its_level_exactly_decides():
    (verdict,) = verdicts(*of([6], replicas=6), level=2 / 64)
    assert verdict.word == SUPPORTED
    (verdict,) = verdicts(*of([6], replicas=6), level=1.99 / 64)
    assert verdict.word == UNDECIDED


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=6))
def test_correction_takes_away_and_never_adds(helds):
    claims, measured = of(*helds)
    together = verdicts(claims, measured)
    for one, alone in zip(together, [verdicts([one], measured)[0] for one in claims], strict=True):
        for part, part_alone in zip(one.findings, alone.findings, strict=True):
            less = (UNDECIDED, NOT_SUPPORTED) if part_alone.verdict is CONTRADICTED else (UNDECIDED,)
            assert part.verdict in (*less, part_alone.verdict)
            assert part.verdict == UNDECIDED or part.p <= one.level
        assert (one.corrected <= 0.05) == (UNDECIDED not in [part.verdict for part in one.findings])


@pytest.mark.parametrize(
    ("published", "own_numbers", "difference"),
    [
        ({"a": {"test_accuracy": 0.6}, "b": {"test_accuracy": 0.5}}, "agree", 0.1),
        ({"a": {"test_accuracy": 0.501}, "b": {"test_accuracy": 0.5}}, "agree", 0.001),  # no margin for what it printed
        ({"a": {"test_accuracy": 0.5}, "b": {"test_accuracy": 0.5}}, "disagree", 0.0),
        ({"a": {"test_accuracy": 0.6}}, "not printed", None),
        ({}, "not printed", None),
    ],
)
def test_a_claim_is_held_against_the_study_s_own_numbers(published, own_numbers, difference):
    measured = {run: {"test_accuracy": np.full(20, 0.5)} for run in "ab"}
    one = claim({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0})
    (verdict,) = verdicts([one], measured, published)
    assert verdict.own_numbers == own_numbers
    assert verdict.findings[0].published == (difference if difference is None else pytest.approx(difference))


def test_own_numbers_disagree_where_one_part_does():
    parts = [{"of": f"{run}/test_accuracy", "low": 0.5} for run in "abc"]
    published = {"a": {"test_accuracy": 0.6}, "b": {"test_accuracy": 0.4}}
    assert verdicts([claim(*parts)], {}, published)[0].own_numbers == "disagree"
    assert verdicts([claim(parts[0], parts[2])], {}, published)[0].own_numbers == "agree"


def test_a_gap_follows_from_the_accuracies_of_replicas_and_of_the_study():
    measured = {"a": {"train_accuracy": np.full(20, 0.95), "validation_accuracy": np.full(20, 0.93)}}
    published = {"a": {"train_accuracy": 0.96, "validation_accuracy": 0.92}}
    (verdict,) = verdicts([claim({"of": "a/generalization_gap", "high": 0.03})], measured, published)
    assert (verdict.word, verdict.own_numbers) == (SUPPORTED, "disagree")
    assert verdict.findings[0].size.estimate == pytest.approx(0.02)


def test_a_published_difference_is_placed_among_those_of_all_pairs():
    # Paired, both differences are 1; of the four unpaired ones, −9, 1, 1 and 11, three lie below 5.
    measured = {"a": {"mean_W1": [1.0, 11.0]}, "b": {"mean_W1": [0.0, 10.0]}}
    one = claim({"of": "a/mean_W1", "minus": "b/mean_W1", "low": 0.0})
    for difference, expected in ((5.0, 75), (1.0, 50), (-9.5, 0), (11.5, 100)):
        (verdict,) = verdicts([one], measured, {"a": {"mean_W1": difference}, "b": {"mean_W1": 0.0}})
        assert verdict.findings[0].percentile == expected
    # Two numbers of one run belong to one replica.
    own = {"a": {"mean_W1": [1.0, 11.0], "mean_W2": [0.0, 10.0]}}
    one = claim({"of": "a/mean_W1", "minus": "a/mean_W2", "low": 0.0})
    (verdict,) = verdicts([one], own, {"a": {"mean_W1": 5.0, "mean_W2": 0.0}})
    assert verdict.findings[0].percentile == 100
