"""What is measured of runs, and the tables made of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from nnlib.evidence.anomaly import implied_weights
from problems import problem

from nnlib import Settings, initialize_parameters, predict, train_replicas
from nnlib.evidence.claims import Claim, Comparison, decide
from nnlib.evidence.inspection import confident_mistakes, confusion_matrix, readings, weight_changes, weight_table
from nnlib.evidence.measures import Early, curve_table, history_measures, is_measure, log_table, replica_table
from nnlib.evidence.tables import (
    baseline_table,
    best_runs,
    by_run,
    claim_table,
    comparison_table,
    epoch_gains,
    explanation_table,
    fates,
    fidelity_table,
    log_likelihood,
    low_table,
    measures,
    middle,
)

EARLY = Early(steps=30, epochs=4)
DATA = {"train": problem(120), "validation": problem(60, seed=1), "test": problem(80, seed=2)}
SEEDS = [3, 4, 5]


def trained(**settings):
    defaults = {"layers_dims": [6, 5, 3], "epochs": 5, "batch_size": 12, "look_every": 10, "learning_rate": 0.1}
    return train_replicas(DATA["train"], DATA["validation"], Settings(**(defaults | settings)), SEEDS)


def test_a_row_for_each_replica():
    run = trained()
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False, early=EARLY)
    assert table["seed"].tolist() == SEEDS
    assert table["steps"].tolist() == [50, 50, 50]
    for name in DATA:
        assert np.allclose(table[f"{name}_accuracy"], predict(*DATA[name], run.parameters))
    assert table["official_accuracy"].isna().all()
    assert np.allclose(table["validation_cost"], run.validation_cost[-1])
    assert np.allclose(table["std_W1"], run.parameters["W1"].numpy().std((1, 2)))
    squares = sum(run.parameters[f"W{layer}"].square().sum((1, 2)) for layer in (1, 2))
    assert np.allclose(table["sum_squared_weights"], squares)


def test_a_diverged_replica_has_its_step_and_no_accuracy():
    run = trained()
    run.diverged_at[1] = 20
    run.parameters["W1"][1] = torch.nan
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False, early=EARLY)
    assert table["steps"].tolist() == [50, 20, 50]
    assert table["validation_cost"].isna().tolist() == [False, True, False]
    assert table["test_accuracy"].isna().tolist() == [False, True, False]
    assert table["mean_validation_cost"].isna().tolist() == [False, True, False]
    assert table["roughness"].isna().tolist() == [False, True, False]


def test_what_is_infinite_is_missing_from_every_table():
    run = trained()
    run.parameters["W1"][1], run.parameters["W2"][1] = torch.inf, -torch.inf
    run.validation_cost[2] = torch.inf
    run.validation_cost[3, 1] = torch.inf
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False, early=EARLY)
    curve = curve_table(run, points=100)
    assert table["sum_squared_weights"].isna().tolist() == [False, True, False]
    assert curve["validation_cost"].isna().tolist() == [False, False, True, False, False]
    assert curve["validation_cost_high"][3] == run.validation_cost[3, [0, 2]].max().item()
    for any_table in (table, curve, log_table(run, 1), weight_table(run, trained())):
        assert not np.isinf(any_table.select_dtypes("number").to_numpy()).any()


def test_a_network_whose_output_is_not_finite_reads_nothing():
    run, (X, Y) = trained(), DATA["test"]
    sound = {name: value[:1] for name, value in run.parameters.items()}
    run.parameters["W1"][1:] = torch.nan
    lost = {name: value[1] for name, value in run.parameters.items()}
    both = confusion_matrix(X, Y, run.parameters, use_batchnorm=False)
    assert np.array_equal(both, confusion_matrix(X, Y, sound, use_batchnorm=False))
    assert both.sum() == 80
    assert confusion_matrix(X, Y, lost, use_batchnorm=False).tolist() == [[0] * 3] * 3
    assert len(readings(X, Y, lost)) == len(confident_mistakes(X, Y, lost, how_many=4)["labels"]) == 0


def test_classes_that_nothing_is_read_as_have_a_column_of_zeros():
    X, Y = DATA["test"]
    zeros = {name: torch.zeros_like(value[0]) for name, value in trained().parameters.items()}
    seen = Y[2] == 0
    matrix = confusion_matrix(X[:, seen], Y[:, seen], zeros, use_batchnorm=False)
    assert matrix.tolist() == [[Y[0].sum(), 0, 0], [Y[1].sum(), 0, 0], [0, 0, 0]]
    # All are read as 0 with a third; of those that are wrong the first come first.
    found = confident_mistakes(torch.arange(80.0).repeat(4, 1), Y, zeros | {"W1": torch.zeros(5, 4)}, how_many=3)
    assert found["images"][:, 0, 0].tolist() == (Y[0] == 0).nonzero().flatten()[:3].tolist()
    assert found["confidences"] == pytest.approx([1 / 3] * 3)


def test_a_stopped_replica_has_the_costs_of_its_last_look():
    run = trained()
    run.stopped_at[2] = 30
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False, early=EARLY)
    assert table["steps"].tolist() == [50, 50, 30]
    assert table["train_cost"][2] == run.train_cost[2, 2].item()


def test_a_curve_has_median_lowest_and_highest():
    run = trained()
    run.validation_cost[3:, 0] = torch.nan
    curve = curve_table(run, points=2)
    assert curve["step"].tolist() == [20, 40, 50]
    assert curve["validation_cost_low"][1] == run.validation_cost[3, 1:].min().item()
    assert curve["validation_cost"][1] == run.validation_cost[3, 1:].mean().item()  # the middle of two
    assert curve["train_cost"][0] == run.train_cost[1].median().item()
    assert curve["train_cost_high"][2] == run.train_cost[4].max().item()
    assert curve_table(run, points=100)["step"].tolist() == [10, 20, 30, 40, 50]


def test_a_log_has_every_look_of_one_replica():
    run = trained()
    log = log_table(run, replica=1)
    assert log["step"].tolist() == [10, 20, 30, 40, 50]
    assert log["validation_cost"].tolist() == run.validation_cost[:, 1].tolist()


def test_measures_are_known_by_name():
    table = replica_table(trained(), SEEDS, DATA, use_batchnorm=False, early=EARLY)
    assert [name for name in table.columns[2:] if not is_measure(name)] == []
    assert is_measure("std_W17")
    assert not any(is_measure(name) for name in ("test_acuracy", "std_W", "std_b1", "validation_cost2", ""))


def test_history_is_measured_over_the_first_steps_and_epochs():
    run = trained()
    run.validation_cost[:] = torch.tensor([5.0, 4, 3, 2, 1])[:, None]
    run.train_cost[:] = torch.tensor([1.0, 3, 2, 9, 0])[:, None]
    measures = history_measures(run, early=EARLY)
    assert measures["mean_validation_cost"].tolist() == [3, 3, 3]
    assert measures["early_steps_validation_cost"].tolist() == [4, 4, 4]
    assert measures["early_epochs_validation_cost"].tolist() == [3.5, 3.5, 3.5]  # ten steps an epoch
    assert measures["roughness"].tolist() == [1.5, 1.5, 1.5]


def test_weights_without_and_with_l2():
    one, three = trained(), trained(L2=2.0)
    table = weight_table(one, three)
    assert table["layer"].tolist() == ["W1"] * 3 + ["W2"] * 3
    assert table.index.tolist() == [*range(6)]
    for name, run in (("without", one), ("with", three)):
        weights = [run.parameters[f"W{layer}"].numpy() for layer in (1, 2)]
        assert np.allclose(table[f"std_{name}"], np.concatenate([W.std((1, 2)) for W in weights]), rtol=1e-12, atol=0)
        assert np.allclose(table[f"mean_{name}"], np.concatenate([W.mean((1, 2)) for W in weights]))
    assert (table["std_with"] < table["std_without"]).all()
    assert np.allclose(table["mean_without"] - table["mean_with"], table["mean_difference"])


def test_confusion_counts_every_image_once():
    run = trained()
    X, Y = DATA["test"]
    matrix = confusion_matrix(X, Y, run.parameters, use_batchnorm=False)
    assert np.allclose(matrix.sum(1), Y.sum(1))
    assert np.allclose(np.trace(matrix) / 80, predict(X, Y, run.parameters).mean())


def test_mistakes_are_wrong_and_the_most_confident_come_first():
    one = {name: value[0] for name, value in trained(epochs=1).parameters.items()}
    X, Y = DATA["test"]
    X4 = torch.cat([X, torch.zeros(3, 80, dtype=X.dtype)])
    wide = one | {"W1": torch.cat([one["W1"], torch.zeros(5, 3, dtype=X.dtype)], 1)}
    found = confident_mistakes(X4, Y, wide, how_many=4)
    assert found["images"].shape == (4, 3, 3)
    assert all(label != guess for label, guess in zip(found["labels"], found["guesses"], strict=True))
    assert found["confidences"] == sorted(found["confidences"], reverse=True)
    table = readings(X4, Y, wide)
    every = confident_mistakes(X4, Y, wide, how_many=80)
    wrong = table[table["digit"] != table["guess"]]
    assert sorted(zip(every["labels"], every["guesses"], strict=True)) == sorted(wrong.itertuples(index=False))
    assert (table["digit"] == table["guess"]).mean() == pytest.approx(predict(X4, Y, wide).item())


def test_the_study_s_costs_imply_its_weights():
    implied = implied_weights(263576.84, 878.8498, L2=0.01, m_train=32, m_validation=9600)
    assert implied.sum_squared_weights == pytest.approx(1.687e9, rel=1e-3)
    assert implied.cross_entropy == pytest.approx(0.26, abs=0.005)
    for m, cost in ((32, 263576.84), (9600, 878.8498)):
        assert implied.cross_entropy + 0.01 / (2 * m) * implied.sum_squared_weights == pytest.approx(cost, rel=1e-9)


def test_costs_imply_weights_whichever_set_is_larger():
    assert implied_weights(3.0, 5.0, L2=2.0, m_train=4, m_validation=2).sum_squared_weights == pytest.approx(8)


@pytest.mark.parametrize("mistake", [{"L2": 0}, {"m_validation": 32}])
def test_costs_that_imply_nothing_are_refused(mistake):
    with pytest.raises(ValueError, match="expected L2 > 0 and two sizes"):
        implied_weights(
            **({"train_cost": 2, "validation_cost": 1, "L2": 0.1, "m_train": 32, "m_validation": 64} | mistake)
        )


def test_a_published_number_inside_and_one_outside_our_range():
    measured = {"a": {"x": [1.0, 2.0, 3.0, np.nan]}, "b": {"x": [1.0, 2.0, 3.0]}}
    published = {"a": {"x": 2.5, "not measured": 1.0}, "b": {"x": 4.0}, "gone": {"x": 1.0}}
    table = fidelity_table(published, measured, confidence=0.95)
    assert table["run"].tolist() == ["a", "b"]
    assert table["inside"].tolist() == [True, False]
    assert table["percentile"].tolist() == [pytest.approx(200 / 3), 100]


@pytest.mark.parametrize("end", [1.0, 3.0])
def test_the_ends_of_a_range_are_inside(end):
    published, measured = {"a": {"x": end}}, {"a": {"x": [1.0, 2.0, 3.0]}}
    assert fidelity_table(published, measured, confidence=0.95)["inside"].tolist() == [True]
    # Without one of its ends two thirds of our ranges have it, and of ours only the middle lies between the others.
    assert baseline_table(published, measured)["inside"].tolist() == pytest.approx([2 / 3, 0, 1, 0])


GRID = pd.DataFrame(
    [("a", 32, 50, 0.01), ("b", 32, 100, 0.01), ("c", 64, 50, 0.01)], columns=["run", "batch_size", "epochs", "L2"]
)


def test_what_more_epochs_bring():
    accuracies = {"a": [0.5, 0.6, 0.7], "b": [0.6, 0.8, 0.7], "c": [0.1] * 3}
    measured = {key: {"test_accuracy": np.array(values)} for key, values in accuracies.items()}
    gains = epoch_gains(GRID, measured, confidence=0.95)
    assert gains[["batch_size", "from_epochs", "to_epochs"]].to_numpy().tolist() == [[32, 50, 100]]
    assert gains["median"][0] == pytest.approx(0.1)
    assert gains["gained"][0] == pytest.approx(2 / 3)
    assert len(epoch_gains(GRID[:1], measured, confidence=0.95)) == 0


def test_tables_of_replicas_are_measures_by_run():
    tables = [pd.DataFrame({"run": ["b", "a", "a"], "x": [1, 2, 3]}), pd.DataFrame({"run": ["b"], "x": [4.5]})]
    found = measures(by_run(tables))
    assert {run: {name: list(values) for name, values in own.items()} for run, own in found.items()} == {
        "a": {"x": [2, 3]},
        "b": {"x": [1, 4.5]},
    }


def test_a_replica_that_diverged_is_below_all_others():
    assert middle([0.5, np.nan, 0.25]) == 0.25
    assert middle([np.nan, 0.5, np.nan]) == -np.inf


def test_the_best_run_is_chosen_on_validation():
    measured = {
        "a": {"test_accuracy": [0.5], "validation_accuracy": [0.99]},
        "c": {"test_accuracy": [0.9], "validation_accuracy": [0.4]},
        "diverged": {"test_accuracy": [np.nan], "validation_accuracy": [np.nan]},
    }
    best = best_runs(list(measured), measured)
    assert (best["validation"]["run"], best["validation"]["test_accuracy"]) == ("a", 0.5)
    assert best["test"]["run"] == "c"


def test_the_study_is_counted_as_a_replica_of_ours_is():
    measured = {"a": {"x": [1.0, 2.0, 3.0, 4.0]}, "b": {"x": [1.0, 5.0, 2.0, np.nan]}}
    table = baseline_table({"a": {"x": 2.5, "gone": 1.0}, "b": {"x": 4.0}}, measured)
    # The last replica diverged in b. Of the others, leaving out one, 2.5 lies in two of three ranges of a, 4 of b.
    assert table["left_out"].tolist() == ["the study", 0, 1, 2]
    assert table["inside"].tolist() == pytest.approx([4 / 3, 0, 1, 1])
    assert table["of"].tolist() == [2] * 4


def test_where_replicas_diverged_the_baseline_is_of_those_that_did_not():
    mixed, all_there, lost = [1.0, np.nan, 3.0, np.nan], [1.0, 2.0, 3.0, 4.0], [np.nan] * 4
    measured = {"a": {"x": mixed}, "b": {"x": all_there}, "lost": {"x": lost}}
    published = {key: {"x": 2.0} for key in measured}
    table = baseline_table(published, measured)
    assert table["left_out"].tolist() == ["the study", 0, 2]
    assert table["of"].tolist() == [2] * 3
    of_none = baseline_table(published, measured | {"b": {"x": [np.nan, 2.0, np.nan, 4.0]}})
    assert of_none.to_numpy().tolist() == [["the study", 0, 0]]


def test_without_numbers_the_baseline_is_the_study_alone():
    assert baseline_table({}, {}).to_numpy().tolist() == [["the study", 0, 0]]


def test_two_replicas_of_one_value_lie_in_each_other_s_range():
    assert baseline_table({"a": {"x": 1.5}}, {"a": {"x": [1.5, 1.5]}})["inside"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("replicas", [1, 2])
def test_of_few_replicas_the_baseline_is_what_there_is(replicas):
    table = baseline_table({"a": {"x": 1.5}}, {"a": {"x": [1.0, 2.0][:replicas]}})
    assert table["inside"].tolist() == [0] * (1 + replicas)
    assert table["of"].tolist() == [replicas - 1] * (1 + replicas)


def test_an_explanation_that_fits_better_gains():
    measured = {"a": {"x": [0.9, 1.0, 1.1]}, "b": {"x": [1.9, 2.0, 2.1]}}
    published = {"a": {"x": 2.0}, "b": {"x": 1.0}}
    swapped = {"id": "swapped", "says": "swapped", "instead": {"a/x": "b/x", "b/x": "a/x"}}
    same = {"id": "same", "says": "as it is", "instead": {"a/x": "a/x"}}
    table = explanation_table([swapped, same], published, measured, {}).set_index("explanation")
    assert table["gain"]["swapped"] > 5
    assert table["gain"]["same"] == 0
    assert table["numbers"].tolist() == [2, 1]
    assert table["instead"]["swapped"] == pytest.approx(2 * log_likelihood(1.0, np.array([0.9, 1.0, 1.1])))
    assert len(explanation_table([], published, measured, {})) == 0


def test_an_alternative_stands_for_all_published_numbers_of_its_runs():
    measured = {"a": {"x": [0.9, 1.0, 1.1], "y": [0.0, 1.0]}, "b": {"x": [5.0, 6.0]}, "c": {"x": [1.0, 2.0]}}
    published = {"a": {"x": 2.0, "y": 0.5}, "b": {"x": 5.5}, "absent": {"x": 1.0}}
    others = {"a": {"x": [1.9, 2.0, 2.1], "y": [0.0, 1.0]}, "c": {"x": [7.0, 8.0]}}
    (row,) = explanation_table(
        [{"id": "other", "says": "other", "alternative": "other"}], published, measured, {"other": others}
    ).to_dict("records")
    assert row["numbers"] == 2
    better = log_likelihood(2.0, np.array([1.9, 2.0, 2.1])) - log_likelihood(2.0, np.array([0.9, 1.0, 1.1]))
    assert row["gain"] == pytest.approx(better)


def test_an_explanation_of_numbers_that_are_not_there_has_no_likelihood():
    absent = {"id": "absent", "says": "absent", "instead": {"b/x": "a/x"}}
    (row,) = explanation_table([absent], {"b": {"x": 1.0}}, {"a": {"x": [1.0, 2.0]}}, {}).to_dict("records")
    assert (row["numbers"], np.isnan(row["gain"])) == (0, True)


def test_costs_are_likely_by_their_ratios():
    table = explanation_table(
        [{"id": "other", "says": "", "instead": {"a/train_cost": "b/train_cost"}}],
        {"a": {"train_cost": 100.0}},
        {"a": {"train_cost": [1.0, 10.0, 100.0]}, "b": {"train_cost": [90.0, 100.0, 110.0]}},
        {},
    )
    assert table["protocol"][0] == log_likelihood(100.0, np.array([1.0, 10.0, 100.0]), logarithmic=True)
    assert table["gain"][0] > 0


@pytest.mark.parametrize(
    ("grid", "logarithmic"), [(np.linspace(-20, 20, 2001), False), (np.geomspace(1e-12, 1e12, 4001), True)]
)
def test_a_likelihood_is_a_density(grid, logarithmic):
    values = np.array([0.1, 0.4, 0.2, 0.9])
    density = np.exp([log_likelihood(value, values, logarithmic=logarithmic) for value in grid])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=2e-3)
    # Of two values it is Cauchy's, here with scale √2 · √(1 + 1/2), at its middle 1 / (π · scale).
    assert log_likelihood(1.0, np.array([0.0, 2.0])) == pytest.approx(-np.log(np.pi * np.sqrt(3)))
    for too_few in ([], [0.1], [0.1] * 3):
        assert np.isnan(log_likelihood(0.1, np.array(too_few)))


def test_what_was_not_measured_explains_nothing():
    explanation = {"id": "gone", "says": "", "instead": {"a/x": "gone/x"}}
    table = explanation_table([explanation], {"a": {"x": 2.0}}, {"a": {"x": [1.0, 2.0, 3.0]}}, {})
    assert table["gain"].isna().tolist() == [True]


def test_undertrained_is_told_from_collapsed():
    measured = {
        "a": {"test_accuracy": [0.5, 0.5, 0.9, np.nan]},
        "b": {"test_accuracy": [0.5, 0.9, 0.9, np.nan]},
        "c": {"test_accuracy": [0.9, 0.5, 0.9, 0.9]},
    }
    table = low_table(GRID, measured, 0.8).set_index("run")
    assert table.loc["a"].tolist() == [4, 1, 1, 1]
    assert table.loc["b"].tolist() == [4, 0, 1, 1]
    assert table.loc["c"].tolist() == [4, 0, 1, 0]
    assert len(low_table(GRID, {key: {"test_accuracy": [0.9]} for key in "abc"}, 0.8)) == 0


def test_a_replica_at_the_threshold_passes_and_lifts_the_shorter_run():
    measured = {"a": {"test_accuracy": [0.5, 0.5, 0.8]}, "b": {"test_accuracy": [0.8, 0.5, 0.9]}, "c": {}}
    table = fates(GRID[:2], measured, 0.8)
    assert table.loc["a"].tolist() == ["undertrained", "collapsed", ""]
    assert table.loc["b"].tolist() == ["", "collapsed", ""]


def test_runs_are_alike_where_both_lack_a_setting():
    runs = GRID[:2].assign(L2=np.nan)
    table = fates(runs, {"a": {"test_accuracy": [0.5]}, "b": {"test_accuracy": [0.9]}}, 0.8)
    assert table.loc["a"].tolist() == ["undertrained"]


def test_a_row_for_each_claim_and_each_comparison():
    parts = Comparison("a/x", minus="b/x", low=0), Comparison("a/x", low=0, margin=0.5)
    claims = [Claim("first", "says", parts, "figure"), Claim("second", "says", parts[:1], "figure", note="note")]
    measured = {"a": {"x": [1.0, 2.0]}, "b": {"x": [0.0, 0.0]}}
    verdicts = decide(claims, measured, {"a": {"x": 3.0}}, confidence=0.95)
    table = claim_table(verdicts, measured, draws=10, seed=0)
    assert table["claim"].tolist() == ["first", "second"]
    assert table["parts"].tolist() == ["2 undecided", "1 undecided"]
    assert table[["one_run", "one_run_of"]].to_numpy().tolist() == [[1, 4], [1, 4]]
    assert table["note"].tolist() == ["", "note"]
    rows = comparison_table(verdicts)
    assert rows["claim"].tolist() == ["first", "first", "second"]
    assert rows["comparison"].tolist() == ["a/x − b/x", "a/x", "a/x − b/x"]
    assert rows["held"].tolist() == [2, 2, 2]
    assert rows["published"].isna().tolist() == [True, False, True]
    assert rows["median"].tolist() == [1.5, 1.5, 1.5]


def test_what_training_changed_is_the_last_weights_less_the_first():
    run = trained(rule="xavier")
    network = {name: value[1] for name, value in run.parameters.items()}
    first = initialize_parameters([6, 5, 3], rule="xavier", seed=SEEDS[1], dtype=torch.float64)
    changes = weight_changes(network, rule="xavier", seed=SEEDS[1])
    assert changes.keys() == {"W1", "W2"}
    for name, change in changes.items():
        assert torch.equal(change, network[name] - first[name])
        assert change.abs().max() > 0


def test_numbers_of_layers_that_our_network_has_not_are_left_out():
    table = fidelity_table({"a": {"x": 0.5, "mean_W9": 1.0}}, {"a": {"x": [0.4, 0.6]}}, confidence=0.95)
    assert table["measure"].tolist() == ["x"]
