"""A made-up study, judged: families, reasons, other sets and splits, crossed seeds, metrics."""

import numpy as np
import pandas as pd
import pytest

from nnlib.evidence.claims import Word
from nnlib.evidence.judgement import (
    Rules,
    beats_table,
    claims_and_comparisons,
    crossed_table,
    fidelity,
    other_sets_and_splits,
    said,
    summary,
    winner_table,
)
from nnlib.evidence.study import Study
from nnlib.evidence.tables import by_run, measures, reasons

RULES = Rules(confidence=0.95, margins={"accuracy": 0.002, "cost": 0.02}, resamples=50, seed=0)
CELLS = {"none": "plain", "bn": "bn", "l2": "l2", "bn_l2": "both", "bn_exact": "bn-exact", "bn_l2_exact": "both-exact"}


def claim(id, of, minus, **more):
    part = {"of": f"{of}/test_accuracy", "minus": f"{minus}/test_accuracy", "low": 0.0}
    words = {} if more.get("asked_by") else {"quote": "it is better", "section": "1"}
    return {"id": id, "says": "it is better", "comparisons": [part]} | words | more


def study(*claims, **more):
    runs = {run: {"label": run, "added": "exact" in run} for run in CELLS.values()}
    return Study(
        key="s", title="A study", source={"where": "here"}, runs=runs, cells=[CELLS], claims=list(claims), **more
    )


def measured(replicas=20, **accuracies):
    """Test accuracies of the runs: a number for all replicas, or one for each."""
    values = dict.fromkeys(CELLS.values(), 0.5) | {run.replace("_", "-"): value for run, value in accuracies.items()}
    return {run: {"test_accuracy": np.zeros(replicas) + value} for run, value in values.items()}


def words(one, ours, rules=RULES):
    return {verdict.claim.id: (verdict.word, verdict.level) for verdict in rules.verdicts(one, ours)}


def test_what_readers_ask_changes_no_verdict_of_the_study_s():
    ours = measured(8, l2=0.6)
    claims = [claim("l2", "l2", "plain"), claim("bn", "bn", "plain")]
    readers = [claim(f"reader-{k}", "l2", "plain", asked_by="readers") for k in range(9)]
    alone, both = words(study(*claims), ours), words(study(*readers, *claims), ours)
    assert alone["l2"] == (Word.SUPPORTED, pytest.approx(0.05 * 2 / 3 / 2))
    assert {key: both[key] for key in alone} == alone
    assert both["reader-0"] == (Word.UNDECIDED, pytest.approx(0.05 * 2 / 3 / 9))
    # More claims of the study's own would have.
    assert (
        words(study(*claims, *[claim(f"more-{k}", "bn", "plain") for k in range(7)]), ours)["l2"][0] == Word.UNDECIDED
    )


def test_a_verdict_for_each_claim_and_a_row_for_each_comparison():
    one = study(
        claim("l2", "l2", "plain"),
        claim("two", "l2", "plain", comparisons=[{"of": "l2/test_accuracy", "low": x} for x in (0.1, 0.9)]),
        published={"l2": {"test_accuracy": 0.7}, "plain": {"test_accuracy": 0.6}},
    )
    tables = claims_and_comparisons(one, measured(l2=0.6), RULES)
    claims, comparisons = tables["claims"], tables["comparisons"]
    assert claims["claim"].tolist() == ["l2", "two"]
    assert claims["verdict"].tolist() == ["supported", "partly supported"]
    assert claims[["parts", "supported", "contradicted"]].to_numpy().tolist() == [[1, 1, 0], [2, 1, 1]]
    assert claims["own_numbers"].tolist() == ["agree", "disagree"]
    assert claims["single_run"].tolist() == pytest.approx([1, 0])
    assert comparisons[["claim", "comparison"]].to_numpy().tolist() == [["l2", 0], ["two", 0], ["two", 1]]
    assert comparisons["held"].tolist() == [20, 20, 0]
    assert comparisons["ahead"].tolist() == pytest.approx([1, np.nan, np.nan], nan_ok=True)
    assert comparisons["published"].tolist() == pytest.approx([0.1, 0.7, 0.7])


@pytest.mark.parametrize(
    ("accuracies", "published", "expected"),
    [
        ({"both": 0.4}, {"both": 0.7, "plain": 0.6}, ""),
        ({"both": 0.4}, {"both": 0.5, "plain": 0.6}, "own numbers"),
        ({"both": 0.4}, {}, "not printed"),
        ({"both": 0.4, "both_exact": 0.6}, {"both": 0.7, "plain": 0.6}, "bug"),
        ({"both": np.repeat([0.4, 0.6], [15, 5])}, {"both": 0.7, "plain": 0.6}, "seed"),
        ({"both": np.repeat([0.4, 0.6], [19, 1])}, {"both": 0.7, "plain": 0.6}, ""),
        ({"both": 0.501}, {"both": 0.7, "plain": 0.6}, "seed; margin"),
        ({"both": 0.6}, {"both": 0.5, "plain": 0.6}, ""),  # it is supported
    ],
)
def test_why_a_claim_was_made_that_does_not_hold(accuracies, published, expected):
    printed = {run: {"test_accuracy": value} for run, value in published.items()}
    one = study(
        claim("claim", "both", "plain"), claim("reader", "both", "plain", asked_by="readers"), published=printed
    )
    tables = claims_and_comparisons(one, measured(**accuracies), RULES)
    assert tables["claims"]["reasons"].tolist() == [expected, ""]


def test_what_does_not_speak_of_batch_norm_does_not_fail_by_its_derivative():
    # With the derivative the other claim is decided, which leaves this one more of the level.
    ours = measured(9, l2=np.repeat([0.6, 0.5], [8, 1]), both=np.repeat([0.6, 0.4], [5, 4]), both_exact=0.6)
    one = study(claim("l2", "l2", "plain"), claim("both", "both", "plain"))
    table = claims_and_comparisons(one, ours, RULES)["claims"]
    assert table["verdict"].tolist() == ["undecided", "undecided"]
    assert ["bug" in why for why in table["reasons"]] == [False, True]


def test_there_is_no_reason_for_what_is_supported_or_not_tested():
    for word in (Word.SUPPORTED, Word.NOT_TESTED):
        assert reasons(word, "disagree", 1.0, bug=True, margin=True) == []


@pytest.mark.parametrize(("share", "expected"), [(0.1, ["seed"]), (0.0999, [])])
def test_one_single_run_study_in_ten_is_enough(share, expected):
    assert reasons(Word.UNDECIDED, "agree", share, bug=False, margin=False) == expected


def test_the_official_test_set_stands_for_our_own():
    ours = measured(l2=0.6)
    for numbers in ours.values():
        numbers["official_accuracy"] = np.full(20, 0.5)
    there = {"split-1": measured(6, l2=0.4)}
    tables = other_sets_and_splits(
        study(claim("l2", "l2", "plain"), claim("gone", "gone", "plain")), ours, there, RULES
    )
    assert tables["official"].to_numpy().tolist() == [
        ["l2", "supported", "equivalent"],
        ["gone", "not tested", "not tested"],
    ]
    assert tables["splits"].to_numpy().tolist() == [["split-1", "l2", 0, 6, 0, 0, 6, pytest.approx(-0.1)]]


def test_crossed_seeds_are_as_many_initial_weights_as_shuffles():
    values = np.add.outer([1.0, 2.0, 3.0], [0.0, 0.1, 0.2]).ravel()
    table = crossed_table({"plain": {"test_accuracy": values}, "few": {"test_accuracy": np.ones(1)}})
    assert table["run"].tolist() == ["plain"]
    assert table["weights"][0] == pytest.approx(100 / 101)


def test_who_beats_whom_and_who_wins():
    ours = measured(plain=0.5, bn=0.6, l2=0.7, both=np.repeat([0.4, 0.9], 10))
    one = study()
    beats = beats_table(one, ours, RULES).set_index(["run", "other"])["ahead"]
    assert len(beats) == 12
    assert (beats["l2", "bn"], beats["bn", "l2"], beats["both", "l2"]) == pytest.approx((1, 0, 0.5))
    winners = winner_table(one, ours, RULES).set_index("runs")
    assert winners.loc[1].to_dict() == pytest.approx({"plain": 0, "bn": 0, "l2": 0.5, "both": 0.5})
    assert list(winners.index) == [1, 2, 3, 5, 10, 20, 30]
    assert len(winner_table(study(), {"plain": ours["plain"]}, RULES)) == 0
    assert len(winner_table(study(), {run: ours[run] for run in ("plain", "bn")}, RULES)) == len(winners)


def test_numbers_that_chose_the_protocol_are_marked_and_not_counted():
    one = study(published={"l2": {"test_accuracy": 0.5, "std_W1": 9.0}}, chose_protocol=["l2/std_W1"])
    ours = measured()
    ours["l2"]["std_W1"] = np.arange(20.0)
    tables = fidelity(one, ours, {}, RULES)
    assert tables["fidelity"]["chose_protocol"].tolist() == [False, True]
    assert tables["baseline"]["numbers"].tolist() == [1, 1]


def test_metrics_are_medians_in_percent_and_counts_of_words():
    ours = measured(l2=[0.5, 0.6, 0.7], replicas=3, plain=[np.nan, np.nan, 0.9], bn=0.0)
    ours["cell"] = {"test_accuracy": [0.4], "validation_accuracy": [0.9]}
    found = summary(study(), ours, ["cell"], ["supported", "supported", "undecided"])
    assert (found["l2"], found["plain"], found["bn"], found["best"]) == (60, None, 0, 40)
    assert (found["supported"], found["undecided"], found["partly contradicted"]) == (2, 1, 0)
    assert said(["undecided", "supported", "undecided"]) == "1 supported, 2 undecided"


def test_tables_of_replicas_are_measures_by_run():
    tables = [pd.DataFrame({"run": ["b", "a", "a"], "x": [1, 2, 3]}), pd.DataFrame({"run": ["b"], "x": [4.5]})]
    found = {run: {name: list(values) for name, values in own.items()} for run, own in measures(by_run(tables)).items()}
    assert found == {"a": {"x": [2, 3]}, "b": {"x": [1, 4.5]}}
