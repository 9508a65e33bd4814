"""check_gradients: right pairs pass, wrong ones are caught and located, misuse is named."""

import doctest

import numpy as np
import pytest
import torch
from problems import normal, problem

import nnlib
from nnlib import check_gradients, gradients
from nnlib.core.layers import linear_activation_backward, linear_activation_forward
from nnlib.gradients import GradientReport, WorstEntry


def of_the_sum(backward, m):
    """dW and db of the summed cost, not of its mean over the m examples."""

    def scaled(dOutput, cache):
        dA, dW, db = backward(dOutput, cache)
        return dA, m * dW, m * db

    return scaled


LAYER = [normal(4, 6), normal(3, 4, seed=1), normal(3, 1, seed=2)]

RIGHT = {
    "relu": (nnlib.relu, nnlib.relu_backward, [normal(5, 8)]),
    "sigmoid": (nnlib.sigmoid, nnlib.sigmoid_backward, [normal(5, 8)]),
    "softmax": (nnlib.softmax, nnlib.softmax_backward, [normal(5, 8)]),
    "softmax of three networks": (nnlib.softmax, nnlib.softmax_backward, [normal(3, 5, 4)]),
    "softmax of one class": (nnlib.softmax, nnlib.softmax_backward, [normal(1, 4)]),
    "batch norm": (nnlib.apply_batchnorm, nnlib.exact_batchnorm_backward, [normal(5, 8)]),
    "batch norm of one example": (nnlib.apply_batchnorm, nnlib.exact_batchnorm_backward, [normal(5, 1)]),
    "linear": (nnlib.linear_forward, of_the_sum(nnlib.linear_backward, 6), LAYER),
    "linear and relu": (
        lambda A, W, b: linear_activation_forward(A, W, b, "relu"),
        of_the_sum(lambda dA, cache: linear_activation_backward(dA, cache, "relu"), 6),
        LAYER,
    ),
    "tanh of numpy arrays": (np.tanh, lambda dA, Z: dA * (1 - np.tanh(Z) ** 2), [normal(5, 8).numpy()]),
    "numpy and torch together": (
        lambda x, y: torch.from_numpy(x) * y,
        lambda d, cache: (d.numpy() * cache[1].numpy(), d * torch.from_numpy(cache[0])),
        [np.arange(3), torch.arange(3)],
    ),
    "a cost of a Python number": (lambda x: float(x @ x), lambda d, x: 2 * d * x, [np.arange(3)]),
    "one number": (lambda x: x**3, lambda d, x: 3 * d * x**2, [2.0]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_backward_passes(name):
    report = check_gradients(*RIGHT[name])
    assert report
    assert report.wrong == []


WRONG = {
    "relu, no mask": (nnlib.relu, lambda dA, Z: dA, [normal(5, 8)]),
    "softmax, diagonal only": (
        nnlib.softmax,
        lambda dA, Z: dA * torch.softmax(Z, -2) * (1 - torch.softmax(Z, -2)),
        [normal(5, 8)],
    ),
    "batch norm, straight through": (
        nnlib.apply_batchnorm,
        nnlib.straight_through_batchnorm_backward,
        [normal(5, 8)],
    ),
    "not a number": (nnlib.relu, lambda dA, Z: nnlib.relu_backward(dA, Z).log(), [normal(5, 8)]),
    "infinite": (nnlib.relu, lambda dA, Z: dA / 0, [normal(5, 8)]),
    "not 0 where the derivative is": (lambda x: 0 * x, lambda d, x: 1e-6 * d, [normal(3)]),
    "0 where the derivative is not": (nnlib.relu, lambda dA, Z: 0 * dA, [normal(5, 8)]),
    "an output that is the input itself": (lambda x: x, lambda d, x: 0 * d, [normal(3)]),
    "a forward that works in place": (lambda Z: Z.clamp_min_(0), lambda dA, Z: dA, [normal(5, 8)]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_backward_is_caught(name):
    report = check_gradients(*WRONG[name])
    assert not report
    assert len(report.wrong) == 1


@pytest.mark.parametrize(("roundings", "right"), [(7.9, True), (8.1, False)])
def test_what_eight_roundings_of_the_output_explain_is_not_held_against_a_backward(roundings, right):
    """An output of 1 that does not depend on its input, and a step of 10⁻⁶."""
    slope = roundings * np.finfo(float).eps / 1e-6
    assert bool(check_gradients(lambda x: 1 + 0 * x, lambda d, x: slope * d, [0.5])) == right


@pytest.mark.parametrize("entry", [(0, 0), (2, 1), (4, 7)])
def test_one_wrong_entry_is_found_and_shown(entry):
    def backward(dA, Z):
        dZ = nnlib.softmax_backward(dA, Z)
        dZ[entry] += 1e-4
        return dZ

    report = check_gradients(nnlib.softmax, backward, [normal(5, 8)])
    worst = report.worst["Z"]
    assert worst.entry == entry
    assert worst.got - worst.expected == pytest.approx(1e-4, rel=1e-3)
    assert report.wrong == ["Z"]
    for shown in (str(entry), f"{worst.expected:.9g}", f"{worst.got:.9g}", "wrong: Z"):
        assert shown in str(report)


def test_only_the_wrong_input_is_wrong_and_inputs_have_the_forwards_names():
    report = check_gradients(nnlib.linear_forward, nnlib.linear_backward, LAYER)
    assert list(report.worst) == ["A", "W", "b"]
    assert report.wrong == ["W", "b"]  # of the mean over the examples, as they stand
    unnamed = check_gradients(lambda *values: sum(values), lambda d, _: (d, -d), [normal(3), normal(3)])
    assert unnamed.wrong == ["input 1"]


L2 = 0.7
X, Y = problem(9)


def network_cost(batchnorm):
    def cost(parameters):
        AL, caches = nnlib.l_model_forward(X, parameters, batchnorm)
        return nnlib.compute_cost(AL, Y, parameters, L2), (AL, caches)

    return cost


def network_gradients(batchnorm, L2=L2):
    return lambda dcost, cache: nnlib.l_model_backward(cache[0], Y, cache[1], L2, batchnorm=batchnorm)


@pytest.mark.parametrize("batchnorm", ["none", "exact"])
def test_a_whole_network_with_l2_passes(batchnorm):
    parameters = nnlib.initialize_parameters([6, 5, 4, 3])
    report = check_gradients(network_cost(batchnorm), network_gradients(batchnorm), parameters)
    assert report, report
    assert list(report.worst) == list(parameters)


def test_networks_side_by_side_pass():
    parameters = nnlib.initialize_parameters([6, 4, 3], seed=[0, 1])
    report = check_gradients(network_cost("exact"), network_gradients("exact"), parameters, upstream=np.ones(2))
    assert report, report


def test_in_a_network_straight_through_is_wrong_below_a_batch_norm_and_a_forgotten_l2_in_the_weights():
    parameters = nnlib.initialize_parameters([6, 5, 4, 3])
    straight = check_gradients(network_cost("exact"), network_gradients("straight_through"), parameters)
    assert straight.wrong == ["W1", "b1", "W2", "b2"]
    forgotten = check_gradients(network_cost("exact"), network_gradients("exact", 0.0), parameters)
    assert forgotten.wrong == ["W1", "W2", "W3"]


def test_a_random_upstream_gradient_catches_what_ones_let_pass():
    def no_product(dA_norm, A):
        return (dA_norm - dA_norm.mean(-1, keepdim=True)) / (A.var(-1, correction=0, keepdim=True) + 1e-8).sqrt()

    pair = nnlib.apply_batchnorm, no_product, [normal(5, 8)]
    assert check_gradients(*pair, upstream=torch.ones(5, 8))
    assert not check_gradients(*pair)


def test_the_upstream_gradient_is_not_an_input_drawn_from_the_same_seed():
    """Batch norm's derivative takes away what lies along its input: with that as upstream gradient it is 0."""
    report = check_gradients(
        nnlib.apply_batchnorm,
        nnlib.exact_batchnorm_backward,
        [torch.from_numpy(np.random.default_rng(3).standard_normal((3, 8)))],
        seed=3,
    )
    assert report
    assert abs(report.worst["A"].expected) > 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_a_derivative_that_cancels_to_0_is_not_lost_in_rounding(seed):
    """A bias before a batch norm: its differences are rounding and nothing else."""

    def forward(b):
        Z = normal(3, 9, seed=seed) + b
        return nnlib.apply_batchnorm(Z), Z

    def backward(d, Z):
        return nnlib.exact_batchnorm_backward(d, Z).sum(-1, keepdim=True)

    report = check_gradients(forward, backward, [normal(3, 1)], seed=seed)
    assert report, report
    assert 0 < abs(report.worst["b"].expected) < 1e-8


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1, 1e3, 1e6])
def test_it_works_for_numbers_of_any_size(size):
    inputs = [normal(4, 3).numpy() * size]
    assert check_gradients(lambda x: x**2, lambda d, x: 2 * d * x, inputs)
    assert not check_gradients(lambda x: x**2, lambda d, x: 2.001 * d * x, inputs)


def test_a_few_entries_take_two_forward_passes_each_and_all_are_tried_by_default():
    passes = []

    def forward(Z):
        passes.append(Z)
        return nnlib.relu(Z)

    check_gradients(forward, nnlib.relu_backward, [normal(5, 8)], entries=7)
    assert len(passes) == 1 + 2 * 7
    check_gradients(forward, nnlib.relu_backward, [normal(5, 8)], entries=41)
    check_gradients(forward, nnlib.relu_backward, [normal(5, 8)])
    assert len(passes) == 3 + 2 * (7 + 40 + 40)


def test_the_seed_chooses_the_entries():
    def backward(dA, Z):
        dZ = nnlib.relu_backward(dA, Z)
        dZ[0] += 1
        return dZ

    found = [bool(check_gradients(nnlib.relu, backward, [normal(5, 8)], entries=1, seed=seed)) for seed in range(30)]
    again = [bool(check_gradients(nnlib.relu, backward, [normal(5, 8)], entries=1, seed=seed)) for seed in range(30)]
    assert found == again
    assert 0 < sum(found) < 30


def test_functions_get_float64_of_the_inputs_kind_and_the_inputs_stay_as_they_are():
    tensor, array = normal(2, 3).float().T.requires_grad_(), np.arange(6).reshape(3, 2)
    before = tensor.detach().clone(), array.copy()

    def forward(x, y):
        assert isinstance(x, torch.Tensor)
        assert isinstance(y, np.ndarray)
        assert (x.dtype, y.dtype) == (torch.float64, np.float64)
        assert not x.requires_grad
        y += 1
        return x.mul_(torch.from_numpy(y)), (x / torch.from_numpy(y), y)

    report = check_gradients(
        forward, lambda d, cache: (d * torch.from_numpy(cache[1]), d * cache[0]), [tensor, array], tolerance=1e-5
    )
    assert report, report
    assert torch.equal(tensor, before[0])
    assert (array == before[1]).all()


def test_the_examples_in_the_docstring_are_true():
    tried = doctest.testmod(gradients)
    assert tried.attempted > 0
    assert tried.failed == 0


def test_inputs_of_a_function_without_a_signature_are_counted():
    report = check_gradients(torch.tanh, lambda d, x: d / x.cosh().square(), [normal(3)])
    assert report, report
    assert list(report.worst) == ["input 0"]


def test_an_error_as_large_as_the_tolerance_is_right():
    assert GradientReport({"x": WorstEntry((0,), 1.0, 1.0, 1e-6)}, 1e-6)
    assert not GradientReport({"x": WorstEntry((0,), 1.0, 1.0, 1.001e-6)}, 1e-6)


def test_the_smallest_step_is_the_smallest_that_moves_a_number_near_1():
    report = check_gradients(lambda x: x, lambda d, x: d, [1.0], step=np.finfo(float).eps)
    assert report.worst["x"].expected == 1


def test_an_entry_is_moved_by_a_step_times_its_size_where_that_is_above_1():
    seen, x = [], np.array([0.25, 1.0, -8.0])

    def forward(x):
        seen.append(x.copy())
        return x**2

    assert check_gradients(forward, lambda d, x: 2 * d * x, [x], step=2**-20)
    moved = np.array(seen[1:]) - x
    assert (moved[::2] == np.diag([1, 1, 8]) * 2**-20).all()
    assert (moved[1::2] == -moved[::2]).all()


PAIR = nnlib.relu, nnlib.relu_backward


def test_the_seed_is_0_unless_told_otherwise():
    reports = [check_gradients(*PAIR, [normal(5, 8)], **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert reports[0] == reports[1] != reports[2]


def test_a_large_output_hides_no_mistake():
    report = check_gradients(lambda A: A * 1e200, lambda dA, _: dA * 0, [np.array([[1.0, -2.0]])])
    assert not report
    assert check_gradients(lambda A: A * 1e200, lambda dA, _: dA * 1e200, [np.array([[1.0, -2.0]])])
    with pytest.raises(nnlib.InputError, match=r"^forward: expected .*overflow"):
        check_gradients(lambda A: A * 1e200, lambda dA, _: dA * 0, [np.ones(2)], upstream=np.full(2, 1e200))


def test_numbers_may_be_numpys():
    options = {"seed": 1, "entries": 2, "step": 1e-6, "tolerance": 1e-5}
    same = {name: np.float64(value) if isinstance(value, float) else np.int64(value) for name, value in options.items()}
    assert check_gradients(*PAIR, [normal(5, 8)], **options) == check_gradients(*PAIR, [normal(5, 8)], **same)


@pytest.mark.parametrize(
    ("mistake", "argument"),
    [
        (lambda: check_gradients(normal(3), PAIR[1], [normal(3)]), "forward: expected a function"),
        (lambda: check_gradients(PAIR[0], None, [normal(3)]), "backward: expected a function"),
        (lambda: check_gradients(*PAIR, normal(3)), "inputs: expected a list or a dict.*got Tensor"),
        (lambda: check_gradients(*PAIR, []), "inputs: expected one array or more"),
        (lambda: check_gradients(*PAIR, [[1.0, 2.0]]), "inputs: Z: expected an array"),
        (lambda: check_gradients(*PAIR, {"Z": "text"}), "inputs: Z: expected an array"),
        (lambda: check_gradients(*PAIR, [normal(3).cfloat()]), "inputs: Z: expected .* real numbers"),
        (lambda: check_gradients(*PAIR, [np.array(["a"])]), "inputs: Z: expected .* real numbers"),
        (lambda: check_gradients(*PAIR, [torch.empty(0, 3)]), "inputs: Z: expected one number or more, got none"),
        (lambda: check_gradients(*PAIR, [torch.tensor([1, torch.nan])]), "inputs: Z: .*finite"),
        (
            lambda: check_gradients(*PAIR, [normal(3)], upstream=normal(4)),
            r"upstream: expected shape \(3,\)",
        ),
        (lambda: check_gradients(*PAIR, [normal(3)], upstream=normal(3) / 0), "upstream: .*finite"),
        (lambda: check_gradients(*PAIR, [normal(3)], upstream="ones"), "upstream: expected an array"),
        *[
            (
                lambda given=given: check_gradients(*PAIR, [normal(3)], **given),
                f"{next(iter(given))}: expected",
            )
            for given in (
                *[{"step": step} for step in (0, -1e-6, 1e-20, float("inf"), float("nan"), "small", True)],
                *[{"tolerance": tolerance} for tolerance in (0, float("nan"), None)],
                *[{"seed": seed} for seed in (-1, 0.5, None)],
                *[{"entries": entries} for entries in (0, 2.0, True)],
            )
        ],
    ],
)
def test_a_mistake_in_an_argument_is_named(mistake, argument):
    with pytest.raises(nnlib.InputError, match=f"^{argument}"):
        mistake()


@pytest.mark.parametrize(
    ("forward", "backward", "inputs", "argument"),
    [
        (
            lambda x: (x, x, x),
            PAIR[1],
            [normal(3)],
            r"forward: expected an output or \(output, cache\), got 3",
        ),
        (lambda x: x.float(), PAIR[1], [normal(3)], "forward: output: expected float64, .* got float32"),
        (lambda x: None, PAIR[1], [normal(3)], "forward: output: expected an array .* got NoneType"),
        (lambda x: x / 0, PAIR[1], [normal(3)], "forward: output: expected finite numbers, got 3 of 3 .*: -?inf$"),
        (
            lambda x: x * torch.tensor([1, torch.inf, torch.nan]),
            PAIR[1],
            [torch.ones(3)],
            "forward: output: expected finite numbers, got 2 of 3 that are not: inf$",
        ),
        (lambda x: x[:0], PAIR[1], [normal(3)], "forward: output: expected one number or more, got none$"),
        (lambda x: x.sqrt(), lambda d, x: d, [torch.zeros(1)], "forward: output: expected .*finite"),
        (lambda x, y: x, lambda d, _: d, [normal(3)] * 2, "backward: expected 2 gradients, of x, y, got 1"),
        (PAIR[0], lambda d, _: None, [normal(3)], "backward: dZ: expected an array"),
        (
            PAIR[0],
            lambda d, _: d.mT,
            [normal(3, 2)],
            r"backward: dZ: expected shape \(3, 2\), got \(2, 3\)",
        ),
        (lambda p: p["W"], lambda d, _: {"W": d}, {"W": normal(3)}, "backward: .* with dW, got W"),
        (lambda p: p["W"], lambda d, _: d, {"W": normal(3)}, "backward: .* with dW, got Tensor"),
    ],
)
def test_a_mistake_in_what_a_function_gives_back_is_named(forward, backward, inputs, argument):
    with pytest.raises(nnlib.InputError, match=f"^{argument}"):
        check_gradients(forward, backward, inputs)
