"""A study as data: what a file may say, each mistake in one line that names it, and what is frozen."""

import copy
import hashlib
import json
import math

import pytest
from pipeline import REPOSITORY

from nnlib.errors import InputError
from nnlib.evidence.study import DERIVED, MEASURES, Claim, Code, Comparison, Data, Study, fewest_replicas, measure
from stages import check, parameters
from stages.studies import load_study, read_study
from stages.yaml_files import read_yaml

STUDY = load_study(REPOSITORY / "data/studies/study.yaml")
PARAMS = parameters.load(REPOSITORY / "params.yaml")

SMALL = {
    "key": "small",
    "title": "A study",
    "source": {"where": "here"},
    "runs": {"a": {"label": "a"}, "b": {"label": "b", "settings": {"L2": 0.1}}},
    "cells": [{"none": "a", "l2": "b"}],
    "published": {"a": {"test_accuracy": 0.9, "train_cost": 0.5}, "b": {"test_accuracy": 0.95}},
    "claims": [
        {
            "id": "better",
            "says": "b is better",
            "quote": "b is better",
            "section": "3",
            "comparisons": [{"of": "b/test_accuracy", "minus": "a/test_accuracy", "low": 0.0}],
        }
    ],
    "explanations": [{"id": "swapped", "says": "swapped", "instead": {"a/test_accuracy": "b/test_accuracy"}}],
}
CLAIM = ["claims", 0]
PART = [*CLAIM, "comparisons", 0]


def changed(path, value):
    """The small study with an entry changed, or without it."""
    record = copy.deepcopy(SMALL)
    *parents, last = path
    place = record
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return record


def test_a_study_is_read():
    study = read_study(SMALL)
    assert study.experiments == ["a", "b"]
    assert study.claims[0].names == ["b/test_accuracy", "a/test_accuracy"]
    assert study.configurations({"layers_dims": [784, 10], "L2": 0.5})["a"].L2 == 0.5
    assert study.configurations({"layers_dims": [784, 10], "L2": 0.5})["b"].L2 == 0.1


LISTS = {"of": ["a/mean_W1", "a/mean_W2"], "minus": ["b/mean_W1"], "sum_of_signs": True, "low": 0.0}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ([*CLAIM, "quote"], None, "claims.0: claim better: expected quote and section"),
        ([*CLAIM, "section"], None, "claims.0: claim better: expected quote and section"),
        ([*CLAIM, "quote"], " ", "claims.0.quote: expected"),
        ([*CLAIM, "asked_by"], "me", "claims.0.asked_by: expected 'study' or 'readers', got 'me'"),
        ([*CLAIM, "every"], "yes", "claims.0.every: expected true or false, got 'yes'"),
        ([*CLAIM, "comparisons"], [], "claims.0.comparisons: expected 1 or more values"),
        ([*CLAIM, "bound"], 1, "claims.0.bound: no such entry"),
        (["claims"], SMALL["claims"] * 2, "claims: expected an id for each, got better 2 times"),
        ([*PART, "of"], "b/test_acuracy", "comparisons.0: b/test_acuracy: expected a measure of train_accuracy"),
        ([*PART, "of"], "b/mean_W", "comparisons.0: b/mean_W: expected a measure"),
        ([*PART, "of"], "test_accuracy", "comparisons.0.of"),
        ([*PART, "over"], "a/test_accuracy", "comparison of b/test_accuracy: expected minus or over, got both"),
        ([*PART, "low"], None, "comparison of b/test_accuracy: expected low or high, got neither"),
        ([*PART, "high"], 0.0, "comparison of b/test_accuracy: expected low below high, got 0.0 and 0.0"),
        ([*PART, "low"], "0", "comparisons.0.low: expected a number, got '0'"),
        ([*PART, "sum_of_signs"], True, "expected two lists of one length with sum_of_signs"),
        (PART, LISTS, "expected two lists of one length with sum_of_signs"),
        (PART, LISTS | {"sum_of_signs": False}, "expected two lists of one length with sum_of_signs"),
        (
            ["published", "a", "test_accuracy"],
            90.0,
            "published.a.test_accuracy: expected a fraction from 0 to 1, got 90",
        ),
        (
            ["published", "a", "test_accuracy"],
            -0.5,
            "published.a.test_accuracy: expected a fraction from 0 to 1, got -0.5",
        ),
        (["published", "a", "acuracy"], 0.9, "published.a: expected measures, got 'acuracy'"),
        (["published", "a", "train_cost"], float("inf"), "published.a.train_cost: expected a finite number"),
        (["cells", 0, "bn"], "c", "cells: expected a run of a, b, got 'c'"),
        (["same"], {"a": "c"}, "same: expected a run of a, b, got 'c'"),
        (["seconds"], {"c": 1.0}, "seconds: expected a run of a, b, got 'c'"),
        (["chose_protocol"], ["a/std_W1"], "chose_protocol: expected a published number, got 'a/std_W1'"),
        (["explanations", 0, "instead"], {"a/x": "b/test_accuracy"}, "swapped: expected a published number, got 'a/x'"),
        (["explanations", 0, "change"], "fan-in", "swapped: expected one of instead, change and measured"),
        (["explanations", 0, "instead"], None, "swapped: expected one of instead, change and measured"),
        (
            ["explanations", 0],
            {"id": "set", "says": "another set", "measured": {"test_accuracy": "x"}},
            "explanation set: expected measures, got 'x'",
        ),
        (["explosion"], {"run": "a", "L2": 0.1, "m_train": 1, "m_validation": 2}, "expected validation_cost among"),
        (["explosion"], {"run": "a", "L2": 0.1, "m_train": 2, "m_validation": 2}, "m_train and m_validation to differ"),
        (["key"], "A key", "key: expected"),
        (["source"], None, "source: expected a value, it is missing"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(path, value, says):
    with pytest.raises(InputError) as error:
        read_study(changed(path, value))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_claim_is_about_a_run_that_there_is():
    study = read_study(changed([*PART, "minus"], "c/test_accuracy"))
    with pytest.raises(InputError, match="small: claim better: expected a run of a, b, d, got 'c'"):
        study.check_claims(["d"])
    study.check_claims(["c"])


def test_settings_that_are_none_are_named_with_their_run():
    study = read_study(changed(["runs", "b", "settings"], {"l2": 0.1}))
    with pytest.raises(InputError, match=r"small: runs\.b: l2: no such entry"):
        study.configurations({"layers_dims": [784, 10]})


def test_a_file_is_named_as_its_study(tmp_path):
    source = (REPOSITORY / "data/studies/study.yaml").read_text(encoding="utf-8")
    for name, text, says in (
        ("other.yaml", source, "other.yaml: key: expected other, as the file is called, got study"),
        (
            "study.yaml",
            source.replace("asked_by: readers", "asked: readers"),
            "study.yaml: .*asked: no such entry; did you mean 'asked_by'",
        ),
        ("broken.yaml", "a: [", "broken.yaml: "),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=says):
            load_study(tmp_path / name)


def test_measures_are_known_by_name():
    assert measure("std_W17").kind == "weights"
    assert measure("test_accuracy").kind == "accuracy"
    assert not any(measure(name) for name in ("test_acuracy", "std_W", "std_b1", "validation_cost2", "W1", ""))


@pytest.mark.parametrize(
    ("comparison", "kind"),
    [
        ({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0}, "accuracy"),
        ({"of": "a/generalization_gap", "minus": "b/generalization_gap", "high": 0.0}, "accuracy"),
        ({"of": "a/train_cost", "minus": "b/train_cost", "high": 0.0}, "cost"),
        ({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": -0.1}, ""),
        ({"of": "a/test_accuracy", "minus": "b/test_accuracy", "low": 0.0, "high": 1.0}, ""),
        ({"of": "a/test_accuracy", "low": 0.0}, ""),
        ({"of": "a/train_cost", "over": "b/train_cost", "high": 1.0}, ""),
    ],
)
def test_a_difference_that_is_compared_with_0_has_a_margin(comparison, kind):
    assert Comparison(**comparison).kind == kind


def test_how_many_replicas_decide_a_claim():
    assert fewest_replicas(1, 0.05) == 6  # once in 32 is too often, once in 64 on both sides not
    for claims in (1, 25):
        replicas = fewest_replicas(claims, 0.05)
        assert 2 * 2**-replicas <= 0.05 * 2 / 3 / claims < 2 * 2 ** -(replicas - 1)


def frozen(study=SMALL, **more):
    rules = PARAMS.evidence.margins.model_dump() | {"confidence": PARAMS.evidence.confidence}
    digest = read_study(study).claims_digest()
    return study | {"frozen": {"date": "1 December", "claims": digest, "rules": rules} | more}


def test_claims_that_were_changed_after_they_were_frozen_are_refused(capsys):
    check.check_freeze(read_study(SMALL), PARAMS)
    check.check_freeze(read_study(frozen()), PARAMS)
    for path, value in (([*PART, "low"], 0.01), ([*CLAIM, "says"], "b wins"), ([*CLAIM, "every"], True)):
        edited = changed(path, value) | {"frozen": frozen()["frozen"]}
        with pytest.raises(InputError, match=r"frozen: expected the claims of .* changed after 1 December"):
            check.check_freeze(read_study(edited), PARAMS)
        # It says what was changed, and with which digest.
        now = read_study(edited).claims_digest()
        told = edited | {"frozen": frozen()["frozen"] | {"changes": [{"what": "a slip", "claims": now}]}}
        check.check_freeze(read_study(told), PARAMS)
        # The next change must be said, too.
        again = copy.deepcopy(told)
        again["claims"][0]["quote"] = "b is much better"
        with pytest.raises(InputError, match="expected the claims of " + now):
            check.check_freeze(read_study(again), PARAMS)
    assert capsys.readouterr().out == ""


def test_other_rules_than_those_that_were_frozen_are_said(capsys):
    other = frozen()["frozen"]["rules"] | {"accuracy": 0.5}
    check.check_freeze(read_study(frozen(rules=other)), PARAMS)
    assert "evidence: other rules than those frozen on 1 December" in capsys.readouterr().out


def test_a_digest_is_of_what_the_claims_say():
    digest = read_study(SMALL).claims_digest()
    assert digest == hashlib.sha256(json.dumps(SMALL["claims"], sort_keys=True).encode()).hexdigest()
    assert read_study(changed([*CLAIM, "every"], False)).claims_digest() == digest  # as it is without
    assert read_study(changed(["title"], "Another")).claims_digest() == digest
    assert read_study(changed([*CLAIM, "note"], "read so")).claims_digest() != digest


def test_the_study_s_claims_have_its_words_and_every_other_sentence_a_reason():
    assert len(STUDY.claims) > 30
    assert all(claim.quote for claim in STUDY.claims if claim.asked_by == "study")
    assert not any(claim.quote for claim in STUDY.claims if claim.asked_by == "readers")
    judged = {claim.quote for claim in STUDY.claims}
    assert not judged & {sentence.quote for sentence in STUDY.left_out}


def test_the_study_s_claims_are_about_runs_that_are_trained():
    params = read_yaml(REPOSITORY / "params.yaml")["grid"]
    grid = {f"grid-b{b}-e{e}-l{l2:g}" for b in params["batch_size"] for e in params["epochs"] for l2 in params["l2"]}
    spoken_of = {name.partition("/")[0] for claim in STUDY.claims for name in claim.names}
    assert spoken_of <= {*STUDY.runs, *grid} == {*STUDY.runs, *STUDY.published} | grid


@pytest.mark.parametrize("claim", STUDY.claims, ids=lambda claim: claim.id)
def test_a_claim_has_no_part_twice(claim: Claim):
    parts = [comparison.model_dump_json() for comparison in claim.comparisons]
    assert len(set(parts)) == len(parts)


def test_bounds_that_follow_from_other_numbers_do():
    claims = {claim.id: claim for claim in STUDY.claims}
    margin = PARAMS.evidence.margins.accuracy
    assert {part.low for part in claims["high-cost-harmless"].comparisons} == {-margin}
    # Small is about twice the largest that the study prints.
    printed = STUDY.published
    gaps = [
        numbers["train_accuracy"] - numbers["validation_accuracy"] for numbers in printed.values() if len(numbers) > 1
    ]
    shifts = [printed["experiment-1"][f"mean_W{k}"] - printed["experiment-3"][f"mean_W{k}"] for k in range(1, 5)]
    for id, largest in (("little-overfitting", max(gaps)), ("l2-mean-shift-small", max(map(abs, shifts)))):
        (high,) = {part.high for part in claims[id].comparisons}
        assert high == pytest.approx(2 * largest, rel=0.1)


def test_a_study_without_claims_has_a_digest():
    assert Study(key="s", title="t", source={"where": "w"}).claims_digest()


def test_l2_that_is_in_no_gradient_leaves_the_weights():
    assert Code(L2_gradient="none").shrinkage == 1


def test_l2_shrinks_a_weight_by_the_assignment_s_learning_rate():
    assert Code(L2_gradient="λ W", L2=0.1, steps=1000).shrinkage == pytest.approx(math.exp(-0.9))
    assert Code(L2_gradient="λ/m W", L2=0.1, m=10, steps=1000).shrinkage == pytest.approx(math.exp(-0.09))


def test_a_replica_that_diverged_has_the_lowest_accuracies_and_the_highest_costs():
    worst = {"accuracy": -math.inf, "cost": math.inf}
    for name, one in MEASURES.items():
        if one.kind in worst and name not in DERIVED:
            assert one.diverged == worst[one.kind]


def test_a_share_of_the_images_is_never_none_and_never_more_than_all():
    data = Data(train=40_000, validation=10_000)
    assert data.share(0, 60_000) == data.share(90_000, 60_000) == data
    assert data.share(30_000, 60_000) == Data(train=20_000, validation=5_000)
    assert data.share(1, 60_000) == Data(train=1, validation=1)


@pytest.mark.parametrize("accuracy", [0, 1])
def test_a_printed_accuracy_may_be_none_or_all(accuracy):
    published = {"a": {"test_accuracy": accuracy}}
    assert Study(key="s", title="t", source={"where": "w"}, published=published).published == published
