"""Reports of one assignment: their files, how they are counted, placed among their own seeds, and drawn."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from pipeline import REPOSITORY
from ruamel.yaml import YAML
from scipy import stats

from nnlib.core.settings import Settings, Stopping
from nnlib.core.training import StoppingRule
from nnlib.errors import InputError
from nnlib.evidence.mistakes import MISTAKES
from nnlib.evidence.reports import (
    Report,
    components,
    conclusion_table,
    counted_table,
    difference_table,
    mistake_table,
    noise_table,
    place_table,
    placebo_table,
    poisson_binomial_range,
    report_table,
    report_tables,
    spread_table,
)
from nnlib.evidence.study import LAYER_MEASURES, MEASURES, QUESTIONS, Study
from stages import check, parameters, verdicts
from stages.configurations import cells
from stages.paths import GRID, RUNS, STUDIES, STUDY, TOGETHER, VERDICTS
from stages.reporting.figures.reports import KINDS, TITLES, Row, draw, facts, rows
from stages.reporting.formats import environment
from stages.studies import load_study, read_study
from stages.yaml_files import read_yaml

FILES = sorted((REPOSITORY / STUDIES).glob("*.yaml"))
ALL = {path.stem: load_study(path) for path in FILES}
REPLICAS = 20


# The files


@pytest.mark.parametrize("study", [study for key, study in ALL.items() if key != "study"], ids=lambda study: study.key)
def test_a_report_can_be_opened_and_says_whether_it_is_trained(study):
    assert study.source.address or not study.source.code_read
    assert bool(study.runs) != bool(study.not_reproduced)
    assert {key for key, run in study.runs.items() if not run.added} <= study.published.keys()
    for cells_ in study.cells:
        assert all("test_accuracy" in study.published[run] for run in cells_.names().values())


def test_of_every_counted_report_with_l2_it_is_known_whether_it_acts():
    counted = [Report(study, {}) for study in ALL.values() if not study.doubtful]
    assert [report.study.key for report in counted if report.difference("l2_vs_none") is not None] == [
        report.study.key for report in counted if report.study.code.L2_acts is not None and "none" in report.printed
    ]


def test_every_mistake_has_a_section_that_there_is():
    headings = {line.lstrip("# ").rstrip() for line in (REPOSITORY / "docs/backprop.md").open() if line[0] == "#"}
    assert {mistake.section for mistake in MISTAKES.values()} - {""} <= headings
    used = {name for study in ALL.values() for name in (*study.code.mistakes, *study.mistakes)}
    assert used == MISTAKES.keys()


GOOD = {
    "key": "report",
    "title": "A report",
    "source": {"where": "README.md", "address": "https://example.org/report", "commit": 40 * "a", "code_read": True},
    "data": {"train": 48000, "validation": 12000},
    "settings": {"layers_dims": [784, 20, 10], "batch_size": 64},
    "runs": {"none": {"label": "none"}, "bn": {"label": "bn", "settings": {"batchnorm": "exact"}}},
    "cells": [{"none": "none", "bn": "bn"}],
    "published": {"none": {"test_accuracy": 0.9}, "bn": {"test_accuracy": 0.91}},
}
BAD = {
    "no source": ({"source": None}, "source: expected"),
    "no source that can be opened": ({"source": {"where": "here", "code_read": True}}, "expected address and commit"),
    "half a commit": ({"source": GOOD["source"] | {"commit": "3a333c6"}}, "source.commit"),
    "no accuracy": ({"published": GOOD["published"] | {"bn": {"test_accuracy": 91.0}}}, "expected a fraction"),
    "no measure": ({"published": GOOD["published"] | {"bn": {"accuracy": 0.9}}}, "expected measures, got 'accuracy'"),
    "no such run": ({"cells": [{"none": "none", "bn": "batchnorm"}]}, "cells: expected a run"),
    "no such mistake": ({"mistakes": {"a bug": "somewhere"}}, "mistakes"),
    "told twice": (
        {"code": {"derivative": "left out"}, "mistakes": {"derivative left out": "here"}},
        "expected only what code does not tell",
    ),
    "about what is not there": ({"conclusions": {"l2_vs_none": "better"}}, "expected published numbers of l2 and none"),
    "trained and not": ({"not_reproduced": "too long"}, "not_reproduced: expected none, since the study has runs"),
    "more images than there are": ({"data": {"train": 50000, "validation": 12000}}, "at most 60000 images"),
    "an unknown rule": ({"settings": GOOD["settings"] | {"shuffle": "sometimes"}}, "runs.bn: shuffle"),
    "an unknown setting": ({"settings": GOOD["settings"] | {"dropout": 0.5}}, "dropout: no such entry"),
    "other pixels": ({"settings": {"layers_dims": [100, 10]}}, "784 pixels first"),
    "what only the study has": (
        {"explanations": [{"id": "swapped", "says": "swapped", "change": "fan-in"}]},
        "expected frozen and explanations in data/studies/study.yaml alone",
    ),
    "a batch larger than the set": ({"data": {"train": 50, "validation": 10}}, "at most the 50 training images"),
    "a derivative that is not written": (
        {"settings": GOOD["settings"] | {"normalization": {"over": "matrix"}}},
        "runs.bn: batchnorm: expected none or straight_through",
    ),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With the parameters and the study, where the stages look for them."""
    (tmp_path / STUDIES).mkdir(parents=True)
    shutil.copy(REPOSITORY / STUDY, tmp_path / STUDY)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dump(record, path):
    YAML(typ="safe").dump(record, path)


def test_a_report_is_checked_before_anything_is_computed(folder):
    dump(GOOD, STUDIES / "report.yaml")
    check.main(parameters.load())


@pytest.mark.parametrize(("change", "said"), BAD.values(), ids=BAD)
def test_a_bad_report_is_one_line(folder, change, said):
    changed = {name: value for name, value in (GOOD | change).items() if value is not None}
    dump(changed, STUDIES / "report.yaml")
    with pytest.raises(InputError) as refused:
        check.main(parameters.load())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "report" in str(refused.value)


def test_names_that_our_own_folders_have_are_refused(folder):
    dump(GOOD | {"key": "reports"}, STUDIES / "reports.yaml")
    with pytest.raises(InputError, match=r"reports.yaml: key: expected another name"):
        check.main(parameters.load())
    (STUDIES / "reports.yaml").unlink()
    study = read_yaml(STUDY)
    dump(study | {"runs": study["runs"] | {"grid": {"label": "a grid"}}}, STUDY)
    with pytest.raises(InputError, match=r"runs: expected other names than .*, got grid"):
        check.main(parameters.load())


def test_fewer_images_than_a_mini_batch_are_said_before(folder):
    dump(GOOD | {"settings": GOOD["settings"] | {"batch_size": 128}}, STUDIES / "report.yaml")
    raw = read_yaml("params.yaml")
    few = {"preprocess": raw["preprocess"] | {"examples": 150}, "grid": raw["grid"] | {"batch_size": [32]}}
    with pytest.raises(
        InputError, match=r"preprocess.examples: .* 128 images of run bn of report; with 150 it has 120 to train on"
    ):
        check.main(parameters.check(raw | few))


@pytest.mark.parametrize(
    ("accuracies", "stops"),
    [([0.8, 0.9, 0.9, 0.91], False), ([0.8, 0.9, 0.89], True), ([0.9, 0.89], True), ([0.9, 0.9, 0.9], False)],
    ids=str,
)
def test_a_rule_that_stops_at_the_first_decline_goes_on_where_nothing_changes(accuracies, stops):
    rule = StoppingRule(Stopping(quantity="validation_accuracy", rule="no_decline", patience=1))
    stopped = [bool(rule.evaluate(torch.tensor(0.0), torch.tensor(accuracy))[0]) for accuracy in accuracies]
    assert stopped == [False] * (len(accuracies) - 1) + [stops]


# Counted


def report(key, accuracies, own=None, **more):
    """A report of these test accuracies, with the runs' names as cells, and of these replicas."""
    record = {
        "key": key,
        "title": key,
        "source": {"where": "made up"},
        "cells": [{cell: run_of(cell) for cell in accuracies}],
        "published": {run_of(cell): {"test_accuracy": accuracy} for cell, accuracy in accuracies.items()},
    }
    measured = {run_of(cell): {"test_accuracy": values} for cell, values in (own or {}).items()}
    return Report(read_study(record | more), measured)


def run_of(cell):
    return cell.replace("_", "-")


def around(mean, width=0.01):
    return mean + width * np.linspace(-1, 1, REPLICAS)


EXACT = {"batchnorm": "per unit", "derivative": "exact"}
LEFT_OUT = {"batchnorm": "per unit", "derivative": "left out"}
PLACEBO = {"L2_gradient": "none"}
SURE = {"none": around(0.90), "bn": around(0.95), "l2": around(0.93), "bn_l2": around(0.98)}
REFERENCE = report("reference", {"none": 0.9, "bn": 0.92, "l2": 0.91, "bn_l2": 0.93}, SURE, code=LEFT_OUT)


def row(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


def test_each_report_has_one_vote_by_the_sign_of_its_difference():
    reports = [
        REFERENCE,
        report("worse", {"none": 0.9, "bn": 0.8999}, code=EXACT),
        report("better", {"none": 0.9, "bn": 0.91}, code=LEFT_OUT, conclusions={"bn_vs_none": "worse"}),
        report("equal", {"none": 0.9, "bn": 0.9}, code=LEFT_OUT),
        report("one", {"none": 0.9}),
        report("doubtful", {"none": 0.9, "bn": 0.8}, doubtful="why"),
    ]
    table = report_tables(reports, REFERENCE, confidence=0.95)["counted"]
    better = row(table, question="bn_vs_none", group="all", answer="better")
    assert (better["reports"], better["count"], better["say"]) == (4, 2, 0)
    worse = row(table, question="bn_vs_none", group="all", answer="worse")
    assert (worse["reports"], worse["count"], worse["say"]) == (4, 1, 1)
    interval = stats.binomtest(1, 4).proportion_ci(0.95, "exact")
    assert (worse["share_low"], worse["share_high"]) == pytest.approx((interval.low, interval.high))
    assert row(table, question="bn_vs_none", group="batch norm", answer="worse")["count"] == 1
    assert row(table, question="bn_vs_none", group="derivative left out", answer="better")["reports"] == 3
    denied = conclusion_table(reports, confidence=0.95).query("denied")
    assert denied[["report", "question"]].to_numpy().tolist() == [["better", "bn_vs_none"]]


def test_the_first_cells_count_or_the_best_run_of_each():
    runs = {"none-a": 0.9, "bn-a": 0.8, "none-b": 0.85, "bn-b": 0.88}
    both = [{"none": "none-a", "bn": "bn-a"}, {"none": "none-b", "bn": "bn-b"}]
    own = {run: around(accuracy) for run, accuracy in runs.items()}
    first, best = (report("grid", runs, own, cells=both, vote=vote) for vote in ("first", "best"))
    assert first.difference("bn_vs_none") == pytest.approx(-0.1)
    assert best.difference("bn_vs_none") == pytest.approx(-0.02)
    assert best.own["bn"] == pytest.approx(around(0.88))
    again = difference_table([first, best]).query("source == 'again'")
    assert again[["report", "difference"]].to_numpy().tolist() == [["grid", pytest.approx(0.03)]]


def test_predictions_come_from_the_reference_and_from_the_reports_own_seeds():
    half = {"none": around(0.9), "bn": around(0.9)}
    reports = [REFERENCE, report("half", {"none": 0.9, "bn": 0.89}, half, code=LEFT_OUT)]
    table = counted_table(reports, REFERENCE, confidence=0.95)
    better = row(table, question="bn_vs_none", group="all", answer="better")
    assert better["expected"] == 1
    assert (better["own_reports"], better["own_count"], better["own_expected"]) == (2, 1, pytest.approx(1.5))
    assert row(table, question="winner", group="all", answer="bn_l2")["expected"] == pytest.approx(1)
    placebo = report("placebo", {"none": 0.9, "l2": 0.91}, code=PLACEBO)
    table = counted_table([REFERENCE, placebo], REFERENCE, confidence=0.95)
    assert row(table, question="l2_vs_none", group="L2 cannot act", answer="better")["expected"] == 0.5


def test_a_prediction_has_the_interval_of_the_reference_s_seeds():
    own = {"none": np.full(REPLICAS, 0.9), "bn": np.repeat([0.8, 0.95], [5, 15])}
    reference = report("reference", {"none": 0.9, "bn": 0.92}, own, code=LEFT_OUT)
    others = [report(f"other-{k}", {"none": 0.9, "bn": 0.91}, code=LEFT_OUT) for k in range(39)]
    table = counted_table([reference, *others], reference, confidence=0.9)
    for answer, share in (("better", 15), ("worse", 5)):
        exact = stats.binomtest(share, REPLICAS).proportion_ci(0.9, "exact")
        found = row(table, question="bn_vs_none", group="all", answer=answer)
        assert found["expected"] == pytest.approx(share / REPLICAS)
        assert found["count_low"] == stats.binom.ppf(0.05, 40, exact.low)
        assert found["count_high"] == stats.binom.ppf(0.95, 40, exact.high)
        assert (found["own_reports"], found["own_expected"]) == (1, pytest.approx(share / REPLICAS))
    four = counted_table([REFERENCE] * 40, REFERENCE, confidence=0.9)
    low = stats.binomtest(REPLICAS, REPLICAS).proportion_ci(0.9, "exact").low
    assert row(four, question="winner", group="all", answer="bn_l2")["count_low"] == stats.binom.ppf(0.05, 40, low)
    untrained = report("untrained", {"none": 0.9, "bn": 0.92, "l2": 0.91, "bn_l2": 0.93})
    four = counted_table([untrained], untrained, confidence=0.9)
    assert np.isnan(row(four, question="winner", group="all", answer="bn")["expected"])


def test_the_exact_derivative_is_predicted_by_the_references_own():
    cells_ = [{"none": "none", "bn": "bn", "bn_exact": "exact", "bn_l2_exact": "exact"}]
    own = {"none": around(0.9), "bn": around(0.8), "exact": around(0.95)}
    reference = report("reference", {"none": 0.9, "bn": 0.8, "exact": 0.95}, own, cells=cells_, code=LEFT_OUT)
    other = report("other", {"none": 0.9, "bn": 0.8}, code=EXACT)
    table = counted_table([reference, other], reference, confidence=0.95)
    assert row(table, question="bn_vs_none", group="batch norm", answer="better")["expected"] == 1
    assert row(table, question="bn_vs_none", group="derivative left out", answer="better")["expected"] == 0


def test_runs_of_one_seed_are_compared_seed_by_seed():
    own = {"none": around(0.9), "bn": around(0.9) + 0.0001}
    printed = {"none": 0.9, "bn": 0.91}
    paired = report("paired", printed, own, one_seed=True).probability("bn_vs_none", 0.95)
    alone = report("alone", printed, own).probability("bn_vs_none", 0.95)
    assert paired.estimate == 1
    assert alone.estimate == pytest.approx(0.5, abs=0.03)
    exact = stats.binomtest(REPLICAS, REPLICAS).proportion_ci(0.95, "exact")
    assert (paired.low, paired.high) == pytest.approx((exact.low, exact.high))


def test_the_winner_of_one_seed_is_found_seed_by_seed():
    accuracies = {"none": [1, 0, 0, 0], "bn": [0, 2, 3, 0], "l2": [0, 0, 0, 0], "bn_l2": [0, 0, 0, 4]}
    own = {cell: 0.1 * np.array(values) for cell, values in accuracies.items()}
    printed = dict.fromkeys(own, 0.5)
    assert report("one-seed", printed, own, one_seed=True).winners == {"none": 0.25, "bn": 0.5, "l2": 0, "bn_l2": 0.25}
    assert report("two", {"none": 0.5, "bn": 0.5}, {"none": own["none"], "bn": own["bn"]}, one_seed=True).winners == {}


def test_two_runs_of_a_single_run_study_never_share_a_seed():
    noise = np.random.default_rng(0).normal(0.9, 0.01, 2000)
    differences = report("alone", {"none": 0.9, "bn": 0.9}, {"none": noise, "bn": noise}).own_differences("bn_vs_none")
    assert np.std(differences) == pytest.approx(0.01 * np.sqrt(2), rel=0.05)


def test_a_diverged_run_loses():
    own = {"none": around(0.9), "bn": np.full(REPLICAS, np.nan)}
    assert report("diverged", {"none": 0.9, "bn": 0.91}, own).probability("bn_vs_none", 0.95).estimate == 0
    neither = {"none": np.full(REPLICAS, np.nan), "bn": np.full(REPLICAS, np.nan)}
    assert report("neither", {"none": 0.9, "bn": 0.91}, neither).probability("bn_vs_none", 0.95).estimate == 0.5


def test_poisson_binomial_of_equal_trials_is_binomial():
    for confidence in (0.5, 0.8, 0.95):
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        assert poisson_binomial_range([0.3] * 99, confidence) == tuple(stats.binom.ppf(tails, 99, 0.3))
    assert poisson_binomial_range([1, 1, 0], 0.95) == (2, 2)
    assert poisson_binomial_range([0.3] * 7, 1.0) == (0, 7)  # the sums are short of 1 by rounding


# Placebos, spread, mistakes, places


def test_placebos_are_what_differs_by_chance_alone():
    four = {"none": 0.90, "l2": 0.92, "bn": 0.91, "bn_l2": 0.90}
    again = four | {"none-2": 0.93}
    acts = {"L2_gradient": "λ/m W", "L2": 0.5, "m": 32, "steps": 10000}
    reports = [
        report("placebo", again, code=PLACEBO, same={"none-2": "none"}, cells=[{cell: run_of(cell) for cell in four}]),
        report("acts", four, code=acts),
        report("one-seed", four, code=PLACEBO, one_seed=True),
    ]
    table = placebo_table(reports)
    assert set(table["report"]) == {"placebo"}
    assert dict(zip(table["kind"] + " " + table["run"], table["difference"], strict=True)) == pytest.approx(
        {"same again none-2": 0.03, "L2 cannot act l2": 0.02, "L2 cannot act bn-l2": -0.01}
    )
    noise = row(noise_table(reports, confidence=0.95), of="L2 cannot act")
    assert noise["root_mean_square"] == pytest.approx(np.sqrt((0.02**2 + 0.01**2) / 2))
    assert noise["root_mean_square_low"] < noise["root_mean_square"] < noise["root_mean_square_high"]


def test_the_noise_of_our_seeds_is_that_of_two_of_them():
    own = {"none": np.random.default_rng(1).normal(0.9, 0.01, 4000)}
    found = row(noise_table([report("trained", {"none": 0.9}, own)], confidence=0.95), source="trained")
    assert found["pairs"] == 2000
    assert found["root_mean_square"] == pytest.approx(0.01 * np.sqrt(2), rel=0.05)


def test_variances_add_up_to_what_they_were_made_of():
    random = np.random.default_rng(2)
    code, protocol, seeds = 0.05, 0.02, 0.01
    kinds = [EXACT, LEFT_OUT, *({"batchnorm": over} for over in ("whole matrix", "per example", "no normalization"))]
    totals = []
    for _ in range(60):
        reports = []
        for kind in kinds:
            shift = random.normal(0, code)
            for k in range(8):
                mean = shift + random.normal(0, protocol)
                own = {"none": np.full(200, 0.5), "bn": 0.5 + random.normal(mean, seeds, 200)}
                drawn = 0.5 + mean + random.normal(0, seeds)
                reports.append(report(f"{k}-{len(reports)}", {"none": 0.5, "bn": drawn}, own, code=kind))
        within = {one.study.key: float(np.var(one.own_differences("bn_vs_none"))) for one in reports}
        totals.append(components(reports, within, "bn_vs_none"))
    means = pd.DataFrame(totals).mean()
    assert means["seeds"] == pytest.approx(seeds**2, rel=0.05)
    assert means["protocol"] == pytest.approx(protocol**2, rel=0.1)
    assert means["code"] == pytest.approx(code**2, rel=0.3)


def test_a_spread_by_hand():
    printed = {"a": (EXACT, 0.5), "b": (EXACT, 0.52), "c": (LEFT_OUT, 0.6), "d": (LEFT_OUT, 0.64)}
    own = {"none": np.full(4, 0.5), "bn": np.array([0.49, 0.51, 0.5, np.nan])}
    reports = [report(key, {"none": 0.5, "bn": bn}, own, code=code) for key, (code, bn) in printed.items()]
    table = spread_table(reports)
    assert table["source"].tolist() == ["seeds", "protocol", "code"]
    assert [len(spread_table(reports[:few])) for few in (2, 3)] == [0, 3]
    # Seeds 0.01²; inside the groups (0.0002 + 0.0008) / 2; between them 4 · 0.055², of groups of two.
    variances = np.array([0.0001, 0.0005 - 0.0001, (4 * 0.055**2 - 0.0005) / 2])
    assert table["variance"].to_numpy() == pytest.approx(variances)
    assert table["deviation"].to_numpy() == pytest.approx(np.sqrt(variances))
    assert table["share"].to_numpy() == pytest.approx(variances / variances.sum())
    within = dict.fromkeys(printed, 0.0001)
    others = pd.DataFrame([components([r for r in reports if r is not one], within, "bn_vs_none") for one in reports])
    shares = others.div(others.sum(axis=1), axis=0)
    assert table["low"].to_numpy() == pytest.approx(shares.min().to_numpy())
    assert table["high"].to_numpy() == pytest.approx(shares.max().to_numpy())
    assert table[["reports", "groups", "trained"]].to_numpy().tolist() == [[4, 2, 4]] * 3
    # The same of L2, where no report has batch norm, and where none was trained with it.
    for bn in ({}, {"bn": 0.5}):
        l2 = [
            report(key, {"none": 0.5, "l2": value} | bn, {"none": own["none"], "l2": own["bn"]}, code=code)
            for key, value, code in (("a", 0.5, PLACEBO), ("b", 0.52, PLACEBO), ("c", 0.6, {}), ("d", 0.64, {}))
        ]
        assert spread_table(l2)["question"].tolist() == ["l2_vs_none"] * 3
        assert spread_table(l2)["variance"].to_numpy() == pytest.approx(variances)


def test_the_spread_of_few_reports_is_not_told():
    assert spread_table([REFERENCE]).empty


def test_mistakes_are_those_of_the_code_and_those_that_are_named():
    reports = [REFERENCE, report("other", {"none": 0.9}, code=LEFT_OUT, mistakes={"another set": "here"})]
    table = mistake_table(reports)
    assert table[["mistake", "reports", "which"]].to_numpy().tolist() == [
        ["derivative left out", 2, "reference other"],
        ["another set", 1, "other"],
    ]


def test_places_of_printed_numbers_follow_the_run_that_is_the_same_again():
    own = {"none": around(0.9)}
    printed = {"none": 0.9, "none-2": 0.95}
    otherwise = {"train_cost": "of the last step"}
    one = report("one", printed, own, cells=[{"none": "none"}], same={"none-2": "none"}, measured_otherwise=otherwise)
    one.study.published["none"]["train_cost"] = 1.0
    one.measured["none"]["train_cost"] = around(1.0)
    table = place_table([one], confidence=0.95)
    assert table[["run", "measure", "percentile"]].to_numpy().tolist() == [
        ["none", "test_accuracy", 50],
        ["none-2", "test_accuracy", 100],
    ]


def test_the_costs_of_an_exploded_run_are_in_the_ratio_of_the_sets():
    table = report_tables([Report(study, {}) for study in ALL.values()], REFERENCE, confidence=0.95)["explosions"]
    assert set(table["report"]) == {study.key for study in ALL.values() if study.explosion}
    assert (table["ratio"] / table["expected"]).to_numpy() == pytest.approx(1, abs=0.001)


# The stage


def results(study, params):
    """Tables of made-up replicas of all that the study's verdicts need."""
    random = np.random.default_rng(3)
    names = [*MEASURES, *(f"{name}{layer}" for name in LAYER_MEASURES for layer in range(1, 5))]
    for folder, runs in {GRID: cells(params), **{run: {run: None} for run in study.runs}}.items():
        settings = pd.DataFrame(
            {"run": run, "batch_size": one.batch_size, "epochs": one.epochs, "L2": one.L2} if one else {"run": run}
            for run, one in runs.items()
        )
        replicas = pd.concat(
            pd.DataFrame(random.random((6, len(names))), columns=names).assign(run=run) for run in runs
        )
        (RUNS / folder).mkdir(parents=True)
        settings.to_csv(RUNS / folder / "runs.csv", index=False)
        replicas.to_csv(RUNS / folder / "replicas.csv", index=False)


def test_a_report_more_changes_no_byte_of_the_studys_verdicts(folder):
    params = parameters.check(
        read_yaml("params.yaml") | {"evidence": read_yaml("params.yaml")["evidence"] | {"resamples": 20}}
    )
    few = read_yaml(STUDY)
    few["claims"] = few["claims"][:3]
    dump(few, STUDY)
    results(load_study(), params)
    verdicts.main(params)
    before = {path.name: path.read_bytes() for path in (VERDICTS / "study").iterdir()}
    alone = {path.name: path.read_bytes() for path in (VERDICTS / TOGETHER).iterdir()}
    dump(GOOD, STUDIES / "report.yaml")
    verdicts.main(params)
    assert {path.name: path.read_bytes() for path in (VERDICTS / "study").iterdir()} == before
    together = pd.read_csv(VERDICTS / TOGETHER / "reports.csv")
    assert together["report"].tolist() == ["study", "report"]
    assert alone["counted.csv"] != (VERDICTS / TOGETHER / "counted.csv").read_bytes()


# The picture


def test_every_kind_of_code_has_a_heading():
    tables = report_tables([Report(study, {}) for study in ALL.values()], REFERENCE, confidence=0.95)
    for question in TITLES:
        assert set(tables["reports"][f"{question}_kind"]) <= KINDS.keys()
        drawn = rows(tables["reports"], tables["differences"], question, "study")
        assert len(drawn) == tables["reports"].query("not doubtful")[question].notna().sum()
    assert TITLES.keys() <= QUESTIONS.keys()


@pytest.mark.parametrize(
    "those",
    [
        [],
        [Row("a", "batch norm", 1.0)],
        [Row("a", "unknown", -33.6, (2.0,), (1.0, -20.0)), Row("b", "batch norm", 12.0)],
    ],
    ids=["none", "one", "beyond the axis"],
)
def test_the_picture_is_drawn_and_told_of_few_and_of_far_ones(those):
    draw(those, "Batch norm minus none").draw_without_rendering()
    told = environment().get_template("figures/reports-batchnorm.j2").render(facts=facts(those))
    assert len(told.split("\n---\n")) == 3
    assert all(row.label in told for row in those)


def test_the_table_of_reports_has_what_the_picture_needs():
    found = row(report_table([REFERENCE]), report="reference")
    assert found["bn_vs_none"] == pytest.approx(0.02)
    assert found["replicas"] == REPLICAS


def test_settings_of_all_reports_are_settings():
    for study in ALL.values():
        if study.key != "study":
            assert all(isinstance(one, Settings) for one in study.configurations().values())
    assert isinstance(ALL["study"], Study)
