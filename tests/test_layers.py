"""Every layer's backward against autograd in float64, and what each layer promises."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import normal
from torch.nn.functional import layer_norm
from torch.testing import assert_close

from nnlib.core import layers
from nnlib.errors import InputError

EXACT = {"rtol": 0, "atol": 1e-10}
REPLICAS = pytest.mark.parametrize("replicas", [(), (3,)], ids=["one network", "three networks"])

# Each with PyTorch's own forward, nnlib's forward, and nnlib's backward (dA, the forward's input).
LAYERS = {
    "relu": (torch.relu, lambda Z: layers.relu(Z)[0], layers.relu_backward),
    "sigmoid": (torch.sigmoid, lambda Z: layers.sigmoid(Z)[0], layers.sigmoid_backward),
    "softmax": (lambda Z: torch.exp(Z.log_softmax(-2)), lambda Z: layers.softmax(Z)[0], layers.softmax_backward),
    "batch norm": (
        lambda A: layer_norm(A, A.shape[-1:], eps=layers.BATCHNORM_EPSILON),
        layers.apply_batchnorm,
        layers.exact_batchnorm_backward,
    ),
}

# Gradients that are nearly right.
WRONG = {
    "batch norm, straight through": ("batch norm", layers.straight_through_batchnorm_backward),
    "batch norm, no mean": ("batch norm", lambda dA, A: dA / (A.var(-1, correction=0, keepdim=True) + 1e-8).sqrt()),
    "relu, no mask": ("relu", lambda dA, Z: dA),
    "softmax, diagonal only": ("softmax", lambda dA, Z: dA * torch.softmax(Z, -2) * (1 - torch.softmax(Z, -2))),
}


def autograd(forward, upstream, *inputs):
    """The gradients of Σ upstream ⊙ forward(inputs)."""
    inputs = [value.clone().requires_grad_() for value in inputs]
    return torch.autograd.grad(forward(*inputs), inputs, upstream)


@REPLICAS
@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_agree_with_autograd(name, replicas):
    reference, forward, backward = LAYERS[name]
    values, upstream = normal(*replicas, 5, 8), normal(*replicas, 5, 8, seed=1)
    assert_close(forward(values), reference(values), **EXACT)
    assert_close(backward(upstream, values), autograd(reference, upstream, values)[0], **EXACT)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_told_from_autograds(name):
    layer, backward = WRONG[name]
    values, upstream = normal(5, 8), normal(5, 8, seed=1)
    assert (backward(upstream, values) - autograd(LAYERS[layer][0], upstream, values)[0]).abs().max() > 0.01


@REPLICAS
@pytest.mark.parametrize("L2", [0.0, 0.7])
def test_linear_layer_agrees_with_autograd(L2, replicas):
    A, W, b, dZ = (normal(*replicas, *shape) for shape in ((4, 6), (3, 4), (3, 1), (3, 6)))
    Z, cache = layers.linear_forward(A, W, b)
    assert_close(Z, torch.einsum("...oi,...im->...om", W, A) + b, **EXACT)

    def cost(A, W, b):
        return ((dZ * (W @ A + b)).sum() + L2 / 2 * W.square().sum()) / 6

    dA, dW, db = autograd(cost, None, A, W, b)
    # dA is per example, not yet divided by m.
    for ours, expected in zip(layers.linear_backward(dZ, cache, L2), (6 * dA, dW, db), strict=True):
        assert_close(ours, expected, **EXACT)


def test_no_gradient_passes_where_relu_cut_be_it_infinite():
    dA = torch.tensor([[torch.inf, -torch.inf, torch.nan, torch.inf]])
    assert layers.relu_backward(dA, torch.tensor([[-1.0, 0.0, -2.0, 3.0]])).tolist() == [[0, 0, 0, torch.inf]]


@REPLICAS
@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
def test_linear_and_activation_together_agree_with_autograd(activation, replicas):
    A, W, b, dA = (normal(*replicas, *shape) for shape in ((4, 6), (3, 4), (3, 1), (3, 6)))
    reference = LAYERS[activation][0]
    out, cache = layers.linear_activation_forward(A, W, b, activation)
    assert_close(out, reference(W @ A + b), **EXACT)
    expected = autograd(lambda A, W, b: reference(W @ A + b), dA, A, W, b)
    for ours, theirs, m in zip(
        layers.linear_activation_backward(dA, cache, activation), expected, (1, 6, 6), strict=True
    ):
        assert_close(ours, theirs / m, **EXACT)


@REPLICAS
def test_softmax_after_cross_entropy_is_the_short_form(replicas):
    Z, Y = normal(*replicas, 4, 4), torch.eye(4, dtype=torch.float64)
    A, cache = layers.softmax(Z)
    assert_close(layers.softmax_backward(-Y / A, cache), A - Y, **EXACT)


@given(hnp.arrays(float, (4, 3), elements=st.floats(-1e4, 1e4)), st.floats(-1e4, 1e4))
def test_softmax_adds_up_to_one_and_ignores_a_shift(scores, shift):
    Z = torch.from_numpy(scores)
    A, _ = layers.softmax(Z)
    assert_close(A.sum(0), torch.ones(3, dtype=A.dtype), **EXACT)
    assert_close(layers.softmax(Z + shift)[0], A, **EXACT)


@given(hnp.arrays(float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-100, 100)))
def test_batch_norm_gives_mean_0_and_variance_1_or_0_for_a_constant(values):
    A = torch.from_numpy(values)
    normed = layers.apply_batchnorm(A)
    varies = (A.amax(-1) > A.amin(-1)).to(A.dtype)
    assert_close(normed.mean(-1), torch.zeros_like(varies), **EXACT)
    assert_close(normed.var(-1, correction=0), varies, rtol=0, atol=1e-6)


@given(st.floats(-10, 10), st.integers(1, 40), st.sampled_from([torch.float32, torch.float64]))
def test_batch_norm_makes_a_constant_feature_0_within_rounding(constant, m, dtype):
    # The mean may be off by a rounding error, which division by √ε then enlarges 10,000 times: 0.05 in float32.
    normed = layers.apply_batchnorm(torch.full((1, m), constant, dtype=dtype))
    assert normed.abs().max() <= 4 * torch.finfo(dtype).eps * 10 / layers.BATCHNORM_EPSILON**0.5


def test_batch_norm_of_one_example_is_0_and_passes_no_gradient():
    A = normal(5, 1)
    assert layers.apply_batchnorm(A).eq(0).all()
    assert layers.apply_batchnorm(A[:, 0]).mean() == pytest.approx(0)  # one unit
    with pytest.raises(InputError, match=r"^A: expected \(\.\.\., n, m\), got \(5,\)"):
        layers.apply_batchnorm(A[:, 0], over="matrix")
    assert layers.exact_batchnorm_backward(normal(5, 1, seed=1), A).eq(0).all()


FORMS = pytest.mark.parametrize(
    ("form", "formula"),
    [
        ({"epsilon": 0.1}, lambda A: (A - A.mean(-1, keepdims=True)) / np.sqrt(A.var(-1, keepdims=True) + 0.1)),
        (
            {"epsilon": 0.1, "epsilon_added_to": "deviation"},
            lambda A: (A - A.mean(-1, keepdims=True)) / (A.std(-1, keepdims=True) + 0.1),
        ),
        (
            {"variance": "unbiased"},
            lambda A: (A - A.mean(-1, keepdims=True)) / np.sqrt(A.var(-1, ddof=1, keepdims=True) + 1e-8),
        ),
        (
            {"over": "matrix"},
            lambda A: (A - A.mean((-2, -1), keepdims=True)) / np.sqrt(A.var((-2, -1), keepdims=True) + 1e-8),
        ),
        (
            {"over": "matrix", "variance": "unbiased", "epsilon_added_to": "deviation", "epsilon": 0.1},
            lambda A: (A - A.mean((-2, -1), keepdims=True)) / (A.std((-2, -1), ddof=1, keepdims=True) + 0.1),
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)


@REPLICAS
@FORMS
def test_every_form_of_normalization_is_its_formula(form, formula, replicas):
    A = normal(*replicas, 5, 8)
    assert_close(layers.apply_batchnorm(A, **form), torch.from_numpy(formula(A.numpy())), **EXACT)


def test_one_number_has_no_unbiased_variance():
    with pytest.raises(InputError, match=r"^A: expected two or more examples for an unbiased variance, got \(5, 1\)$"):
        layers.apply_batchnorm(normal(5, 1), variance="unbiased")
    assert layers.apply_batchnorm(normal(5, 1), variance="unbiased", over="matrix").isfinite().all()


def test_without_l2_there_is_none():
    dZ, cache = normal(3, 6), (normal(4, 6), normal(3, 4), normal(3, 1))
    for ours, expected in zip(layers.linear_backward(dZ, cache), layers.linear_backward(dZ, cache, 0.0), strict=True):
        assert torch.equal(ours, expected)


A, W, B = normal(4, 6), normal(3, 4), normal(3, 1)


@pytest.mark.parametrize(
    ("mistake", "argument"),
    [
        (lambda: layers.linear_forward(A, W[:, 1:], B), r"W: expected \(..., out, 4\), got \(3, 3\)"),
        (lambda: layers.linear_forward(A.T, W, B), r"W: expected \(..., out, 6\), got \(3, 4\)"),
        (lambda: layers.linear_activation_forward(A, W, B, "tanh"), "activation"),
        (lambda: layers.linear_activation_backward(normal(3, 6), ((A, W, B), normal(3, 6)), "tanh"), "activation"),
        (lambda: layers.linear_activation_backward(normal(3, 6), None, "relu"), "cache"),
        (lambda: layers.linear_activation_backward(normal(3, 6), ((A, W), normal(3, 6)), "relu"), "cache"),
        (lambda: layers.apply_batchnorm(A, over="units"), "over"),
        (lambda: layers.apply_batchnorm(A, epsilon=0.0), "epsilon"),
        *[
            (lambda L2=L2: layers.linear_backward(normal(3, 6), (A, W, B), L2), "L2")
            for L2 in (-0.1, float("nan"), float("inf"), True, "much", torch.tensor([0.1, 0.1]))
        ],
    ],
)
def test_a_mistake_is_named(mistake, argument):
    with pytest.raises(InputError, match=f"^{argument}"):
        mistake()
