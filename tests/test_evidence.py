"""What is measured of runs, and the tables made of it."""

import numpy as np
import pytest
import torch
from conftest import problem

from nnlib import Settings, predict, train_replicas
from nnlib.evidence.anomaly import implied_weights
from nnlib.evidence.inspection import (
    confident_mistakes,
    confusion_matrix,
    history_measures,
    readings,
    weight_table,
)
from nnlib.evidence.measures import curve_table, replica_table
from nnlib.evidence.tables import best_cells, epoch_gains, fidelity_table

STATISTICS = {"confidence": 0.95, "resamples": 200, "seed": 0}
DATA = {"train": problem(120), "validation": problem(60, seed=1), "test": problem(80, seed=2)}
SEEDS = [3, 4, 5]


def trained(**settings):
    defaults = {"layers_dims": [6, 5, 3], "epochs": 5, "batch_size": 12, "look_every": 10, "learning_rate": 0.1}
    return train_replicas(DATA["train"], DATA["validation"], Settings(**(defaults | settings)), SEEDS)


def test_a_row_for_each_replica():
    run = trained()
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False)
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
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False)
    assert table["steps"].tolist() == [50, 20, 50]
    assert table["validation_cost"].isna().tolist() == [False, True, False]
    assert table["test_accuracy"].isna().tolist() == [False, True, False]


def test_a_stopped_replica_has_the_costs_of_its_last_look():
    run = trained()
    run.stopped_at[2] = 30
    table = replica_table(run, SEEDS, DATA, use_batchnorm=False)
    assert table["steps"].tolist() == [50, 50, 30]
    assert table["train_cost"][2] == run.train_cost[2, 2].item()


def test_a_curve_has_median_lowest_and_highest():
    run = trained()
    run.validation_cost[3:, 0] = torch.nan
    curve = curve_table(run, every=20)
    assert curve["step"].tolist() == [20, 40, 50]
    assert curve["validation_cost_low"][1] == run.validation_cost[3, 1:].min().item()
    assert curve["train_cost"][0] == run.train_cost[1].median().item()
    assert curve["train_cost_high"][2] == run.train_cost[4].max().item()


def test_history_is_measured_over_the_first_steps():
    run = trained()
    run.validation_cost[:] = torch.tensor([5.0, 4, 3, 2, 1])[:, None]
    run.train_cost[:] = torch.tensor([1.0, 3, 2, 9, 0])[:, None]
    measures = history_measures(run, early_steps=30)
    assert measures["mean_validation_cost"].tolist() == [3, 3, 3]
    assert measures["early_validation_cost"].tolist() == [4, 4, 4]
    assert measures["roughness"].tolist() == [1.5, 1.5, 1.5]


def test_weights_without_and_with_l2():
    one, three = trained(), trained(L2=2.0)
    table = weight_table(one, three)
    assert table["layer"].tolist() == ["W1"] * 3 + ["W2"] * 3
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
    assert (table["digit"] == table["guess"]).mean() == pytest.approx(predict(X4, Y, wide).item())


def test_the_study_s_costs_imply_its_weights():
    implied = implied_weights(263576.84, 878.8498, L2=0.01, m_train=32, m_validation=9600)
    assert implied.sum_squared_weights == pytest.approx(1.687e9, rel=1e-3)
    assert implied.cross_entropy == pytest.approx(0.26, abs=0.005)
    for m, cost in ((32, 263576.84), (9600, 878.8498)):
        assert implied.cross_entropy + 0.01 / (2 * m) * implied.sum_squared_weights == pytest.approx(cost, rel=1e-9)


@pytest.mark.parametrize("mistake", [{"L2": 0}, {"m_validation": 32}])
def test_costs_that_imply_nothing_are_refused(mistake):
    with pytest.raises(ValueError, match="expected L2 > 0 and two sizes"):
        implied_weights(
            **({"train_cost": 2, "validation_cost": 1, "L2": 0.1, "m_train": 32, "m_validation": 64} | mistake)
        )


def cells(**accuracies):
    return {
        key.replace("_", "-").replace("l01", "l0.01"): {
            "test_accuracy": np.array(values),
            "validation_accuracy": np.array(values)[::-1] / 2,
        }
        for key, values in accuracies.items()
    }


def test_a_published_number_inside_and_one_outside_our_range():
    measured = {"a": {"x": [1.0, 2.0, 3.0, np.nan]}, "b": {"x": [1.0, 2.0, 3.0]}}
    published = {"a": {"x": 2.5}, "b": {"x": 4.0}, "timing": {"a": 1.0}, "gone": {"x": 1.0}}
    table = fidelity_table(published, measured, **STATISTICS)
    assert table["run"].tolist() == ["a", "b"]
    assert table["inside"].tolist() == [True, False]
    assert table["percentile"].tolist() == [pytest.approx(200 / 3), 100]


def test_what_more_epochs_bring():
    measured = cells(grid_b32_e50_l01=[0.5, 0.6, 0.7], grid_b32_e100_l01=[0.6, 0.8, 0.7], grid_b64_e50_l01=[0.1] * 3)
    gains = epoch_gains(measured, **STATISTICS)
    assert gains[["batch_size", "from_epochs", "to_epochs"]].to_numpy().tolist() == [[32, 50, 100]]
    assert gains["mean"][0] == pytest.approx(0.1)
    assert gains["gained"][0] == pytest.approx(2 / 3)


def test_the_best_cell_is_chosen_on_validation():
    measured = cells(grid_b32_e50_l01=[0.5], grid_b64_e50_l01=[0.9])
    measured["grid-b32-e50-l0.01"]["validation_accuracy"] = np.array([0.99])
    best = best_cells(measured)
    assert best["by_validation"]["cell"] == "grid-b32-e50-l0.01"
    assert best["by_validation"]["test_accuracy"] == 0.5
    assert best["by_test"]["cell"] == "grid-b64-e50-l0.01"
