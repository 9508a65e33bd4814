"""docs/backprop.md: every displayed formula holds in numbers, every program prints what it says, every link leads on.

A formula of the page stands under `<!-- identity: NAME -->`. Here its check stands under `@identity("NAME")`, with the
formula itself as the docstring: neither can be changed without the other.
"""

import importlib
import inspect
import re
from contextlib import chdir, redirect_stdout
from io import StringIO

import pytest
import torch
from pipeline import REPOSITORY
from problems import normal, problem
from torch.autograd import grad
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from nnlib.core import layers, model
from nnlib.data.catalogue import MNIST
from nnlib.data.dataset import preprocess
from nnlib.data.files import save_tensors
from nnlib.data.raw import load_raw

DOCS = REPOSITORY / "docs"
PAGE = (DOCS / "backprop.md").read_text(encoding="utf-8")
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"^<!-- identity: ([a-z0-9-]+) -->\n```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)

CHECKS = {}


def identity(name):
    """Register the check of one displayed formula."""

    def register(check):
        assert name not in CHECKS
        CHECKS[name] = check
        return check

    return register


def equal(*sides, atol=1e-9):
    """Every side of a formula is the first."""
    first, *others = (torch.as_tensor(side, dtype=torch.float64) for side in sides)
    for other in others:
        assert_close(other, first, rtol=atol, atol=atol)


def change(function, X, dX, t=1e-5):
    """δ function, to first order, for the change dX of X: a centred difference."""
    return (function(X + t * dX) - function(X - t * dX)) / (2 * t)


# One layer of 3 units over 4 features and 6 examples.
m = 6
A_prev, W, b = normal(4, m, seed=1), normal(3, 4, seed=2), normal(3, 1, seed=3)
Z, dZ, dA = normal(3, m, seed=4), normal(3, m, seed=5), normal(3, m, seed=6)
Y = torch.eye(3, dtype=torch.float64).repeat(1, 2)
L2, RATE, C = 0.7, 0.1, 3.0
ONES = torch.ones(m, 1, dtype=torch.float64)


def log_sum(Z):
    return Z.exp().sum(0).log()


def loss(Z):
    """Σ of the examples' losses, from the scores."""
    return (log_sum(Z) - (Y * Z).sum(0)).sum()


# One unit's activations, and what batch norm makes of them. An ε that is not small shows where it belongs.
EPSILON = 0.1
a, da_hat = normal(m, seed=7), normal(m, seed=8)


def batchnorm_parts(a):
    """The five lines of batch norm, as autograd sees them."""
    mu = a.sum() / m
    c = a - mu
    variance = (c**2).sum() / m
    s = (variance + EPSILON).sqrt()
    return mu, c, variance, s, c / s


def batchnorm_derivatives():
    """By autograd: dμ, dc, dσ², ds, da of Σ dâ â."""
    leaf = a.clone().requires_grad_()
    mu, c, variance, s, a_hat = batchnorm_parts(leaf)
    return grad((da_hat * a_hat).sum(), [mu, c, variance, s, leaf])


MU, CENTRED, VARIANCE, S, A_HAT = batchnorm_parts(a)
DMU, DC, DVARIANCE, DS, DA = batchnorm_derivatives()
MEAN_PRODUCT = (da_hat * A_HAT).mean()


# A network with two hidden layers. nnlib's ε is 1e-8 there, and what holds without ε holds so nearly.
NEARLY = 1e-6
X, LABELS = problem(9)


def network(seed=0):
    """(W1, b1, ...), the biases not 0."""
    parameters = model.initialize_parameters([6, 5, 4, 3], initialization="he_fan_out", seed=seed, dtype=torch.float64)
    return {name: value + normal(*value.shape, seed=seed) / 4 for name, value in parameters.items()}


def cost(parameters, L2=0.0, batchnorm="exact"):
    AL, _ = model.l_model_forward(X, parameters, batchnorm)
    return model.compute_cost(AL, LABELS, parameters, L2)


def gradients(parameters, batchnorm, L2=0.0):
    """nnlib's gradients, and the caches."""
    AL, caches = model.l_model_forward(X, parameters, batchnorm)
    return model.l_model_backward(AL, LABELS, caches, L2, batchnorm=batchnorm), caches


def scaled(parameters, layer, factor):
    """W and b of one layer times a factor."""
    return parameters | {name: factor * parameters[name] for name in (f"W{layer}", f"b{layer}")}


def theta(parameters, layer):
    return torch.cat([parameters[f"W{layer}"], parameters[f"b{layer}"]], 1)


def g(grads, layer):
    return torch.cat([grads[f"dW{layer}"], grads[f"db{layer}"]], 1)


def all_dZ(parameters, batchnorm):
    """dZ1, ..., dZL by the recursion of the page."""
    AL, caches = model.l_model_forward(X, parameters, batchnorm)
    chain = [AL - LABELS]
    for layer in range(len(caches) - 1, 0, -1):
        dA = parameters[f"W{layer + 1}"].T @ chain[0]
        if batchnorm != "none":
            dA = layers.BATCHNORM_BACKWARD[batchnorm](dA, caches[layer - 1].A)
        chain.insert(0, (caches[layer - 1][1] > 0) * dA)
    return chain, caches


@identity("cost")
def _():
    r"""
    J = \frac{1}{m} \sum_{k=1}^{m} \ell_k + \frac{\lambda}{2m} \sum_{l=1}^{L} \sum_{i,j} (W_l)_{ij}^2,
    \qquad
    \ell_k = - \sum_i Y_{ik} \log (A_L)_{ik}
    """
    parameters, m = network(), X.shape[1]
    AL, _ = model.l_model_forward(X, parameters, "exact")
    losses = [-sum(LABELS[i, k] * AL[i, k].log() for i in range(3)) for k in range(m)]
    squares = sum((parameters[f"W{layer}"] ** 2).sum() for layer in (1, 2, 3))
    equal(cost(parameters, L2), sum(losses) / m + L2 / (2 * m) * squares)


@identity("convention")
def _():
    r"""
    dA_{ik} = m \, \frac{\partial J}{\partial A_{ik}}, \qquad
    dZ_{ik} = m \, \frac{\partial J}{\partial Z_{ik}}, \qquad
    dW_{ij} = \frac{\partial J}{\partial W_{ij}}, \qquad
    db_i = \frac{\partial J}{\partial b_i}
    """
    parameters = {name: value.requires_grad_() for name, value in network().items()}
    AL, caches = model.l_model_forward(X, parameters, "exact")
    J = model.compute_cost(AL, LABELS, parameters, L2)
    grads = model.l_model_backward(AL, LABELS, caches, L2, batchnorm="exact")
    dZ, _ = all_dZ(parameters, "exact")
    for layer in (1, 2, 3):
        equal(grads[f"dW{layer}"], grad(J, parameters[f"W{layer}"], retain_graph=True)[0])
        equal(grads[f"db{layer}"], grad(J, parameters[f"b{layer}"], retain_graph=True)[0])
        equal(dZ[layer - 1], X.shape[1] * grad(J, caches[layer - 1][1], retain_graph=True)[0])
    for layer in (1, 2):
        A_norm = caches[layer][0][0]
        equal(grads[f"dA{layer}"], X.shape[1] * grad(J, A_norm, retain_graph=True)[0])


@identity("small-change")
def _():
    r"""m \, \delta J = \sum dZ \odot \delta Z"""
    dZ, delta = Z.softmax(0) - Y, dA
    equal(m * change(lambda Z: model.compute_cost_from_logits(Z, Y), Z, delta), (dZ * delta).sum())


@identity("moving-products")
def _():
    r"""\sum U \odot (M V) = \sum (M^\top U) \odot V = \sum (U V^\top) \odot M"""
    U, M, V = dZ, W, A_prev
    equal((U * (M @ V)).sum(), ((M.T @ U) * V).sum(), ((U @ V.T) * M).sum())
    equal((U * (M @ V)).sum(), torch.einsum("ik,ij,jk->", U, M, V))


@identity("softmax")
def _():
    r"""A_{ik} = \frac{e^{Z_{ik}}}{\sum_j e^{Z_{jk}}}"""
    equal(layers.softmax(Z)[0], Z.exp() / Z.exp().sum(0))


@identity("softmax-shift")
def _():
    r"""\frac{e^{Z_{ik} - c_k}}{\sum_j e^{Z_{jk} - c_k}} = \frac{e^{Z_{ik}}}{\sum_j e^{Z_{jk}}}"""
    shifted = Z - normal(m)
    equal(shifted.exp() / shifted.exp().sum(0), Z.exp() / Z.exp().sum(0))


@identity("loss-of-scores")
def _():
    r"""
    \ell_k = - \sum_i Y_{ik} \Bigl( Z_{ik} - \log \sum_j e^{Z_{jk}} \Bigr)
    = \log \sum_j e^{Z_{jk}} - \sum_i Y_{ik} Z_{ik}
    """
    losses = -(Y * layers.softmax(Z)[0].log()).sum(0)
    equal(losses, -(Y * (Z - log_sum(Z))).sum(0), log_sum(Z) - (Y * Z).sum(0))
    equal(losses.mean(), model.compute_cost_from_logits(Z, Y))


@identity("logarithm-of-sum")
def _():
    r"""
    \frac{\partial}{\partial Z_{ik}} \log \sum_j e^{Z_{jk}} = \frac{e^{Z_{ik}}}{\sum_j e^{Z_{jk}}} = A_{ik}
    """
    leaf = Z.clone().requires_grad_()
    equal(grad(log_sum(leaf).sum(), leaf)[0], Z.exp() / Z.exp().sum(0), layers.softmax(Z)[0])


@identity("output")
def _():
    r"""dZ = A_L - Y"""
    leaf = Z.clone().requires_grad_()
    equal(layers.softmax(Z)[0] - Y, grad(loss(leaf), leaf)[0])


@identity("softmax-change")
def _():
    r"""\delta A_{ik} = A_{ik} \Bigl( \delta Z_{ik} - \sum_j A_{jk} \, \delta Z_{jk} \Bigr)"""
    A, delta = layers.softmax(Z)[0], dZ
    equal(change(lambda Z: layers.softmax(Z)[0], Z, delta), A * (delta - (A * delta).sum(0)))


@identity("softmax-jacobian")
def _():
    r"""\frac{\partial A_{ik}}{\partial Z_{jk}} = A_{ik} \bigl( [i = j] - A_{jk} \bigr)"""
    for z in Z.T:
        A = z.softmax(0)
        equal(jacobian(lambda z: z.softmax(0), z), A[:, None] * (torch.eye(3) - A[None, :]))


@identity("softmax-recipe")
def _():
    r"""
    \sum_i dA_{ik} \, \delta A_{ik}
    = \sum_i dA_{ik} A_{ik} \, \delta Z_{ik} - \Bigl( \sum_i dA_{ik} A_{ik} \Bigr) \sum_j A_{jk} \, \delta Z_{jk}
    """
    A, delta = layers.softmax(Z)[0], dZ
    delta_A = change(lambda Z: layers.softmax(Z)[0], Z, delta)
    equal((dA * delta_A).sum(0), (dA * A * delta).sum(0) - (dA * A).sum(0) * (A * delta).sum(0))


@identity("softmax-backward")
def _():
    r"""dZ_{ik} = A_{ik} \Bigl( dA_{ik} - \sum_j dA_{jk} A_{jk} \Bigr)"""
    A, leaf = layers.softmax(Z)[0], Z.clone().requires_grad_()
    equal(
        layers.softmax_backward(dA, Z), A * (dA - (dA * A).sum(0)), grad((dA * layers.softmax(leaf)[0]).sum(), leaf)[0]
    )


@identity("softmax-short-form")
def _():
    r"""A_{ik} \Bigl( - \frac{Y_{ik}}{A_{ik}} + 1 \Bigr) = A_{ik} - Y_{ik}"""
    A = layers.softmax(Z)[0]
    equal(A * (-Y / A + 1), A - Y, layers.softmax_backward(-Y / A, Z))


@identity("linear-forward")
def _():
    r"""Z = W A_{\mathrm{prev}} + b \, \mathbf 1^\top"""
    equal(layers.linear_forward(A_prev, W, b)[0], W @ A_prev + b @ ONES.T)


def linear_changes():
    """Changes of A_prev, W and b, and the change of Z that they make."""
    deltas = normal(4, m, seed=11), normal(3, 4, seed=12), normal(3, 1, seed=13)
    ahead, behind = (
        layers.linear_forward(*(value + t * delta for value, delta in zip((A_prev, W, b), deltas, strict=True)))[0]
        for t in (1e-5, -1e-5)
    )
    return *deltas, (ahead - behind) / 2e-5


@identity("linear-change")
def _():
    r"""
    \delta Z = W \, \delta A_{\mathrm{prev}} + \delta W \, A_{\mathrm{prev}} + \delta b \, \mathbf 1^\top
    """
    delta_A, delta_W, delta_b, delta_Z = linear_changes()
    equal(delta_Z, W @ delta_A + delta_W @ A_prev + delta_b @ ONES.T)


@identity("linear-recipe")
def _():
    r"""
    \sum dZ \odot \delta Z
    = \sum (W^\top dZ) \odot \delta A_{\mathrm{prev}}
    + \sum (dZ \, A_{\mathrm{prev}}^\top) \odot \delta W
    + \sum (dZ \, \mathbf 1) \odot \delta b
    """
    delta_A, delta_W, delta_b, delta_Z = linear_changes()
    parts = (W.T @ dZ) * delta_A, (dZ @ A_prev.T) * delta_W, (dZ @ ONES) * delta_b
    equal((dZ * delta_Z).sum(), sum(part.sum() for part in parts))


@identity("linear-activations")
def _():
    r"""dA_{\mathrm{prev}} = W^\top dZ"""
    leaf = A_prev.clone().requires_grad_()
    equal(
        layers.linear_backward(dZ, (A_prev, W, b))[0],
        W.T @ dZ,
        grad((dZ * layers.linear_forward(leaf, W, b)[0]).sum(), leaf)[0],
    )


@identity("linear-parameters")
def _():
    r"""
    dW = \frac{1}{m} \, dZ \, A_{\mathrm{prev}}^\top, \qquad db = \frac{1}{m} \, dZ \, \mathbf 1
    """
    _, dW, db = layers.linear_backward(dZ, (A_prev, W, b))
    leaves = W.clone().requires_grad_(), b.clone().requires_grad_()
    expected = grad((dZ * layers.linear_forward(A_prev, *leaves)[0]).sum() / m, leaves)
    equal(dW, dZ @ A_prev.T / m, expected[0])
    equal(db, dZ @ ONES / m, expected[1])


@identity("l2-derivative")
def _():
    r"""
    \frac{\partial}{\partial W_{ij}} \, \frac{\lambda}{2m} \sum W^2 = \frac{\lambda}{m} W_{ij}
    """
    leaf = W.clone().requires_grad_()
    equal(grad(L2 / (2 * m) * (leaf**2).sum(), leaf)[0], L2 / m * W)


@identity("l2-backward")
def _():
    r"""dW = \frac{1}{m} \, dZ \, A_{\mathrm{prev}}^\top + \frac{\lambda}{m} W"""
    equal(layers.linear_backward(dZ, (A_prev, W, b), L2)[1], dZ @ A_prev.T / m + L2 / m * W)


@identity("l2-step")
def _():
    r"""
    W - \alpha \, dW = \Bigl( 1 - \frac{\alpha \lambda}{m} \Bigr) W - \frac{\alpha}{m} \, dZ \, A_{\mathrm{prev}}^\top
    """
    dW = layers.linear_backward(dZ, (A_prev, W, b), L2)[1]
    stepped = model.update_parameters({"W1": W}, {"dW1": dW}, RATE)["W1"]
    equal(stepped, W - RATE * dW, (1 - RATE * L2 / m) * W - RATE / m * dZ @ A_prev.T)


@identity("relu")
def _():
    r"""A_{ik} = \max(Z_{ik}, 0)"""
    equal(layers.relu(Z)[0], torch.where(Z > 0, Z, 0))


@identity("relu-backward")
def _():
    r"""
    dZ_{ik} = \begin{cases} dA_{ik} & \text{if } Z_{ik} > 0 \\ 0 & \text{else} \end{cases}
    """
    leaf = Z.clone().requires_grad_()
    equal(layers.relu_backward(dA, Z), torch.where(Z > 0, dA, 0), grad((dA * layers.relu(leaf)[0]).sum(), leaf)[0])
    assert layers.relu_backward(dA, torch.zeros_like(Z)).eq(0).all()


@identity("relu-scale")
def _():
    r"""\max(c Z, 0) = c \, \max(Z, 0), \qquad \sum Z \odot dZ = \sum A \odot dA"""
    A = layers.relu(Z)[0]
    equal(layers.relu(C * Z)[0], C * A)
    equal((Z * layers.relu_backward(dA, Z)).sum(), (A * dA).sum())


@identity("sigmoid")
def _():
    r"""A_{ik} = \frac{1}{1 + e^{-Z_{ik}}}, \qquad dZ_{ik} = dA_{ik} \, A_{ik} \, (1 - A_{ik})"""
    leaf = Z.clone().requires_grad_()
    A = 1 / (1 + (-leaf).exp())
    equal(layers.sigmoid(Z)[0], A.detach())
    equal(layers.sigmoid_backward(dA, Z), (dA * A * (1 - A)).detach(), grad((dA * A).sum(), leaf)[0])


@identity("batchnorm-forward")
def _():
    r"""
    \begin{aligned}
    \mu &= \frac{1}{m} \sum_k a_k \\
    c_k &= a_k - \mu \\
    \sigma^2 &= \frac{1}{m} \sum_k c_k^2 \\
    s &= \sqrt{\sigma^2 + \varepsilon} \\
    \hat a_k &= c_k / s
    \end{aligned}
    """
    equal(layers.apply_batchnorm(a, EPSILON), A_HAT)
    equal(MU, a.mean())
    equal(VARIANCE, a.var(correction=0))


@identity("batchnorm-ds")
def _():
    r"""ds = - \frac{1}{s^2} \sum_k d\hat a_k \, c_k"""
    equal(DS, -(da_hat * CENTRED).sum() / S**2)


@identity("batchnorm-dvariance")
def _():
    r"""d\sigma^2 = \frac{ds}{2 s}"""
    equal(DVARIANCE, DS / (2 * S))


@identity("batchnorm-dc")
def _():
    r"""dc_k = \frac{d\hat a_k}{s} + \frac{2}{m} c_k \, d\sigma^2"""
    equal(DC, da_hat / S + 2 / m * CENTRED * DVARIANCE)


@identity("batchnorm-dmean")
def _():
    r"""d\mu = - \sum_k dc_k"""
    equal(DMU, -DC.sum())


@identity("batchnorm-da")
def _():
    r"""da_k = dc_k + \frac{1}{m} d\mu"""
    equal(DA, DC + DMU / m, layers.exact_batchnorm_backward(da_hat, a, EPSILON))


@identity("batchnorm-dvariance-fused")
def _():
    r"""
    d\sigma^2 = - \frac{1}{2 s^3} \sum_k d\hat a_k \, c_k = - \frac{m}{2 s^2} \, \mathrm{mean}(d\hat a \odot \hat a)
    """
    equal(DVARIANCE, -(da_hat * CENTRED).sum() / (2 * S**3), -m / (2 * S**2) * MEAN_PRODUCT)


@identity("batchnorm-dc-fused")
def _():
    r"""dc_k = \frac{1}{s} \Bigl( d\hat a_k - \hat a_k \, \mathrm{mean}(d\hat a \odot \hat a) \Bigr)"""
    equal(DC, (da_hat - A_HAT * MEAN_PRODUCT) / S)


@identity("batchnorm-dmean-fused")
def _():
    r"""\frac{1}{m} d\mu = - \frac{1}{s} \, \mathrm{mean}(d\hat a)"""
    equal(DMU / m, -da_hat.mean() / S)


@identity("batchnorm-fused")
def _():
    r"""
    da_k = \frac{1}{s}
    \Bigl( d\hat a_k - \mathrm{mean}(d\hat a) - \hat a_k \, \mathrm{mean}(d\hat a \odot \hat a) \Bigr)
    """
    equal(DA, (da_hat - da_hat.mean() - A_HAT * MEAN_PRODUCT) / S, layers.exact_batchnorm_backward(da_hat, a, EPSILON))


@identity("batchnorm-blind")
def _():
    r"""
    \sum_k da_k = 0, \qquad \sum_k \hat a_k \, da_k = \frac{\varepsilon}{s^3} \sum_k \hat a_k \, d\hat a_k
    """
    equal(DA.sum(), 0)
    equal((A_HAT * DA).sum(), EPSILON / S**3 * (A_HAT * da_hat).sum())


@identity("batchnorm-jacobian")
def _():
    r"""
    \frac{\partial \hat a_j}{\partial a_k}
    = \frac{1}{s} \Bigl( [j = k] - \frac{1}{m} - \frac{\hat a_j \hat a_k}{m} \Bigr)
    """
    expected = (torch.eye(m, dtype=a.dtype) - 1 / m - A_HAT[:, None] * A_HAT[None, :] / m) / S
    equal(jacobian(lambda a: layers.apply_batchnorm(a, EPSILON), a), expected, expected.T)


@identity("straight-through")
def _():
    r"""dA = d\hat A"""
    equal(layers.straight_through_batchnorm_backward(dA, Z), dA)


@identity("network")
def _():
    r"""
    dZ_L = A_L - Y, \qquad
    dZ_l = [Z_l > 0] \odot B_l \bigl( W_{l+1}^\top \, dZ_{l+1} \bigr)
    \quad \text{for } l = L-1, \dots, 1
    """
    parameters = network()
    for batchnorm in ("none", "exact", "straight_through"):
        chain, caches = all_dZ(parameters, batchnorm)
        AL = caches[-1].activation_cache.softmax(0)
        grads = model.l_model_backward(AL, LABELS, caches, batchnorm=batchnorm)
        for layer, dZ in enumerate(chain, start=1):
            A_prev = caches[layer - 1][0][0]
            equal(grads[f"dW{layer}"], dZ @ A_prev.T / X.shape[1])
            equal(grads[f"db{layer}"], dZ.sum(1, keepdim=True) / X.shape[1])


@identity("scale")
def _():
    r"""
    \mathrm{batchnorm}_{\varepsilon} \bigl( \max(c Z, 0) \bigr)
    = \mathrm{batchnorm}_{\varepsilon / c^2} \bigl( \max(Z, 0) \bigr)
    """
    equal(
        layers.apply_batchnorm(layers.relu(C * Z)[0], EPSILON),
        layers.apply_batchnorm(layers.relu(Z)[0], EPSILON / C**2),
    )


@identity("cost-of-scaled")
def _():
    r"""J(c \, \theta) = J(\theta)"""
    for layer in (1, 2):
        equal(cost(scaled(network(), layer, C)), cost(network()), atol=NEARLY)
    assert abs(cost(scaled(network(), 1, C), batchnorm="none") - cost(network(), batchnorm="none")) > 0.01


@identity("orthogonal")
def _():
    r"""\langle \theta, g \rangle = \sum W \odot dW + \sum b \odot db = 0"""
    parameters = network()
    grads, _ = gradients(parameters, "exact")
    for layer in (1, 2):
        W, b, dW, db = (
            record[f"{name}{layer}"]
            for record, name in ((parameters, "W"), (parameters, "b"), (grads, "dW"), (grads, "db"))
        )
        product = theta(parameters, layer) * g(grads, layer)
        equal(product.sum(), (W * dW).sum() + (b * db).sum(), 0, atol=NEARLY)
        equal(product.sum(1), torch.zeros(len(W)), atol=NEARLY)  # unit by unit
        assert (W * dW).sum().abs() > 1e-3  # not without the biases


@identity("step-length")
def _():
    r"""
    \lVert \theta - \alpha g \rVert^2
    = \lVert \theta \rVert^2 - 2 \alpha \langle \theta, g \rangle + \alpha^2 \lVert g \rVert^2
    """
    parameters = network()
    for batchnorm in ("exact", "straight_through"):
        grads, _ = gradients(parameters, batchnorm)
        stepped = model.update_parameters(parameters, grads, RATE)
        long, along, short = (
            theta(parameters, 1).norm() ** 2,
            (theta(parameters, 1) * g(grads, 1)).sum(),
            g(grads, 1).norm() ** 2,
        )
        equal(theta(stepped, 1).norm() ** 2, long - 2 * RATE * along + RATE**2 * short)


@identity("gradient-of-scaled")
def _():
    r"""g(c \, \theta) = \frac{1}{c} \, g(\theta)"""
    for layer in (1, 2):
        grads, longer = (gradients(scaled(network(), layer, c), "exact")[0] for c in (1, C))
        equal(g(longer, layer), g(grads, layer) / C, atol=NEARLY)


@identity("part-along")
def _():
    r"""
    \langle \theta, g \rangle = \frac{1}{m} \sum Z \odot dZ = \frac{1}{m} \sum A \odot dA
    """
    parameters, m = network(), X.shape[1]
    for batchnorm in ("exact", "straight_through"):
        grads, caches = gradients(parameters, batchnorm)
        dZ, _ = all_dZ(parameters, batchnorm)
        for layer in (1, 2):
            _, Z, A = caches[layer - 1]
            dA = layers.BATCHNORM_BACKWARD[batchnorm](grads[f"dA{layer}"], A)
            along = (theta(parameters, layer) * g(grads, layer)).sum()
            equal(along, (Z * dZ[layer - 1]).sum() / m, (A * dA).sum() / m)


@identity("unit-exact")
def _():
    r"""\mathrm{mean}(a \odot da) = \frac{\varepsilon}{s^2} \, \mathrm{mean}(\hat a \odot d\hat a)"""
    equal((a * DA).mean(), EPSILON / S**2 * MEAN_PRODUCT)


@identity("unit-straight-through")
def _():
    r"""
    \mathrm{mean}(a \odot da) = \mu \, \mathrm{mean}(d\hat a) + s \, \mathrm{mean}(\hat a \odot d\hat a)
    """
    da = layers.straight_through_batchnorm_backward(da_hat, a)
    equal((a * da).mean(), MU * da_hat.mean() + S * MEAN_PRODUCT)


@identity("handed-down")
def _():
    r"""\frac{1}{m} \sum \hat A_l \odot d\hat A_l = \sum W_{l+1} \odot dW_{l+1}"""
    parameters = network()
    for batchnorm in ("exact", "straight_through"):
        grads, caches = gradients(parameters, batchnorm)
        for layer in (1, 2):
            A_norm = caches[layer][0][0]
            product = parameters[f"W{layer + 1}"] * grads[f"dW{layer + 1}"]
            equal((A_norm * grads[f"dA{layer}"]).sum() / X.shape[1], product.sum())


@identity("output-part-along")
def _():
    r"""
    \langle \theta_L, g_L \rangle
    = \frac{1}{m} \sum_k \Bigl( \sum_i (A_L)_{ik} Z_{ik} - \sum_i Y_{ik} Z_{ik} \Bigr)
    """
    parameters = network()
    grads, caches = gradients(parameters, "exact")
    Z = caches[-1][1]
    expected = ((Z.softmax(0) * Z).sum(0) - (LABELS * Z).sum(0)).mean()
    equal((theta(parameters, 3) * g(grads, 3)).sum(), expected)


@identity("straight-through-of-scaled")
def _():
    r"""
    g_l(c \, \theta_l) = g_l(\theta_l), \qquad g_l(c \, \theta_j) = c \, g_l(\theta_j) \quad \text{for } j > l
    """
    grads, first_longer, second_longer = (
        gradients(scaled(network(), layer, c), "straight_through")[0] for layer, c in ((1, 1), (1, C), (2, C))
    )
    equal(g(first_longer, 1), g(grads, 1), atol=NEARLY)
    equal(g(second_longer, 2), g(grads, 2), atol=NEARLY)
    equal(g(second_longer, 1), C * g(grads, 1), atol=NEARLY)
    exact, exact_longer = (gradients(scaled(network(), 2, c), "exact")[0] for c in (1, C))
    equal(g(exact_longer, 1), g(exact, 1), atol=NEARLY)


def in_one_line(formula):
    return " ".join(formula.split())


@pytest.mark.parametrize("name", CHECKS)
def test_a_displayed_formula_holds(name):
    CHECKS[name]()


def test_every_displayed_formula_has_a_check_and_is_the_one_that_is_checked():
    displayed = FORMULA.findall(PAGE)
    assert len(displayed) == len([kind for kind, _ in FENCE.findall(PAGE) if kind == "math"]) == PAGE.count("```math")
    assert [name for name, _ in displayed] == list(CHECKS)
    for name, formula in displayed:
        assert in_one_line(formula) == in_one_line(CHECKS[name].__doc__), name


@pytest.fixture(scope="module")
def reproduced(mnist, tmp_path_factory):
    """A folder with the study's training set where `dvc repro` puts it."""
    folder, raw = tmp_path_factory.mktemp("reproduced"), load_raw(mnist, MNIST)
    dataset = preprocess(*raw)
    path = folder / "data" / "processed" / "mnist.safetensors"
    path.parent.mkdir(parents=True)
    save_tensors(path, {name: dataset[name] for name in ("X_train", "Y_train")})
    return folder


PROGRAMS = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.(])-?\d+\.?\d*(?:e[+-]\d+)?(?![\w,)])")


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_a_program_prints_what_the_page_says(program, reproduced):
    source, said = PROGRAMS[program]
    printed = StringIO()
    with chdir(reproduced), redirect_stdout(printed):
        exec(source, {})
    # In words to the letter, in numbers nearly: another machine's matrix products round in another way.
    assert NUMBER.sub("#", printed.getvalue()).split() == NUMBER.sub("#", said).split()
    numbers, expected = ([float(number) for number in NUMBER.findall(text)] for text in (printed.getvalue(), said))
    assert numbers == pytest.approx(expected, rel=0.1, abs=1e-11)


def test_every_program_shows_what_it_prints():
    kinds = [kind for kind, _ in FENCE.findall(PAGE)]
    assert len(PROGRAMS) == kinds.count("python") == kinds.count("text") > 0
    assert set(kinds) == {"math", "python", "text"}


def without_fences(page):
    return FENCE.sub("", page)


LINK = re.compile(r"\[([^]]+)\]\(([^)\s]+)\)")
PAGES = sorted(DOCS.glob("*.md"))


def function(label, target):
    """What a link such as [`relu`](../nnlib/core/layers.py) names, or None if the module has no such function."""
    path = (DOCS / target).resolve().relative_to(REPOSITORY).with_suffix("")
    module = importlib.import_module(".".join(path.parts).removesuffix(".__init__"))
    found = getattr(module, label.strip("`").rsplit(".", 1)[-1], None)
    return found if inspect.isfunction(found) and found.__module__ == module.__name__ else None


def functions(text):
    """The links of a text that name a function of nnlib."""
    return [(label, target) for label, target in LINK.findall(text) if label[0] == "`" and "/nnlib/" in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file_and_to_a_function_that_is_in_it(page):
    text = without_fences(page.read_text(encoding="utf-8"))
    for _, target in LINK.findall(text):
        assert "#" not in target, f"{target}: a line or a heading may move"
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"
    for label, target in functions(text):
        assert function(label, target), f"{page.name}: {target} has no function {label}"


def test_a_link_to_a_function_that_is_not_there_or_only_imported_is_noticed():
    assert function("`relu`", "../nnlib/core/layers.py")
    assert not function("`relu`", "../nnlib/core/model.py")
    assert not function("`linear_backward`", "../nnlib/core/model.py")  # imported
    assert not function("`BATCHNORM_EPSILON`", "../nnlib/core/layers.py")


def test_every_section_ends_with_the_functions_that_are_its_formulas():
    _, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for section in sections:
        last = section.rstrip().split("\n\n")[-1]
        assert last.startswith("In code"), section[:40]
        assert functions(last), section[:40]


def test_every_backward_of_nnlib_is_derived():
    linked = {label.strip("`") for label, _ in functions(PAGE)}
    backwards = {name for module in (layers, model) for name in vars(module) if name.endswith("_backward")}
    assert backwards <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_formulas_are_written_as_github_renders_them(page):
    """In the text $`...`$, which Markdown leaves alone, with nothing right beside it that makes it no formula."""
    page = page.read_text(encoding="utf-8")
    text = without_fences(page)
    inline = re.findall(r"(?<![^\s(])\$`([^`$\n]+)`\$(?=[\s.,;:)]|$)", text, re.MULTILINE)
    assert text.count("$") == 2 * len(inline)
    for formula in [*inline, *(formula for kind, formula in FENCE.findall(page) if kind == "math")]:
        assert formula.count("{") == formula.count("}"), formula
        assert "\n\n" not in formula, formula
        # GitHub refuses these, or what they define does not outlive the formula.
        assert not re.search(r"\\(operatorname|label|e?q?ref|tag|def|newcommand|require|href|unicode|style)\b", formula)


def test_the_glossary_explains_each_word_once():
    entries = re.split(r"^- ", GLOSSARY, flags=re.MULTILINE)[1:]
    words = [re.fullmatch(r"\*\*([\w -]+)\*\*: .+\.\n", entry, re.DOTALL)[1] for entry in entries]
    assert len(words) == len(set(words)) > 10
