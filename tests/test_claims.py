"""Verdicts on made-up replicas: each kind of rule both ways, what leaves it open, and the study's own claims."""

import numpy as np
import pytest
from pipeline import REPOSITORY

from nnlib.evidence.claims import Claim, Comparison, decide
from stages.parameters import read_yaml

STUDY = read_yaml(REPOSITORY / "data/published/study.yaml")
CLAIMS = [Claim.from_record(record) for record in STUDY["claims"]]
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NOT_TESTED, SILENT = "not tested", "silent"


def around(mean, replicas=10):
    """So many values, evenly within 0.01 of their mean."""
    return mean + np.linspace(-0.01, 0.01, replicas)


def claim(*comparisons, id="claim"):
    return Claim(id, "says", tuple(Comparison(**one) for one in comparisons), "figure")


def verdicts(claims, measured, published=None):
    return decide(claims, measured, published or {}, confidence=0.95, resamples=999, seed=0)


def verdict(rule, a, b=0.5, replicas=10, published=None):
    """The verdict on one comparison of run a, beside a run b that varies the other way."""
    measured = {"a": {"x": around(a, replicas)}, "b": {"x": around(b, replicas)[::-1]}}
    return verdicts([claim({"of": "a/x"} | rule)], measured, published)[0]


# For each rule the mean of a that supports, contradicts and leaves it open.
RULES = {
    "low": ({"low": 0.5}, 0.6, 0.4, 0.5),
    "high": ({"high": 0.5}, 0.4, 0.6, 0.5),
    "both, above": ({"low": 0.4, "high": 0.6}, 0.5, 0.7, 0.6),
    "both, below": ({"low": 0.4, "high": 0.6}, 0.5, 0.3, 0.4),
    "minus": ({"minus": "b/x", "low": 0}, 0.6, 0.4, 0.5),
    "over": ({"over": "b/x", "low": 1.15, "high": 1.35}, 0.625, 0.5, 0.575),
}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("case", [SUPPORTED, CONTRADICTED, UNDECIDED])
def test_every_rule_can_come_out_each_way(kind, case):
    rule, *means = RULES[kind]
    mean = means[[SUPPORTED, CONTRADICTED, UNDECIDED].index(case)]
    ours = verdict(rule, mean)
    assert ours.verdict == case
    assert ours.decisive.verdict == case
    # Two replicas never prove anything.
    assert verdict(rule, mean, replicas=2).verdict == UNDECIDED


def test_an_effect_has_the_mean_and_how_often_it_held():
    (effect,) = verdict({"minus": "b/x", "low": 0.095}, 0.6).effects
    assert effect.interval.mean == pytest.approx(0.1)
    assert effect.interval.low < 0.1 < effect.interval.high
    # Differences of 0.08 to 0.12 in ten even steps: six are above 0.095.
    assert effect.improved.mean == 0.6


def test_one_number_can_change_the_verdict():
    values = around(0.6)
    rule = claim({"of": "a/x", "low": 0.5})
    assert verdicts([rule], {"a": {"x": values}})[0].verdict == SUPPORTED
    values[3] = -1
    assert verdicts([rule], {"a": {"x": values}})[0].verdict == UNDECIDED
    assert verdict({"low": 0.7}, 0.6).verdict == CONTRADICTED


def test_replicas_that_diverged_are_left_out():
    values = np.append(around(0.6), [np.nan, np.nan])
    ours = verdicts([claim({"of": "a/x", "low": 0.5})], {"a": {"x": values}})[0]
    assert ours.verdict == SUPPORTED
    assert ours.effects[0].improved.mean == 1
    lost = verdicts([claim({"of": "a/x", "low": 0.5})], {"a": {"x": [np.nan] * 10}})[0]
    assert lost.verdict == UNDECIDED


@pytest.mark.parametrize(
    ("means", "expected", "decisive"),
    [
        ((0.6, 0.7), SUPPORTED, "a/x"),
        ((0.6, 0.5), UNDECIDED, "b/x"),
        ((0.6, 0.4), CONTRADICTED, "b/x"),
        ((0.5, 0.4), CONTRADICTED, "b/x"),
    ],
)
def test_all_comparisons_must_hold_and_one_that_fails_is_enough(means, expected, decisive):
    measured = {run: {"x": around(mean)} for run, mean in zip("ab", means, strict=True)}
    (ours,) = verdicts([claim({"of": "a/x", "low": 0.5}, {"of": "b/x", "low": 0.5})], measured)
    assert (ours.verdict, ours.decisive.comparison.of) == (expected, decisive)


def test_many_claims_need_more_evidence_than_one():
    # Seven of seven: 2 · 2⁻⁷ = 0.016 alone, four times that among four.
    measured = {"a": {"x": around(0.6, 7)}}
    rule = claim({"of": "a/x", "low": 0.5})
    assert [one.verdict for one in verdicts([rule], measured)] == [SUPPORTED]
    assert [one.verdict for one in verdicts([rule] * 4, measured)] == [UNDECIDED] * 4
    assert verdicts([rule] * 4, measured)[0].p == pytest.approx(4 * 2 * 2**-7)


@pytest.mark.parametrize(
    ("comparisons", "p"),
    [
        ([{"of": "a/x", "low": 0.5}], 2 * 2**-10),  # supported
        ([{"of": "a/x", "high": 0.5}], 2 * 2**-10),  # contradicted
        ([{"of": "a/x", "low": 0.4, "high": 0.5}], 2 * 2 * 2**-10),  # by either bound
        ([{"of": "a/x", "high": 0.5}, {"of": "a/x", "high": 0.7}], 2 * 2 * 2**-10),  # by either comparison
        ([{"of": "a/x", "low": 0.5}, {"of": "a/x", "low": 0.4}], 2 * 2**-10),  # supported by both
    ],
)
def test_each_way_to_fail_has_its_price(comparisons, p):
    assert verdicts([claim(*comparisons)], {"a": {"x": around(0.6)}})[0].p == pytest.approx(p)


def test_ten_replicas_can_contradict_the_study_s_longest_claim():
    longest = max(CLAIMS, key=lambda one: len(one.comparisons))
    measured = everything(longest, lambda name: around(0.9) if "train" in name else around(0.1)[::-1])
    assert verdicts([longest], measured)[0].verdict == CONTRADICTED


@pytest.mark.parametrize(
    ("published", "expected", "number"),
    [
        ({"a": {"x": 0.4}, "b": {"x": 0.5}}, CONTRADICTED, -0.1),
        ({"a": {"x": 0.5}, "b": {"x": 0.5}}, CONTRADICTED, 0),
        ({"a": {"x": 0.6}, "b": {"x": 0.5}}, SUPPORTED, 0.1),
        ({"a": {"x": 0.6}}, SILENT, None),
        ({"a": {"x": 0.6}, "b": {"y": 0.5}}, SILENT, None),
        ({}, SILENT, None),
    ],
)
def test_a_claim_is_held_against_the_study_s_own_table_too(published, expected, number):
    ours = verdict({"minus": "b/x", "low": 0}, 0.6, published=published)
    assert (ours.verdict, ours.by_own_table) == (SUPPORTED, expected)
    assert ours.effects[0].published == (number if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda: Comparison("a/x", minus="b/x", over="b/x", low=0), "a/x: expected minus or over"),
        (lambda: Comparison("a/x"), "a/x: expected low < high"),
        (lambda: Comparison("a/x", low=1, high=1), "a/x: expected low < high"),
        (lambda: Comparison("a/x", low=float("nan")), "a/x: expected low < high"),
        (lambda: Claim.from_record({"id": "c", "says": "", "figure": ""}), "claim c: 'comparisons'"),
        (
            lambda: Claim.from_record({"id": "c", "says": "", "figure": "", "comparisons": [], "bound": 1}),
            "claim c: .*bound",
        ),
        (lambda: Claim.from_record({"id": "c", "comparisons": [{"of": "a/x", "lo": 0}]}), "claim c: .*'lo'"),
        (lambda: Claim.from_record({"id": "c", "says": "", "figure": "", "comparisons": [{"of": "a/x"}]}), "a/x"),
    ],
)
def test_a_mistake_is_named(mistake, says):
    with pytest.raises(ValueError, match=says):
        mistake()


def everything(one, values):
    """Every number that a claim asks for."""
    measured = {}
    for comparison in one.comparisons:
        for name in filter(None, (comparison.of, comparison.minus, comparison.over)):
            run, measure = name.split("/")
            measured.setdefault(run, {})[measure] = values(name)
    return measured


# What the study did not print: measured by this project alone.
NOT_PRINTED = {
    "grid": {"train_accuracy", "validation_accuracy", "early_validation_cost", "roughness"},
    "experiment": {"mean_validation_cost", "log10_sum_squared_weights"},
    "experiment-2-exact": {"test_accuracy"},
}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_every_number_that_the_study_printed_is_found(one):
    (ours,) = verdicts([one], everything(one, lambda name: around(0.5)), STUDY["published"])
    for effect in ours.effects:
        names = filter(None, (effect.comparison.of, effect.comparison.minus, effect.comparison.over))
        missing = [name for name in names if name.split("/")[1] not in STUDY["published"].get(name.split("/")[0], {})]
        assert (effect.published is None) == bool(missing)
        for run, measure in (name.split("/") for name in missing):
            assert measure in NOT_PRINTED.get(run, set()) | NOT_PRINTED.get(run.split("-")[0], set())


def test_a_claim_about_what_is_not_there_is_not_tested():
    rule = Comparison("a/x", minus="c/x", low=0)
    measured = {"a": {"x": around(0.6)}}
    with pytest.raises(LookupError, match="c/x: there is no run 'c'"):
        rule.quantity(measured)
    with pytest.raises(LookupError, match="a/y: run 'a' has no measure 'y'"):
        Comparison("a/y", low=0).quantity(measured)
    there, missing = verdicts([claim({"of": "a/x", "low": 0.5}), Claim("c", "says", (rule,), "figure")], measured)
    assert (there.verdict, missing.verdict, missing.p) == (SUPPORTED, NOT_TESTED, 1)


def test_claims_have_names_of_their_own():
    assert len({one.id for one in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("id", "published", "expected"),
    [
        ("batch-32-wins", [0.0304, 0.0703, 0.0155, 0.0773, 0.016, 0.0482, 0.1731, 0.1529], SUPPORTED),
        ("l2-helps", [0.012, 0.01, -0.0756], SUPPORTED),
        # The spread of W3 and W4 falls in the study's own table.
        ("l2-weight-spread", [-0.089, -0.1787, -0.2044, -0.1133], CONTRADICTED),
        ("l2-mean-shift-small", [-0.0055, 0.0123, -0.0151, 0.0431], SUPPORTED),
        ("batchnorm-slower", [None, -0.0401], SUPPORTED),
    ],
)
def test_what_the_study_s_table_says_of_its_claims(id, published, expected):
    (one,) = (one for one in CLAIMS if one.id == id)
    (ours,) = verdicts([one], everything(one, lambda name: around(0.5)), STUDY["published"])
    assert [effect.published for effect in ours.effects] == [
        number if number is None else pytest.approx(number, abs=1e-9) for number in published
    ]
    assert ours.by_own_table == expected


def test_the_study_s_differences_are_those_of_its_means_to_the_last_digit_but_one():
    published = STUDY["published"]
    for layer in range(1, 5):
        one, three = (published[f"experiment-{number}"][f"mean_W{layer}"] for number in (1, 3))
        assert published["weight-diff"][f"mean_difference_W{layer}"] == pytest.approx(one - three, abs=1.5e-4)
