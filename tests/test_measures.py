"""What is measured of runs and asked of them afterwards; which fail, which are best."""

import numpy as np
import pandas as pd
import pytest
import torch
from problems import normal, problem

from nnlib import Settings, compute_cost, initialize_parameters, l_model_forward, predict, train_replicas
from nnlib.evidence.inspection import (
    confident_mistakes,
    confusion_matrix,
    mean_differences,
    prediction_table,
    step_cosine,
    weight_differences,
)
from nnlib.evidence.measures import Early, curve_table, history_measures, log_table, replica_table
from nnlib.evidence.selection import best_runs, epoch_gains, failure_table, failures, median
from nnlib.evidence.study import measure
from nnlib.replicas.prepared import PreparedSet

DIMS = [6, 5, 3]
EARLY = Early(steps=30, epochs=4)
DATA = {"train": problem(120), "validation": problem(60, seed=1), "test": problem(80, seed=2)}
SETS = {name: PreparedSet(examples, DIMS) for name, examples in DATA.items()}
SEEDS = [3, 4, 5]


def settings(**changes):
    usual = {"layers_dims": DIMS, "epochs": 5, "batch_size": 12, "learning_rate": 0.1, "stopping": {"eval_every": 10}}
    return Settings(**(usual | changes))


def trained(**changes):
    return train_replicas(DATA["train"], DATA["validation"], settings(**changes), SEEDS)


def table_of(run):
    return replica_table(run, SEEDS, SETS, settings(), EARLY)


def test_a_row_for_each_replica():
    run = trained()
    table = table_of(run)
    assert table["seed"].tolist() == SEEDS
    assert table["steps"].tolist() == [50, 50, 50]
    for name in DATA:
        assert table[f"{name}_accuracy"].to_numpy() == pytest.approx(predict(*DATA[name], run.parameters).numpy())
    assert table["official_accuracy"].isna().all()
    assert table["validation_cost"].to_numpy() == pytest.approx(run.validation_cost[-1].numpy())
    assert table["std_W1"].to_numpy() == pytest.approx(run.parameters["W1"].numpy().std((1, 2)))
    squares = sum(run.parameters[f"W{layer}"].square().sum((1, 2)) for layer in (1, 2)).numpy()
    assert table["sum_squared_weights"].to_numpy() == pytest.approx(squares)
    assert table["log10_sum_squared_weights"].to_numpy() == pytest.approx(np.log10(squares))
    assert all(measure(name) for name in table.columns.drop(["replica", "seed"]))


def test_a_replica_that_diverged_has_its_step_and_neither_accuracy_nor_cost():
    run = trained()
    run.diverged_at[1] = 20
    run.parameters["W1"][1] = torch.nan
    table = table_of(run)
    assert table["steps"].tolist() == [50, 20, 50]
    costs = [
        "train_cost",
        "mean_validation_cost",
        "early_steps_train_cost",
        "early_epochs_validation_cost",
        "roughness",
    ]
    for name in ("test_accuracy", "std_W1", "sum_squared_weights", *costs):
        assert table[name].isna().tolist() == [False, True, False]


def test_a_replica_that_stopped_has_the_costs_of_its_last_evaluation():
    run = trained()
    run.stopped_at[2] = 30
    table = table_of(run)
    assert table["steps"].tolist() == [50, 50, 30]
    assert table["train_cost"][2] == run.train_cost[2, 2].item()


def test_what_is_infinite_is_missing_from_every_table():
    run = trained()
    run.parameters["W1"][1], run.parameters["W2"][1] = torch.inf, -torch.inf
    run.validation_cost[2] = torch.inf
    run.validation_cost[3, 1] = torch.inf
    table, curve = table_of(run), curve_table(run, points=100)
    assert table["sum_squared_weights"].isna().tolist() == [False, True, False]
    assert curve["validation_cost"].isna().tolist() == [False, False, True, False, False]
    assert curve["validation_cost_high"][3] == run.validation_cost[3, [0, 2]].max().item()
    for any_table in (table, curve, log_table(run, 1), mean_differences(weight_differences(run, trained()))):
        assert not np.isinf(any_table.select_dtypes("number").to_numpy()).any()


def test_the_history_is_measured_over_all_of_it_and_over_the_first_steps_and_epochs():
    run = trained()
    run.validation_cost[:] = torch.tensor([5.0, 4, 3, 2, 1])[:, None]
    run.train_cost[:] = torch.tensor([1.0, 3, 2, 9, 0])[:, None]
    found = {name: values.tolist() for name, values in history_measures(run, EARLY).items()}
    assert found == {
        "mean_validation_cost": [3] * 3,
        "mean_train_cost": [3] * 3,
        "early_steps_validation_cost": [4] * 3,  # an evaluation every ten steps, the first 30
        "early_steps_train_cost": [2] * 3,
        "early_epochs_validation_cost": [3.5] * 3,  # ten steps an epoch, the first 4
        "early_epochs_train_cost": [3.75] * 3,
        "roughness": [1.5] * 3,
    }


def test_a_curve_has_median_lowest_and_highest():
    run = trained()
    run.validation_cost[3:, 0] = torch.nan
    curve = curve_table(run, points=2)
    assert curve["step"].tolist() == [20, 40, 50]
    assert curve["validation_cost_low"][1] == run.validation_cost[3, 1:].min().item()
    assert curve["validation_cost"][1] == pytest.approx(run.validation_cost[3, 1:].mean().item())  # the middle of two
    assert curve["train_cost"][0] == pytest.approx(run.train_cost[1].median().item())
    assert curve["train_cost_high"][2] == run.train_cost[4].max().item()
    assert curve_table(run, points=100)["step"].tolist() == [10, 20, 30, 40, 50]


def test_a_log_has_every_evaluation_of_one_replica():
    run = trained()
    log = log_table(run, replica=1)
    assert log["step"].tolist() == [10, 20, 30, 40, 50]
    assert log["validation_cost"].tolist() == run.validation_cost[:, 1].tolist()


def test_differences_are_of_the_weights_without_and_with_l2():
    without, with_l2 = trained(), trained(L2=2.0)
    differences = weight_differences(without, with_l2)
    table = mean_differences(differences)
    assert differences.keys() == {"W1", "W2"}
    assert table["layer"].tolist() == ["W1"] * 3 + ["W2"] * 3
    assert table["replica"].tolist() == [0, 1, 2] * 2
    expected = (without.parameters["W2"] - with_l2.parameters["W2"]).mean((1, 2))
    assert table["mean_difference"][3:].to_numpy() == pytest.approx(expected.numpy())


def deep(**changes):
    """Settings of two hidden layers, and a network of them with biases."""
    dims = [6, 5, 4, 3]
    network = initialize_parameters(dims, seed=1, dtype=torch.float64)
    network |= {f"b{layer}": normal(n, 1, seed=layer) / 4 for layer, n in enumerate(dims[1:], start=1)}
    return settings(layers_dims=dims, **changes), network


def test_a_step_by_the_true_derivative_of_batch_norm_is_across_the_weights():
    exact, network = deep(batchnorm="exact")
    left_out, _ = deep(batchnorm="straight_through")

    def cost(parameters):
        return compute_cost(l_model_forward(DATA["train"][0], parameters, "exact")[0], DATA["train"][1]).item()

    for layer in (1, 2):
        # A layer of any length gives the same cost, so that the cost has no slope along the layer.
        longer = network | {name: 3 * network[name] for name in (f"W{layer}", f"b{layer}")}
        assert cost(longer) == pytest.approx(cost(network))
        assert step_cosine(network, DATA["train"], exact, layer) == pytest.approx(0, abs=1e-6)
        assert abs(step_cosine(network, DATA["train"], left_out, layer)) > 0.01


def test_a_step_is_minus_the_gradient_of_the_last_hidden_layer():
    plain, network = deep()
    leaves = [network[name].clone().requires_grad_() for name in ("W2", "b2")]
    AL, _ = l_model_forward(DATA["train"][0], network | {"W2": leaves[0], "b2": leaves[1]})
    compute_cost(AL, DATA["train"][1]).backward()
    weights, gradient = (torch.cat([one.flatten() for one in both]) for both in (leaves, [one.grad for one in leaves]))
    expected = torch.nn.functional.cosine_similarity(weights, -gradient, 0).item()
    assert step_cosine(network, DATA["train"], plain) == pytest.approx(expected)
    assert step_cosine(network, DATA["train"], plain, 1) != pytest.approx(expected)


def test_where_there_is_no_gradient_a_step_has_no_direction():
    plain, network = deep()
    dead = network | {"b2": torch.full((4, 1), -1e3, dtype=torch.float64)}
    assert np.isnan(step_cosine(dead, DATA["train"], plain))


def test_a_confusion_matrix_counts_every_image_once():
    run, (X, Y) = trained(), DATA["test"]
    matrix = confusion_matrix(X, Y, run.parameters, settings())
    assert matrix.sum(1) == pytest.approx(Y.sum(1).numpy())
    assert np.trace(matrix) / 80 == pytest.approx(predict(X, Y, run.parameters).mean().item())


def test_a_network_whose_output_is_not_finite_predicts_nothing():
    run, (X, Y) = trained(), DATA["test"]
    sound = {name: value[:1] for name, value in run.parameters.items()}
    run.parameters["W1"][1:] = torch.nan
    lost = {name: value[1] for name, value in run.parameters.items()}
    both = confusion_matrix(X, Y, run.parameters, settings())
    assert np.array_equal(both, confusion_matrix(X, Y, sound, settings()))
    assert confusion_matrix(X, Y, lost, settings()).tolist() == [[0] * 3] * 3
    mistakes = confident_mistakes(X, Y, lost, settings(), how_many=4)
    assert len(prediction_table(X, Y, lost, settings())) == len(mistakes["labels"]) == 0


def test_mistakes_are_wrong_and_the_most_confident_come_first():
    # Nine features, so that an image is a square.
    X, Y = problem(80, features=9, seed=2)
    network = initialize_parameters([9, 5, 3], seed=3, dtype=torch.float64)
    nine = Settings(layers_dims=[9, 5, 3])
    found = confident_mistakes(X, Y, network, nine, how_many=4)
    assert found["images"].shape == (4, 3, 3)
    assert found["probabilities"] == sorted(found["probabilities"], reverse=True)
    table = prediction_table(X, Y, network, nine)
    wrong = table[table["digit"] != table["prediction"]]
    every = confident_mistakes(X, Y, network, nine, how_many=80)
    pairs = sorted(zip(every["labels"], every["predictions"], strict=True))
    assert pairs == sorted(wrong.itertuples(index=False, name=None))
    assert 1 - len(wrong) / 80 == pytest.approx(predict(X, Y, network).item())


def test_networks_of_float32_are_asked_in_float64():
    """So that no processor's way to add up a product shows in a table."""
    X, Y = (values.float() for values in problem(80, features=9, seed=2))
    network, nine = initialize_parameters([9, 5, 3], seed=3), Settings(layers_dims=[9, 5, 3], batchnorm="exact")
    doubles = {name: value.double() for name, value in network.items()}
    found = [
        (confident_mistakes(*both, values, nine, how_many=4)["probabilities"], step_cosine(values, both, nine))
        for both, values in (((X, Y), network), ((X.double(), Y.double()), doubles))
    ]
    assert found[0] == found[1]


GRID = pd.DataFrame(
    [("a", 32, 50, 0.01), ("b", 32, 100, 0.01), ("c", 64, 50, 0.01)], columns=["run", "batch_size", "epochs", "L2"]
)


def accuracies(**values):
    return {run: {"test_accuracy": np.array(own)} for run, own in values.items()}


def test_what_more_epochs_bring():
    measured = accuracies(a=[0.5, 0.6, 0.7], b=[0.6, 0.8, 0.7], c=[0.1] * 3)
    gains = epoch_gains(GRID, measured, confidence=0.95)
    assert gains[["batch_size", "from_epochs", "to_epochs"]].to_numpy().tolist() == [[32, 50, 100]]
    assert gains["median"][0] == pytest.approx(0.1)
    assert gains["gained"][0] == pytest.approx(2 / 3)
    assert len(epoch_gains(GRID[:1], measured, confidence=0.95)) == 0


def test_undertrained_is_told_from_collapsed():
    measured = accuracies(a=[0.5, 0.5, 0.7, np.nan], b=[0.5, 0.9, 0.8, np.nan], c=[0.9, 0.5, 0.9, 0.9])
    assert failures(GRID, measured, 0.8).to_numpy().tolist() == [
        ["collapsed", "undertrained", "undertrained", "diverged"],
        ["collapsed", "", "", "diverged"],  # the threshold itself passes
        ["", "collapsed", "", ""],
    ]
    table = failure_table(GRID, measured, 0.8).set_index("run")
    assert table.loc["a"].to_dict() == {"replicas": 4, "undertrained": 2, "collapsed": 1, "diverged": 1}
    assert len(failure_table(GRID, accuracies(a=[0.9], b=[0.9], c=[0.9]), 0.8)) == 0


def test_runs_are_alike_where_both_lack_a_setting():
    runs = GRID[:2].assign(L2=np.nan)
    assert failures(runs, accuracies(a=[0.5], b=[0.9]), 0.8).loc["a"].tolist() == ["undertrained"]


def test_the_best_run_is_chosen_on_validation():
    measured = {
        "a": {"test_accuracy": [0.5], "validation_accuracy": [0.99]},
        "c": {"test_accuracy": [0.9], "validation_accuracy": [0.4]},
        "diverged": {"test_accuracy": [np.nan], "validation_accuracy": [np.nan]},
    }
    best = best_runs(list(measured), measured)
    assert (best["validation"]["run"], best["validation"]["test_accuracy"]) == ("a", 0.5)
    assert best["test"]["run"] == "c"
    assert (median([0.5, np.nan, 0.25]), median([np.nan, 0.5, np.nan])) == (0.25, -np.inf)
