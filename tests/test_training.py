"""The readable loop: the stopping rule, what is logged, and training against the same training by autograd."""

import inspect

import pytest
import torch
from problems import problem
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

import nnlib
from nnlib import Seeds, Settings, Stopping
from nnlib.core.seeds import epoch_order
from nnlib.core.training import StoppingRule, evaluate_cost, l_layer_model, mini_batches

DIMS = [6, 5, 3]
T = 1e-5


def stops_at(costs, **stopping):
    """The evaluation at which it stops, None if at none."""
    rule, unknown = StoppingRule(Stopping(**stopping)), torch.tensor(0.0)
    evaluations = (rule.evaluate(torch.tensor(cost, dtype=torch.float64), unknown) for cost in costs)
    return next((number for number, (stop, _) in enumerate(evaluations, 1) if stop), None)


@pytest.mark.parametrize(
    ("costs", "patience", "expected"),
    [
        ([5, 4, 3, 2, 1], 1, None),
        ([1, 1], 1, 2),
        ([1, 1, 1], 2, 3),
        ([1, 2, 0.9, 2, 2], 2, 5),  # an improvement starts the count again
        ([1, 2, 1.5, 1.2], 3, 4),  # only an improvement on the best counts
        ([1, 1 - T], 1, 2),  # an improvement by the threshold is none
        ([1, 1 - 1.001 * T], 1, None),
        ([1, 1 - 0.6 * T, 1 - 1.2 * T, 1 - 1.2 * T], 2, None),  # small ones add up
        ([1, torch.nan, torch.nan], 2, 3),
        ([torch.inf], 1, 1),
        ([torch.inf, torch.inf], 2, 2),
        ([1] * 100, 100, None),
        ([1] * 101, 100, 101),
    ],
)
def test_it_stops_after_so_many_evaluations_without_improvement(costs, patience, expected):
    assert stops_at(costs, rule="improvement", patience=patience, threshold=T) == expected


@pytest.mark.parametrize(
    ("costs", "patience", "expected"),
    [
        ([1, 1], 1, 2),
        ([1, 2, 3, 4, 500], 1, None),  # a cost that rises is no standstill
        ([1, 1, 2, 2, 2], 2, 5),  # a change starts the count again
        ([1, 1 + T / 2, 1 + T, 1 + 1.5 * T], 3, 4),  # only the change since the last evaluation counts
        ([1, 1 - 1.001 * T, 1], 1, None),
        ([0, T], 1, 2),  # a change by the threshold is none
        ([1, torch.nan, torch.nan], 2, 3),
        ([1] * 101, 100, 101),
    ],
)
def test_it_stops_after_so_many_evaluations_without_change(costs, patience, expected):
    assert stops_at(costs, rule="change", patience=patience, threshold=T) == expected


def test_early_stopping_is_the_books_unless_asked_otherwise():
    """A new best cost, be it by little, is progress; nothing else is."""
    assert stops_at([1] * 101) == 101
    assert stops_at([2, 1, 1 - 1e-12] + [1.5, 1.4, 1.3] * 40) == 103


def test_the_accuracy_may_be_watched_instead_where_more_is_better():
    rule = StoppingRule(Stopping(quantity="validation_accuracy", patience=2, threshold=0.01))
    accuracies, rising = (0.5, 0.6, 0.605, 0.605, 0.9), 1.0  # of equal ones the first is the best
    evaluations = [rule.evaluate(torch.tensor(rising), torch.tensor(accuracy)) for accuracy in accuracies]
    assert [bool(stop) for stop, _ in evaluations] == [False, False, False, True, False]
    assert [bool(best) for _, best in evaluations] == [True, True, True, False, True]


def test_each_network_stops_by_its_own_costs():
    rule = StoppingRule(Stopping(patience=2))
    costs = ([1.0, 1.0], [0.5, 1.0], [0.2, 1.0])
    stops = [rule.evaluate(torch.tensor(each), torch.zeros(2))[0].tolist() for each in costs]
    assert stops == [[False, False], [False, False], [False, True]]


def test_every_epoch_has_each_example_once_in_a_new_order_and_the_last_batch_may_be_smaller():
    first, second = (mini_batches(10, 4, 0, epoch) for epoch in (1, 2))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert torch.equal(torch.cat(first).sort().values, torch.arange(10))
    assert not torch.equal(torch.cat(first), torch.cat(second))


@pytest.mark.parametrize(
    "given", [{"examples": 0}, {"batch_size": 0}, {"seed": -1}, {"epoch": 0}, {"shuffle": "no"}], ids=str
)
def test_a_mistake_about_mini_batches_is_named(given):
    least = {"examples": 1, "batch_size": 1, "seed": 0, "epoch": 1}
    assert [batch.tolist() for batch in mini_batches(**least)] == [[0]]
    with pytest.raises(nnlib.InputError, match=f"^{next(iter(given))}: expected "):
        mini_batches(**least | given)


def trained(X, Y, **options):
    """Parameters, costs and records of a run."""
    records = []
    parameters, costs = l_layer_model(X, Y, DIMS, on_eval=records.append, **options)
    return parameters, costs, records


def column(records, name):
    return [record[name] for record in records]


def test_training_agrees_with_autograd_with_a_smaller_last_batch():
    (X, Y), rate, L2 = problem(50), 0.1, 0.5
    ours, _, records = trained(
        X,
        Y,
        learning_rate=rate,
        num_iterations=3,
        batch_size=16,
        L2=L2,
        seed=4,
        validation=(X, Y),
        stopping={"eval_every": 1, "returns": "last"},
    )
    leaves = nnlib.initialize_parameters(DIMS, seed=4, dtype=X.dtype)
    leaves = {name: value.requires_grad_() for name, value in leaves.items()}

    def cost(X, Y):
        Z = leaves["W2"] @ torch.relu(leaves["W1"] @ X + leaves["b1"]) + leaves["b2"]
        decay = leaves["W1"].square().sum() + leaves["W2"].square().sum()
        return cross_entropy(Z.T, Y.argmax(0)) + L2 / 2 / X.shape[1] * decay

    optimizer = torch.optim.SGD(leaves.values(), rate)
    before, after = [], []
    for epoch in (1, 2, 3):
        for batch in torch.from_numpy(epoch_order(4, epoch, 50)).split(16):
            optimizer.zero_grad()
            loss = cost(X[:, batch], Y[:, batch])
            loss.backward()
            optimizer.step()
            before.append(loss.item())
            after.append(cost(X, Y).item())
    for name, value in leaves.items():
        assert_close(ours[name], value.detach(), rtol=1e-10, atol=1e-10)
    assert column(records, "train_cost") == pytest.approx(before, rel=1e-10)
    assert column(records, "validation_cost") == pytest.approx(after, rel=1e-10)


def test_a_cost_is_kept_every_100_steps_and_the_last_step_is_recorded_too():
    X, Y = problem(50)
    _, costs, records = trained(X, Y, num_iterations=50, batch_size=10, validation=problem(20, seed=1))
    assert column(records, "step") == [100, 200, 250]
    assert column(records, "epoch") == [20, 40, 50]
    assert column(records, "status") == ["running", "running", "finished"]
    assert costs == column(records, "train_cost")[:2]


def test_without_a_validation_set_no_validation_cost_is_made_up():
    _, _, records = trained(*problem(50), num_iterations=1, stopping={"patience": 1, "eval_every": 1})
    assert column(records, "validation_cost") == column(records, "validation_accuracy") == [None, None]
    assert records[-1]["status"] == "finished"


# At steps 2, 4, 6 and 8.
GOLDEN = {
    "none": [2.0673907445742112, 4.512294127196629, 1.4181184414187848, 4.2032511290304395],
    "straight_through": [2.2773838942221105, 4.074732606017996, 1.6269520120591858, 4.283753776457124],
    "exact": [2.268506775123266, 4.707106267035721, 1.480455621519323, 3.9623128535963357],
}


@pytest.mark.parametrize("batchnorm", GOLDEN)
def test_losses_are_those_of_the_day_this_was_written(batchnorm):
    _, costs, _ = trained(
        *problem(50),
        learning_rate=0.1,
        num_iterations=2,
        batch_size=16,
        L2=0.5,
        batchnorm=batchnorm,
        initialization="he_fan_out",
        stopping={"eval_every": 2},
    )
    assert costs == pytest.approx(GOLDEN[batchnorm], rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"batchnorm": "exact"}, {"L2": 0.01}], ids=str)
def test_it_learns(options):
    X, Y = problem(300)
    parameters, costs, _ = trained(X, Y, learning_rate=0.1, num_iterations=40, **options)
    accuracy = nnlib.predict(*problem(300, seed=1), parameters, batchnorm=options.get("batchnorm", "none"))
    assert accuracy > 0.9
    assert costs[-1] < costs[0]


STOPS = {"batch_size": 10, "validation": problem(50), "learning_rate": 0.1}


def test_it_stops_early_and_keeps_the_parameters_of_that_step():
    X, Y = problem(50)
    stopping = {"eval_every": 5, "threshold": 1e9, "patience": 2, "returns": "last"}
    stopped, costs, records = trained(X, Y, **STOPS, stopping=stopping)
    # The first evaluation improves on infinity; the second and the third do not improve by a thousand million.
    assert column(records, "status") == ["running", "running", "stopped"]
    assert column(records, "step") == [5, 10, 15]
    assert len(costs) == 3
    short, _, _ = trained(X, Y, **STOPS, num_iterations=3, stopping=stopping)
    assert all(torch.equal(stopped[name], short[name]) for name in short)
    settings = nnlib.Settings(layers_dims=DIMS)
    assert records[-1]["validation_cost"] == evaluate_cost(X, Y, stopped, settings).item()


def test_unless_asked_otherwise_it_returns_the_parameters_of_the_best_evaluation():
    """With so large a step the cost jumps up and down."""
    X, Y = problem(50)
    options = STOPS | {"learning_rate": 3.0, "num_iterations": 8}
    best, _, records = trained(X, Y, **options, stopping={"eval_every": 5})
    costs = column(records, "validation_cost")
    which = costs.index(min(costs))
    assert which < len(costs) - 1
    then, _, _ = trained(X, Y, **options | {"num_iterations": which + 1}, stopping={"eval_every": 5, "returns": "last"})
    assert all(torch.equal(best[name], then[name]) for name in best)


@pytest.mark.parametrize("options", [{"stopping": {"eval_every": 1000}}, {"validation": None}], ids=str)
def test_without_an_evaluation_it_returns_those_of_the_last_step(options):
    X, Y = problem(50)
    given, _, _ = trained(X, Y, **STOPS | {"num_iterations": 3} | options)
    last, _, _ = trained(X, Y, **STOPS | {"num_iterations": 3}, stopping={"returns": "last"})
    assert all(torch.equal(given[name], last[name]) for name in last)


def test_the_examples_are_shuffled_every_epoch_once_or_never():
    X, Y = problem(50)
    every_epoch, once, never = (mini_batches(50, 50, 3, 2, shuffle)[0] for shuffle in ("every_epoch", "once", "never"))
    assert torch.equal(once, mini_batches(50, 50, 3, 1)[0])
    assert torch.equal(never, torch.arange(50))
    assert not torch.equal(every_epoch, once)
    for shuffle, order in (("once", once), ("never", never)):
        # The order of all examples in the first epoch, which here is every epoch's.
        ours, _, _ = trained(X, Y, num_iterations=2, batch_size=16, seed=3, shuffle=shuffle)
        same, _, _ = trained(X[:, order], Y[:, order], num_iterations=2, batch_size=16, seed=3, shuffle="never")
        assert all(torch.equal(ours[name], same[name]) for name in same)


def test_one_seed_is_of_the_initial_weights_and_one_of_the_shuffles():
    X, Y = problem(50)
    weights_of_3, _, _ = trained(X, Y, num_iterations=0, seed=Seeds(weights=3, shuffle=4))
    assert torch.equal(weights_of_3["W1"], nnlib.initialize_parameters(DIMS, seed=3, dtype=X.dtype)["W1"])
    crossed, _, _ = trained(X, Y, num_iterations=2, seed=Seeds(weights=3, shuffle=4))
    order, options = torch.cat(mini_batches(50, 50, 4, 1)), {"num_iterations": 2, "shuffle": "once"}
    by_hand, _, _ = trained(X[:, order], Y[:, order], num_iterations=2, shuffle="never", seed=3)
    assert torch.equal(trained(X, Y, **options, seed=Seeds(3, 4))[0]["W1"], by_hand["W1"])
    both = trained(X, Y, num_iterations=2, seed=3)[0], trained(X, Y, num_iterations=2, seed=Seeds(3, 3))[0]
    assert torch.equal(both[0]["W1"], both[1]["W1"])
    assert not torch.equal(both[0]["W1"], crossed["W1"])


@pytest.mark.parametrize("validation", [None, problem(20, seed=1)], ids=["alone", "with validation"])
def test_a_run_that_diverges_says_so_and_ends(validation):
    X, Y = problem(50)
    _, costs, records = trained(
        X, Y, learning_rate=1e37, L2=1e38, batch_size=10, stopping={"eval_every": 2}, validation=validation
    )
    assert records[-1]["status"] == "diverged"
    assert records[-1]["step"] < 500
    assert len(costs) == len(records)
    last = [records[-1]["train_cost"], records[-1]["validation_cost"] or 0.0]
    assert not torch.tensor(last).isfinite().all()


def test_what_was_expected_is_said_in_the_set_s_own_numbers():
    X, Y = problem(50)
    with pytest.raises(nnlib.InputError, match=r"^X: expected \(6, m\), features × examples, got \(5, 50\)$"):
        l_layer_model(X[:5], Y, DIMS)
    with pytest.raises(nnlib.InputError, match=r"^Y: expected \(3, 50\), classes × examples, got \(3, 49\)$"):
        l_layer_model(X, Y[:, :49], DIMS)


def test_of_several_mistakes_in_a_set_the_first_is_said():
    X, Y = problem(50)
    X[2, 7], X[0, 9] = torch.inf, -torch.inf
    with pytest.raises(nnlib.InputError, match=r"^X: expected finite numbers, got -inf$"):
        l_layer_model(X, Y, DIMS)
    X, Y = problem(50)
    Y[:, 20], Y[:, 30], Y[:, 40] = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0]), torch.tensor([1, 1, 1])
    with pytest.raises(nnlib.InputError, match=r"^Y: expected a single 1 in each column.* got \[0\.0, 1\.0, 1\.0\]$"):
        l_layer_model(X, Y, DIMS)


def test_the_epochs_have_the_assignment_s_name():
    with pytest.raises(nnlib.InputError, match=r"^epochs: no such argument; it is num_iterations"):
        l_layer_model(*problem(50), DIMS, epochs=3)


def test_a_batch_may_be_a_single_example_or_all():
    X, Y = problem(3)
    for batch_size, steps in ((1, 3), (3, 1)):
        _, _, records = trained(X, Y, num_iterations=1, batch_size=batch_size, stopping={"eval_every": 1})
        assert column(records, "step") == [*range(1, steps + 1)]


def test_the_defaults_are_those_of_the_assignment():
    given = {name: one.default for name, one in inspect.signature(l_layer_model).parameters.items()}
    given["epochs"] = given["num_iterations"]
    expected = {"learning_rate": 0.009, "epochs": 100, "batch_size": 32, "batchnorm": "none", "L2": 0.0}
    assert {name: given[name] for name in expected} == expected
    assert {name: getattr(Settings(layers_dims=DIMS), name) for name in expected} == expected
