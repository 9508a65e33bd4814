"""Verdicts on made-up replicas: each kind of rule each way, what leaves it open, and the study's own claims."""

import math
from collections import Counter

import numpy as np
import pytest
from pipeline import REPOSITORY

from nnlib.evidence import claims as rules
from nnlib.evidence.claims import Claim, Comparison, claim_verdict, count_tests, decide, one_run_share, said
from nnlib.evidence.measures import is_measure, measures_of
from nnlib.evidence.statistics import trials_needed
from stages.parameters import read_yaml

STUDY = read_yaml(REPOSITORY / "data/published/study.yaml")
CLAIMS = [Claim.from_record(record) for record in STUDY["claims"]]
SUPPORTED, CONTRADICTED, UNDECIDED, EQUIVALENT = "supported", "contradicted", "undecided", "equivalent"
PARTLY, NOT_TESTED, SILENT = "partly supported", "not tested", "silent"
NAN, INF = math.nan, math.inf


def around(mean, replicas=20):
    """So many values, evenly within 0.01 of their mean."""
    return mean + np.linspace(-0.01, 0.01, replicas)


def split(share, replicas=20, low=0.4, high=0.6):
    """Values of which such a share is high, the rest low."""
    return np.where(np.arange(replicas) < share * replicas, high, low)


def claim(*comparisons, id="claim", **more):
    return Claim(id, "says", tuple(Comparison(**one) for one in comparisons), "figure", **more)


def verdicts(claims, measured, published=None):
    return decide(claims, measured, published or {}, confidence=0.95)


def finding(rule, values, published=None):
    """What is found of one comparison of run a."""
    (ours,) = verdicts([claim({"of": "a/x"} | rule)], {"a": {"x": values}, "b": {"x": around(0.5)}}, published)
    assert ours.verdict == ours.findings[0].verdict
    return ours.findings[0]


# For each rule values that support, contradict, and leave it open.
RULES = {
    "low": ({"low": 0.5}, around(0.6), around(0.4), split(0.5)),
    "high": ({"high": 0.5}, around(0.4), around(0.6), split(0.5)),
    "both, above": ({"low": 0.4, "high": 0.6}, around(0.5), around(0.7), split(0.5, low=0.5, high=0.7)),
    "both, below": ({"low": 0.4, "high": 0.6}, around(0.5), around(0.3), split(0.5, low=0.5, high=0.3)),
    "minus": ({"minus": "b/x", "low": 0}, around(0.6), around(0.4), split(0.5)),
    "over": ({"over": "b/x", "low": 1.15, "high": 1.35}, around(0.625), around(0.4), split(0.5, low=0.4, high=0.625)),
}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("case", [SUPPORTED, CONTRADICTED, UNDECIDED])
def test_every_rule_can_come_out_each_way(kind, case):
    rule, *cases = RULES[kind]
    values = cases[[SUPPORTED, CONTRADICTED, UNDECIDED].index(case)]
    assert finding(rule, values).verdict == case
    # Five replicas never prove anything.
    assert finding(rule | {"minus": None, "over": None, "low": 0.5, "high": INF}, values[:5]).verdict == UNDECIDED


def test_a_finding_has_the_share_the_size_and_p():
    ours = finding({"low": 0.5}, np.array([0.4] * 2 + [0.6] * 18))
    assert (ours.replicas, ours.held, ours.share.estimate) == (20, 18, 0.9)
    assert ours.share.low < 0.9 < ours.share.high
    assert (ours.size.estimate, ours.size.low, ours.size.high) == (0.6, 0.6, 0.6)
    assert ours.p == ours.corrected == pytest.approx(2 * (1 + 20 + 190) / 2**20)


def test_of_what_is_not_tested_nothing_is_said():
    (ours,) = verdicts([claim({"of": "gone/x", "low": 0})], {})
    (found,) = ours.findings
    assert (found.replicas, found.held, found.within, found.p, found.corrected) == (0, 0, 0, 1, 1)
    assert (found.leaning, found.needed, found.published) == ("", None, None)
    assert all(map(math.isnan, (found.share.estimate, found.size.estimate, found.percentile)))


@pytest.mark.parametrize(
    ("rule", "says"),
    [({}, "a/x"), ({"minus": "b/x"}, "a/x − b/x"), ({"over": "b/x"}, "a/x / b/x")],
)
def test_a_comparison_is_written_as_it_is_computed(rule, says):
    assert str(Comparison("a/x", low=0, **rule)) == says


@pytest.mark.parametrize(("share", "expected"), [(0.36, CONTRADICTED), (0.64, SUPPORTED)])
def test_the_side_of_one_half_decides(share, expected):
    assert finding({"low": 0.5}, split(share, 200)).verdict == expected


def test_what_lies_within_its_margin_in_fewer_than_half_is_not_equivalent():
    values = np.where(np.arange(200) < 72, 0.51, 0.7)
    assert finding(MARGIN, values).verdict == SUPPORTED


def test_a_level_that_is_met_exactly_decides():
    # Six of six are once in 32, seven of seven with a margin, which costs a second test, as well.
    six, seven = {"a": {"x": around(0.6, 6)}, "b": {"x": split(0.5, 6)}}, {"a": {"x": around(0.51, 7)}}
    asked = claim({"of": "a/x", "low": 0.5}), claim({"of": "a/x"} | MARGIN)
    assert decide(asked[:1], six, {}, confidence=1 - 2 / 64)[0].verdict == SUPPORTED
    assert decide(asked[1:], seven, {}, confidence=1 - 4 / 128)[0].verdict == EQUIVALENT
    # It would have decided alone.
    both = [asked[0], claim({"of": "b/x", "low": 0.5})]
    assert decide(both, six, {}, confidence=1 - 2 / 64)[0].findings[0].leaning == "leans for"
    # Decided by a level that is met exactly, it leaves the other the whole level.
    six["b"]["x"] = split(4 / 6, 6)
    first, other = (one.findings[0] for one in decide(both, six, {}, confidence=1 - 4 / 64))
    assert (first.verdict, other.needed) == (SUPPORTED, trials_needed(4 / 6, 4 / 64))


def test_one_seed_can_change_the_verdict():
    # Of six, all must agree: 2 in 64.
    assert finding({"low": 0.5}, split(1, 6)).verdict == SUPPORTED
    assert finding({"low": 0.5}, split(5 / 6, 6)).verdict == UNDECIDED


def test_how_far_a_seed_is_off_plays_no_part():
    values = split(0.9)
    far = np.where(values < 0.5, -1e9, values)
    assert finding({"low": 0.5}, values).corrected == finding({"low": 0.5}, far).corrected


def test_a_bound_itself_is_outside():
    assert finding({"low": 0.5}, np.full(20, 0.5)).held == 0
    assert finding({"high": 0.5}, np.full(20, 0.5)).held == 0
    # So is a margin's end; without a margin nothing lies within.
    assert [finding({"low": 0.5, "margin": m}, np.full(20, 0.75)).within for m in (0.25, 0.26, None)] == [0, 20, 0]


MARGIN = {"low": 0.5, "margin": 0.05}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (around(0.51), EQUIVALENT),
        (around(0.52, 50), EQUIVALENT),  # always ahead, never by as much as matters
        (around(0.6), SUPPORTED),
        (around(0.4), CONTRADICTED),
        (split(0.5), UNDECIDED),
        (around(0.55), SUPPORTED),  # half within the margin, all above the bound
    ],
)
def test_within_its_margin_a_comparison_is_equivalent(values, expected):
    assert finding(MARGIN, values).verdict == expected


def test_a_margin_costs_a_test():
    assert finding(MARGIN, around(0.6)).corrected == pytest.approx(2 * 2 * 2.0**-20)
    assert finding(MARGIN, around(0.51)).corrected == pytest.approx(2 * 2 * 2.0**-20)


@pytest.mark.parametrize(
    ("share", "expected"), [(1, CONTRADICTED), (0, CONTRADICTED), (0.5, UNDECIDED), (0.6, UNDECIDED)]
)
def test_a_balance_is_contradicted_by_either_side_and_never_proved(share, expected):
    assert finding({"low": 0.5, "balanced": True}, split(share)).verdict == expected


@pytest.mark.parametrize(("above", "on", "held"), [(0, 20, 10), (0, 19, 9), (15, 5, 17)])
def test_what_lies_on_the_line_of_a_balance_counts_half_to_each_side(above, on, held):
    values = np.where(np.arange(20) < above, 0.6, np.where(np.arange(20) < above + on, 0.5, 0.4))
    ours = finding({"low": 0.5, "balanced": True}, values)
    assert ours.held == held
    assert ours.verdict == (UNDECIDED if held < 15 else CONTRADICTED)


@pytest.mark.parametrize(
    ("rule", "share", "leaning"),
    [
        ({"low": 0.5}, 0.8, "leans for"),
        ({"low": 0.5}, 0.2, "leans against"),
        ({"low": 0.5}, 0.6, "no signal"),
        ({"high": 0.5}, 0.2, "leans for"),
        ({"low": 0.5, "balanced": True}, 0.8, "leans against"),
        ({"low": 0.5, "balanced": True}, 0.2, "leans against"),
        ({"low": 0.5, "balanced": True}, 0.5, "no signal"),
    ],
)
def test_undecided_says_how_and_how_many_would_decide(rule, share, leaning):
    # 16 of 20 would decide alone (p = 0.012), not among ten.
    asked = [claim({"of": "a/x"} | rule), *[claim({"of": "b/x", "low": 0.5})] * 9]
    ours = verdicts(asked, {"a": {"x": split(share)}, "b": {"x": split(0.5)}})[0].findings[0]
    assert (ours.verdict, ours.leaning) == (UNDECIDED, leaning)
    assert (ours.needed is None) == (share == 0.5)
    if share in (0.8, 0.2):
        assert 20 < ours.needed < 60


def test_how_many_would_decide_is_asked_at_the_level_of_the_first_that_is_undecided():
    # One of the two is decided, so that the other is the only one left.
    decided, measured = {"of": "a/x", "low": 0.5}, {"a": {"x": around(0.6)}, "b": {"x": split(0.7)}}
    ours = verdicts([claim(decided), claim({"of": "b/x", "low": 0.5})], measured)
    assert [one.findings[0].needed for one in ours] == [None, trials_needed(0.7, 0.05)]
    ours = verdicts([claim({"of": "b/x", "low": 0.5})] * 3, measured)
    assert [one.findings[0].needed for one in ours] == [trials_needed(0.7, 0.05 / 3)] * 3


def test_a_few_more_than_half_lean_too_if_they_are_many():
    # Of 200 that are as likely as not, 84 or fewer, or as many more than half, come once in 36.
    asked = [claim({"of": "a/x", "low": 0.5}), *[claim({"of": "b/x", "low": 0.5})] * 9]
    for share, leaning in ((0.42, "leans against"), (0.58, "leans for")):
        measured = {"a": {"x": split(share, 200)}, "b": {"x": split(0.5)}}
        assert verdicts(asked, measured)[0].findings[0].leaning == leaning


def test_what_is_decided_leans_nowhere():
    ours = finding({"low": 0.5}, around(0.6))
    assert (ours.leaning, ours.needed) == ("", None)


@pytest.mark.parametrize(
    ("measure", "rule"),
    [
        ("test_accuracy", {"low": 0}),
        ("validation_cost", {"high": 0}),
        ("roughness", {"high": 0}),
        ("log10_sum_squared_weights", {"high": 0}),
    ],
)
def test_a_replica_that_diverged_is_worse_than_all_others(measure, rule):
    rule = {"of": f"a/{measure}", "minus": f"b/{measure}"} | rule
    sound, lost = np.full(20, 0.5), np.append([0.5], np.full(19, NAN))
    won, failed, tied = (
        verdicts([claim(rule)], {"a": {measure: a}, "b": {measure: b}})[0]
        for a, b in ((sound, lost), (lost, sound), (lost, lost))
    )
    assert (won.findings[0].held, won.verdict) == (19, SUPPORTED)
    assert (failed.findings[0].held, failed.verdict) == (0, CONTRADICTED)
    assert (tied.findings[0].held, tied.findings[0].replicas) == (0, 20)


def test_what_counts_as_worse_are_measures():
    assert all(map(is_measure, rules.DIVERGED))


def test_a_run_that_diverged_in_every_replica_is_not_tested():
    measured = {"a": {"x": np.full(20, NAN)}, "b": {"x": around(0.5)}}
    (ours,) = verdicts([claim({"of": "a/x", "minus": "b/x", "low": 0})], measured)
    assert (ours.verdict, ours.findings[0].replicas) == (NOT_TESTED, 0)


@pytest.mark.parametrize(
    ("parts", "every", "expected"),
    [
        ([SUPPORTED], False, SUPPORTED),
        ([SUPPORTED, SUPPORTED], False, SUPPORTED),
        ([SUPPORTED, UNDECIDED], False, PARTLY),
        ([SUPPORTED, CONTRADICTED], False, PARTLY),
        ([SUPPORTED, EQUIVALENT], False, PARTLY),
        ([SUPPORTED, NOT_TESTED], False, PARTLY),
        ([SUPPORTED, CONTRADICTED], True, CONTRADICTED),
        ([SUPPORTED, UNDECIDED], True, PARTLY),
        ([CONTRADICTED, UNDECIDED], False, CONTRADICTED),
        ([CONTRADICTED, EQUIVALENT], False, CONTRADICTED),
        ([CONTRADICTED, NOT_TESTED], False, CONTRADICTED),
        ([EQUIVALENT, EQUIVALENT], False, EQUIVALENT),
        ([EQUIVALENT, UNDECIDED], False, UNDECIDED),
        ([EQUIVALENT, NOT_TESTED], False, UNDECIDED),
        ([UNDECIDED, NOT_TESTED], False, UNDECIDED),
        ([NOT_TESTED, NOT_TESTED], True, NOT_TESTED),
    ],
)
def test_a_claims_verdict_comes_from_its_parts(parts, every, expected):
    assert claim_verdict(parts, every=every) == claim_verdict(parts[::-1], every=every) == expected


def test_the_parts_of_a_claim_are_counted():
    measured = {"a": {"x": around(0.6)}, "b": {"x": split(0.5)}}
    (ours,) = verdicts([claim(*[{"of": f"{run}/x", "low": 0.5} for run in "abb"], {"of": "c/x", "low": 0})], measured)
    assert (ours.verdict, ours.parts) == (PARTLY, "1 supported, 2 undecided, 1 not tested")
    assert said(Counter()) == ""


def test_a_claim_is_of_every_case_only_if_it_says_so():
    parts = [{"of": "a/x", "low": 0.5}, {"of": "a/x", "high": 0.5}]
    measured = {"a": {"x": around(0.6)}}
    words = [verdicts([claim(*parts, **every)], measured)[0].verdict for every in ({}, {"every": True})]
    assert words == [PARTLY, CONTRADICTED]
    assert claim_verdict([SUPPORTED, CONTRADICTED]) == PARTLY


def test_many_comparisons_need_more_evidence_than_one():
    # Seven of seven: 2 · 2⁻⁷ = 0.016 alone, four times that among four, be they of one claim or of many.
    rule, measured = {"of": "a/x", "low": 0.5}, {"a": {"x": around(0.6, 7)}}
    assert verdicts([claim(rule)], measured)[0].verdict == SUPPORTED
    for many in ([claim(rule)] * 4, [claim(*[rule] * 4)]):
        ours = verdicts(many, measured)
        assert {one.verdict for one in ours} == {UNDECIDED}
        assert ours[0].findings[0].corrected == pytest.approx(4 * 2 * 2**-7)


def test_what_is_not_there_costs_no_evidence():
    rule, measured = {"of": "a/x", "low": 0.5}, {"a": {"x": around(0.6, 7)}}
    missing = {"of": "gone/x", "low": 0.5}
    assert verdicts([claim(rule), *[claim(missing)] * 9], measured)[0].verdict == SUPPORTED


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
    measured = {"a": {"x": around(0.6)}, "b": {"x": around(0.5)}}
    (ours,) = verdicts([claim({"of": "a/x", "minus": "b/x", "low": 0})], measured, published)
    assert (ours.verdict, ours.own_table) == (SUPPORTED, expected)
    assert ours.findings[0].published == (number if number is None else pytest.approx(number))


def test_a_published_difference_is_placed_among_unpaired_ones():
    # Paired, all differences are 1; of the four unpaired ones, −9, 1, 1 and 11, three lie below 5.
    measured = {"a": {"x": [1.0, 11.0]}, "b": {"x": [0.0, 10.0]}}
    one = claim({"of": "a/x", "minus": "b/x", "low": 0})
    for difference, expected in ((5.0, 75), (0.0, 25), (-9.5, 0), (10.5, 75), (11.5, 100)):
        (ours,) = verdicts([one], measured, {"a": {"x": difference}, "b": {"x": 0.0}})
        assert ours.findings[0].percentile == expected
    # Two numbers of one run belong together.
    own = {"a": {"x": [1.0, 11.0], "y": [0.0, 10.0]}}
    (ours,) = verdicts([claim({"of": "a/x", "minus": "a/y", "low": 0})], own, {"a": {"x": 5.0, "y": 4.5}})
    assert ours.findings[0].percentile == 0


def test_how_often_one_run_each_comes_to_a_claim():
    measured = {"a": {"x": [1.0, 3.0], "y": [3.0, 1.0]}, "b": {"x": [0.0, 2.0, 4.0]}, "c": {"x": [9.0]}}

    def share(*comparisons):
        return one_run_share(claim(*comparisons), measured, draws=10, seed=0)

    assert share({"of": "a/x", "minus": "b/x", "low": 0}) == (3 / 6, 6)
    assert share({"of": "b/x", "minus": "a/x", "high": 0}) == (3 / 6, 6)
    # Of one run both numbers are of one seed.
    assert share({"of": "a/x", "low": 2}, {"of": "a/y", "low": 2}) == (0, 2)
    assert share({"of": "a/x", "minus": "b/x", "low": 0}, {"of": "c/x", "low": 0}) == (3 / 6, 6)
    assert share({"of": "a/x", "low": 2}, {"of": "a/x", "low": 0, "balanced": True}) == (1 / 2, 2)
    for nothing in ({"of": "a/x", "low": 2, "balanced": True}, {"of": "gone/x", "low": 2}):
        assert share(nothing) == (pytest.approx(NAN, nan_ok=True), 0)


def test_of_too_many_combinations_some_are_drawn(monkeypatch):
    monkeypatch.setattr(rules, "MOST_COMBINATIONS", 100)
    measured = {run: {"x": np.arange(20.0)} for run in "ab"}
    one = claim({"of": "a/x", "minus": "b/x", "low": 0})
    share, count = one_run_share(one, measured, draws=50_000, seed=0)
    assert count == 50_000
    assert share == pytest.approx(190 / 400, abs=0.01)
    assert (share, count) == one_run_share(one, measured, draws=50_000, seed=0)
    assert share != one_run_share(one, measured, draws=50_000, seed=1)[0]
    # The first replica and the last are drawn as often as any.
    for end in ({"high": 0.5}, {"low": 18.5}):
        lone = claim({"of": "a/x"} | end, {"of": "b/x", "low": -1})
        assert one_run_share(lone, measured, draws=50_000, seed=0)[0] == pytest.approx(1 / 20, abs=0.005)
    monkeypatch.setattr(rules, "MOST_COMBINATIONS", 400)
    assert one_run_share(one, measured, draws=50_000, seed=0) == (190 / 400, 400)


@pytest.mark.parametrize(("replicas", "count"), [(3_000, 9_000_000), (4_000, 7)])
def test_ten_million_combinations_are_not_too_many(replicas, count):
    measured = {run: {"x": np.arange(replicas)} for run in "ab"}
    one = claim({"of": "a/x", "minus": "b/x", "low": 0})
    assert one_run_share(one, measured, draws=7, seed=0)[1] == count


RECORD = {"id": "c", "says": "s", "figure": "f", "comparisons": [{"of": "a/x", "low": 0}]}


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda: Comparison("a/x", minus="b/x", over="b/x", low=0), "a/x: expected minus or over"),
        (lambda: Comparison("a/x"), "a/x: expected low < high"),
        (lambda: Comparison("a/x", low=1, high=1), "a/x: expected low < high"),
        (lambda: Comparison("a/x", low=NAN), "low: expected a number, got nan"),
        (lambda: Comparison("a/x", low=0, margin=0), "a/x: expected a margin above 0"),
        (lambda: Comparison("a/x", low=0, margin=NAN), "margin: expected a number, got nan"),
        (lambda: Comparison("a/x", low=True), "low: expected a number, got True"),
        (lambda: Comparison("a/x", low=0, balanced="no"), "balanced: expected True or False, got 'no'"),
        (lambda: Comparison(None, low=0), "of: expected text, got None"),
        (lambda: Claim.from_record(RECORD | {"every": "no"}), "claim c: every: expected True or False, got 'no'"),
        (lambda: Claim.from_record(RECORD | {"says": " "}), "claim c: says: expected text"),
        (lambda: Comparison("a/x", low=0, high=1, margin=1), "a/x: expected a margin above 0 around a single bound"),
        (lambda: Comparison("a/x", low=0, high=1, balanced=True), "a/x: expected balanced around a single bound"),
        (lambda: Comparison("a/x", low=0, margin=1, balanced=True), "a/x: expected balanced .* without a margin"),
        (lambda: Claim.from_record({"id": "c", "says": "s", "figure": "f"}), "claim c: comparisons: .*got None"),
        (lambda: Claim.from_record(RECORD | {"bound": 1}), "claim c: .*bound"),
        (lambda: Claim.from_record(RECORD | {"comparisons": [{"of": "a/x", "lo": 0}]}), "claim c: .*'lo'"),
        (lambda: Claim.from_record(RECORD | {"comparisons": [{"of": "a/x"}]}), "claim c: .*a/x"),
        (lambda: Claim.from_record(RECORD | {"comparisons": []}), "claim c: comparisons: expected one or more"),
        (lambda: Claim.from_record(RECORD | {"asked_by": "me"}), "claim c: asked_by: expected one of .*, got 'me'"),
    ],
)
def test_a_mistake_is_named(mistake, says):
    with pytest.raises(ValueError, match=says):
        mistake()


def everything(one, values):
    """Every number that a claim asks for."""
    measured = {}
    for name in one.names:
        run, measure = name.split("/")
        measured.setdefault(run, {})[measure] = values(name)
    return measured


# What the study did not print: measured by this project alone.
NOT_PRINTED = {
    "grid": {
        "train_accuracy",
        "validation_accuracy",
        "early_steps_validation_cost",
        "early_epochs_validation_cost",
        "roughness",
    },
    "experiment": {"mean_validation_cost", "log10_sum_squared_weights"},
    "experiment-2-exact": {"test_accuracy", "validation_accuracy"},
    "experiment-4-exact": {"test_accuracy", "validation_accuracy"},
}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one.id)
def test_every_number_that_the_study_printed_is_found(one):
    (ours,) = verdicts([one], everything(one, lambda name: around(0.5)), STUDY["published"])
    for found in ours.findings:
        names = [name.split("/") for name in found.comparison.names]
        missing = [(run, measure) for run, measure in names if measure not in STUDY["published"].get(run, {})]
        assert (found.published is None) == bool(missing)
        for run, measure in missing:
            assert measure in NOT_PRINTED.get(run, set()) | NOT_PRINTED.get(run.split("-")[0], set())


def test_what_is_not_there_is_named():
    measured = {"a": {"x": around(0.6)}}
    with pytest.raises(LookupError, match="c/x: there is no run 'c'"):
        Comparison("a/x", minus="c/x", low=0).quantity(measured)
    with pytest.raises(LookupError, match="a/y: run 'a' has no measure 'y'"):
        Comparison("a/y", low=0).quantity(measured)


def test_claims_have_names_of_their_own():
    assert len({one.id for one in CLAIMS}) == len(CLAIMS)


def test_only_tests_of_what_is_there_are_counted():
    asked = [claim({"of": "a/x", "low": 0}, {"of": "a/x", "minus": "b/x", "low": 0, "margin": 1})]
    assert (count_tests(asked), count_tests(asked, {"a/x"}), count_tests(asked, {"a/x", "b/x"})) == (3, 1, 3)
    assert count_tests(asked, set()) == 0


def test_a_network_has_the_measures_of_its_layers():
    assert {"mean_W1", "mean_W2", "test_accuracy"} <= measures_of(2)
    assert "mean_W3" not in measures_of(2)
    assert all(map(is_measure, measures_of(12)))


def test_fifty_replicas_can_decide_every_comparison():
    measured = {}
    for one in CLAIMS:
        for run, values in everything(one, lambda name: around(0.9 if "train" in name else 0.1, 50)).items():
            measured.setdefault(run, {}).update(values)
    found = [finding for one in verdicts(CLAIMS, measured) for finding in one.findings]
    assert len(found) + sum(bool(one.comparison.margin) for one in found) == count_tests(CLAIMS)
    assert {one.verdict for one in found if 0 in (one.held, one.replicas - one.held)} <= {
        SUPPORTED,
        CONTRADICTED,
        EQUIVALENT,
    }


@pytest.mark.parametrize(
    ("id", "published", "expected"),
    [
        ("batch-32-wins", [0.0304, 0.0703, 0.0155, 0.0773, 0.016, 0.0482, 0.1731, 0.1529], SUPPORTED),
        ("l2-helps", [0.012, 0.01, -0.0756], SUPPORTED),
        # The spread of W3 and W4 falls in the study's own table.
        ("l2-weight-spread", [-0.089, -0.1787, -0.2044, -0.1133], CONTRADICTED),
        ("l2-mean-shift-small", [-0.0055, 0.0123, -0.0151, 0.0431], SUPPORTED),
        ("l2-mean-shift-balanced", [-0.0055, 0.0123, -0.0151, 0.0431], SILENT),
        ("batchnorm-slower", [None, -0.0401], SUPPORTED),
        # At 50 epochs λ 0.04 is ahead in the study's own table.
        ("no-larger-l2", [-0.0265, 0.0409, -0.0414, 0.198, -0.0195, 0.1456], CONTRADICTED),
        ("cost-blows-up", [374186.3], SUPPORTED),
    ],
)
def test_what_the_study_s_table_says_of_its_claims(id, published, expected):
    (one,) = (one for one in CLAIMS if one.id == id)
    (ours,) = verdicts([one], everything(one, lambda name: around(0.5)), STUDY["published"])
    assert [found.published for found in ours.findings] == [
        number if number is None else pytest.approx(number, abs=1e-9, rel=1e-6) for number in published
    ]
    assert ours.own_table == expected


def test_the_study_s_differences_are_those_of_its_means_to_the_last_digit_but_one():
    published = STUDY["published"]
    for layer in range(1, 5):
        one, three = (published[f"experiment-{number}"][f"mean_W{layer}"] for number in (1, 3))
        assert published["weight-diff"][f"mean_difference_W{layer}"] == pytest.approx(one - three, abs=1.5e-4)
