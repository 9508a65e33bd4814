"""The whole network: its gradient against autograd and finite differences, its cost, initial weights, prediction."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from problems import normal, problem
from torch.nn.functional import cross_entropy, layer_norm
from torch.testing import assert_close

import nnlib
from nnlib.core import model
from nnlib.core.layers import BATCHNORM_EPSILON

L2 = 0.7
NETWORKS = pytest.mark.parametrize(
    "dims", [[784, 20, 7, 5, 10], [6, 5, 3], [4, 3]], ids=lambda dims: "-".join(map(str, dims))
)


def normalised(A):
    return layer_norm(A, A.shape[-1:], eps=BATCHNORM_EPSILON)


# Batch norm as autograd sees it: not there, in the forward pass alone (the study's), or whole.
BATCHNORMS = {
    "none": lambda A: A,
    "straight_through": lambda A: A + (normalised(A) - A).detach(),
    "exact": normalised,
}


def initial(dims, seed=0):
    """Initial weights in float64, and biases that are not all 0."""
    parameters = nnlib.initialize_parameters(dims, seed=seed, dtype=torch.float64)
    return {
        name: value if name[0] == "W" else normal(*value.shape, seed=seed) / 4 for name, value in parameters.items()
    }


def reference_cost(X, Y, parameters, batchnorm, L2=L2):
    """The cost of one network with no line of nnlib in it."""
    weights = [value for name, value in parameters.items() if name[0] == "W"]
    biases = [value for name, value in parameters.items() if name[0] == "b"]
    A = X
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        A = BATCHNORMS[batchnorm](torch.relu(W @ A + b))
    decay = sum(W.square().sum() for W in weights) * L2 / 2 / X.shape[1]
    return cross_entropy((weights[-1] @ A + biases[-1]).T, Y.argmax(0)) + decay


def our_gradients(X, Y, parameters, batchnorm, L2=L2):
    AL, caches = nnlib.l_model_forward(X, parameters, batchnorm)
    return nnlib.l_model_backward(AL, Y, caches, L2, batchnorm=batchnorm)


def test_the_cost_of_finite_logits_is_finite_where_the_label_is_certain():
    Y = torch.tensor([[1.0], [0.0]])
    for far in (3e38, 1e30, 100.0):
        assert nnlib.compute_cost_from_logits(torch.tensor([[far], [-far]]), Y) == 0
    assert nnlib.compute_cost_from_logits(torch.tensor([[torch.nan], [0.0]]), Y).isnan()


@pytest.mark.parametrize("batchnorm", BATCHNORMS)
@NETWORKS
def test_gradients_agree_with_autograd(dims, batchnorm):
    X, Y = problem(16, dims[0], dims[-1])
    parameters = initial(dims)
    inputs = {"A0": X, **parameters}
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    cost = reference_cost(leaves["A0"], Y, {name: leaves[name] for name in parameters}, batchnorm)
    expected = dict(zip(leaves, torch.autograd.grad(cost, list(leaves.values())), strict=True))
    expected["A0"] *= 16  # per example
    ours = our_gradients(X, Y, parameters, batchnorm)
    for name in leaves:
        assert_close(ours[f"d{name}"], expected[name], rtol=1e-10, atol=1e-10)


def slope_and_difference(dims, batchnorm, seed):
    """Along a random direction: what our gradient says, and the centred difference of the cost."""
    X, Y = problem(16, dims[0], dims[-1])
    parameters = initial(dims)
    step = {name: normal(*value.shape, seed=seed) * 1e-7 for name, value in parameters.items()}
    ahead, behind = (
        reference_cost(X, Y, {name: value + sign * step[name] for name, value in parameters.items()}, batchnorm)
        for sign in (1, -1)
    )
    grads = our_gradients(X, Y, parameters, batchnorm)
    return sum((grads[f"d{name}"] * step[name]).sum() for name in step).item(), (ahead - behind).item() / 2


@pytest.mark.parametrize("batchnorm", ["none", "exact"])
@NETWORKS
def test_gradients_agree_with_finite_differences(dims, batchnorm):
    for seed in range(5):
        slope, difference = slope_and_difference(dims, batchnorm, seed)
        assert slope == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("dims", [[784, 20, 7, 5, 10], [6, 5, 3]])
def test_straight_through_is_not_the_derivative(dims):
    slope, difference = slope_and_difference(dims, "straight_through", 0)
    assert slope != pytest.approx(difference, rel=1e-3)


@pytest.mark.parametrize("batchnorm", BATCHNORMS)
def test_networks_side_by_side_are_the_networks_alone(batchnorm):
    singles = [initial([6, 5, 4, 3], seed) for seed in range(3)]
    together = {name: torch.stack([single[name] for single in singles]) for name in singles[0]}
    X, Y = problem(9)
    grads = our_gradients(X, Y, together, batchnorm)
    AL, _ = nnlib.l_model_forward(X, together, batchnorm)
    costs = nnlib.compute_cost(AL, Y, together, L2)
    for k, single in enumerate(singles):
        for name, grad in our_gradients(X, Y, single, batchnorm).items():
            assert_close(grads[name][k], grad, rtol=1e-12, atol=1e-12)
        assert costs[k].item() == pytest.approx(reference_cost(X, Y, single, batchnorm).item(), rel=1e-12)
    assert_close(nnlib.predict(X, Y, together), torch.stack([nnlib.predict(X, Y, single) for single in singles]))


def test_cost_is_cross_entropy_and_l2():
    Z, (_, Y) = normal(3, 8), problem(8)
    parameters = {"W1": torch.full((2, 2), 3.0), "b1": torch.full((2, 1), 100.0)}
    expected = cross_entropy(Z.T, Y.argmax(0)).item()
    for cost, output in ((nnlib.compute_cost, torch.softmax(Z, 0)), (nnlib.compute_cost_from_logits, Z)):
        assert cost(output, Y).item() == pytest.approx(expected, rel=1e-12)
        # Σ W² = 4 · 9, biases left out; λ / 2m = 0.5 / 16.
        assert cost(output, Y, parameters, 0.5).item() == pytest.approx(expected + 36 / 32, rel=1e-12)


def test_cost_of_an_impossible_class_is_infinite_but_not_from_logits():
    Z, Y = torch.tensor([[2000.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    assert nnlib.compute_cost(torch.softmax(Z, 0), Y).item() == torch.inf
    assert nnlib.compute_cost_from_logits(Z, Y).item() == 2000
    certain = nnlib.compute_cost(torch.tensor([[0.0], [1.0]]), Y)
    assert certain.item() == 0


def test_a_mean_cost_that_float32_can_hold_is_not_lost_in_the_sum():
    Z, Y = torch.tensor([[0.0], [3e38]]).repeat(1, 4), torch.tensor([[1.0], [0.0]]).repeat(1, 4)
    assert nnlib.compute_cost_from_logits(Z, Y).item() == pytest.approx(3e38)


def test_weights_whose_squares_are_infinite_cost_nothing_without_l2():
    (AL, Y), parameters = (torch.eye(3), torch.eye(3)), {"W1": torch.full((3, 3), 1e200, dtype=torch.float64)}
    costs = [nnlib.compute_cost(AL, Y, parameters, L2).item() for L2 in (0, 1)]
    assert costs == [0, torch.inf]


def test_many_outputs_may_have_the_weights_of_one_network_or_each_its_own_but_not_others():
    parameters = nnlib.initialize_parameters([6, 3], seed=[0, 1], dtype=torch.float64)
    AL, _ = nnlib.l_model_forward(normal(6, 4), parameters)
    one = {name: value[0] for name, value in parameters.items()}
    alone, both = (nnlib.compute_cost(AL, torch.eye(3)[:, [0, 1, 2, 0]], given, L2) for given in (one, parameters))
    assert alone.shape == both.shape == (2,)
    assert alone[0] == both[0]
    assert alone[1] != both[1]
    with pytest.raises(nnlib.InputError, match=r"^parameters: expected the weights of \(2,\) networks, got \(3,\)$"):
        nnlib.compute_cost(AL, torch.eye(3)[:, [0, 1, 2, 0]], nnlib.initialize_parameters([6, 3], seed=[0, 1, 2]), L2)


def test_cost_of_knowing_nothing_is_the_logarithm_of_the_classes():
    assert nnlib.compute_cost(torch.full((10, 7), 0.1), torch.eye(10)[:, :7]).item() == pytest.approx(log(10))


# Of a layer with 400 inputs and 100 units.
DEVIATIONS = {
    "he_fan_in": sqrt(2 / 400),
    "he_fan_out": sqrt(2 / 100),
    "xavier": sqrt(2 / 500),
    "lecun": sqrt(1 / 400),
    "inverse_fan_in": 1 / 400,
    "inverse_fan_out": 1 / 100,
    "standard_normal": 1,
}


@pytest.mark.parametrize("initialization", nnlib.INITIALIZATIONS)
def test_initial_weights_have_the_deviation_of_their_initialization_and_biases_are_0(initialization):
    parameters = nnlib.initialize_parameters([400, 100, 10], initialization=initialization)
    deviation = DEVIATIONS[initialization]
    assert parameters["W1"].shape == (100, 400)
    assert parameters["W1"].std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(parameters["W1"].mean().item()) < 0.02 * deviation
    assert not parameters["b1"].any()
    assert parameters["b2"].shape == (10, 1)


def test_initial_weights_are_he_et_al_s_unless_asked_otherwise():
    parameters = (nnlib.initialize_parameters([6, 3], **given) for given in ({}, {"initialization": "he_fan_in"}))
    assert len({tuple(given["W1"].flatten().tolist()) for given in parameters}) == 1


def test_initial_weights_are_those_of_the_seed_alone():
    together = nnlib.initialize_parameters([6, 5, 3], seed=[7, 8])
    alone = nnlib.initialize_parameters([6, 5, 3], seed=8)
    in_double = nnlib.initialize_parameters([6, 5, 3], seed=8, dtype=torch.float64)
    for name, value in alone.items():
        assert torch.equal(together[name][1], value)
        assert torch.equal(in_double[name].float(), value)
    assert not torch.equal(together["W1"][0], together["W1"][1])
    for name, value in nnlib.initialize_parameters([6, 5, 3], seed=[8]).items():
        assert torch.equal(value, alone[name][None])
    assert torch.equal(nnlib.initialize_parameters([6, 3])["W1"], nnlib.initialize_parameters([6, 3], seed=0)["W1"])


def test_seeds_of_a_replica_are_those_of_its_weights_too():
    found = nnlib.initialize_parameters([4, 3], seed=nnlib.Seeds(weights=5, shuffle=6))
    assert torch.equal(found["W1"], nnlib.initialize_parameters([4, 3], seed=5)["W1"])


def test_without_l2_there_is_none():
    AL, caches = nnlib.l_model_forward(X, initial([6, 5, 3]))
    plain, zero = nnlib.l_model_backward(AL, Y, caches), nnlib.l_model_backward(AL, Y, caches, 0.0)
    assert all(torch.equal(plain[name], zero[name]) for name in zero)
    assert nnlib.compute_cost(AL, Y, initial([6, 5, 3])) == nnlib.compute_cost(AL, Y)


def test_an_update_goes_down_the_gradient():
    updated = nnlib.update_parameters({"W1": torch.tensor([1.0])}, {"dW1": torch.tensor([4.0]), "dA0": None}, 0.25)
    assert updated == {"W1": torch.tensor([0.0])}
    # A parameter may be an array where its gradient is a tensor.
    updated = nnlib.update_parameters({"W1": np.float32([1])}, {"dW1": torch.tensor([4.0])}, 0.25)
    assert (type(updated["W1"]), updated["W1"].tolist()) == (torch.Tensor, [0])


def test_momentum_is_pytorch_s():
    W = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([W], lr=0.1, momentum=0.7)
    ours, state = {"W1": W.detach().clone()}, {}
    for grad in normal(5, 2):
        W.grad = grad
        theirs.step()
        ours = nnlib.update_parameters(ours, {"dW1": grad}, 0.1, optimizer="momentum", momentum=0.7, state=state)
        assert_close(ours["W1"], W.detach())
    assert nnlib.update_parameters(ours, {"dW1": grad}, 0.1, optimizer="momentum")["W1"].tolist() == pytest.approx(
        (ours["W1"] - 0.1 * grad).tolist()
    )


def test_an_update_keeps_no_graph():
    W = torch.tensor([1.0], requires_grad=True)
    assert not nnlib.update_parameters({"W1": W}, {"dW1": 2 * W}, 0.25)["W1"].requires_grad


def test_accuracy_is_the_share_of_right_answers_and_nan_for_a_network_that_gives_none():
    X = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    Y = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    W, b = torch.eye(2), torch.zeros(2, 1)
    assert nnlib.predict(X, Y, {"W1": W, "b1": b}).item() == 0.75
    broken = W.clone()
    broken[0, 0] = torch.nan
    networks = {"W1": torch.stack([W, broken, -W]), "b1": torch.stack([b, b, b])}
    assert_close(nnlib.predict(X, Y, networks), torch.tensor([0.75, torch.nan, 0.25]).double(), equal_nan=True)


X, Y = problem(4)
PARAMETERS = initial([6, 5, 3])
MATRIX = nnlib.Normalization(over="matrix")


def test_the_derivative_of_batch_norm_is_the_true_one_unless_asked_otherwise():
    AL, caches = nnlib.l_model_forward(X, PARAMETERS, "straight_through")
    grads, exact, straight = (
        nnlib.l_model_backward(AL, Y, caches, **given)["dW1"]
        for given in ({}, {"batchnorm": "exact"}, {"batchnorm": "straight_through"})
    )
    assert torch.equal(grads, exact)
    assert not torch.equal(grads, straight)


def test_the_form_of_normalization_is_that_of_the_layer():
    _, caches = nnlib.l_model_forward(X, PARAMETERS, "straight_through", normalization=MATRIX)
    assert_close(caches[1].linear_cache.A_prev, nnlib.apply_batchnorm(caches[0].A, over="matrix"))
    usual = nnlib.predict(*problem(200), PARAMETERS, batchnorm="exact")
    assert usual != nnlib.predict(*problem(200), PARAMETERS, batchnorm="straight_through", normalization=MATRIX)


AL, CACHES = nnlib.l_model_forward(X, PARAMETERS, "exact")


@pytest.mark.parametrize(
    ("mistake", "argument"),
    [
        (lambda: nnlib.initialize_parameters([6, 3], initialization="zeros"), "initialization"),
        (lambda: nnlib.initialize_parameters([6]), "layer_dims"),
        (lambda: nnlib.initialize_parameters([6, 0, 3]), "layer_dims.1"),
        (lambda: nnlib.compute_cost(AL, Y[:, :3]), "Y"),
        (lambda: nnlib.compute_cost(AL[:, :1], Y), "Y"),
        (lambda: nnlib.compute_cost(AL, Y, None, 0.1), "parameters"),
        (lambda: nnlib.compute_cost(AL, Y, {}, -0.1), "L2"),
        (lambda: nnlib.compute_cost_from_logits(AL, Y[:2]), "Y"),
        (lambda: model.l_model_backward(AL, Y[:, :3], CACHES), "Y"),
        (lambda: model.l_model_backward(AL, Y, CACHES, batchnorm="none"), "caches: layer 1"),
        (lambda: model.l_model_backward(AL, Y, CACHES, batchnorm=True), "batchnorm"),
        (lambda: model.l_model_backward(AL, Y, CACHES, normalization=MATRIX), "caches: layer 1: batchnorm"),
        (lambda: model.l_model_backward(AL, Y, CACHES, normalization="matrix"), "normalization"),
        (lambda: model.l_model_backward(AL, Y, []), "caches"),
        (lambda: nnlib.l_model_forward(X[:5], PARAMETERS), "X"),
        (lambda: nnlib.l_model_forward(X, PARAMETERS, True), "batchnorm"),
        (lambda: nnlib.l_model_forward(X, PARAMETERS, normalization={"over": "units"}), "normalization.over"),
    ],
)
def test_a_mistake_is_named(mistake, argument):
    with pytest.raises(nnlib.InputError, match=f"^{argument}:"):
        mistake()
