# mypy: allow-untyped-defs, allow-untyped-calls
"""The assignment's functions in NumPy, one column an example. What people change by mistake is a keyword.

By default they compute what nnlib's functions compute; a test compares the two. A network is [(W1, b1), (W2, b2), ...].
`parts` has the functions that a composed one calls: these, or a solution's own, so that what is wrong with one is not
held against all that use it.
"""

import numpy as np


def linear_forward(A, W, b, *, bias="of units"):
    return W @ A + (0 if bias == "none" else b.T if bias == "of examples" else b)


def relu(Z):
    return np.maximum(Z, 0)


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def softmax(Z, *, axis=0, largest="of the example"):
    Z = Z - {"of the example": Z.max(axis, keepdims=True), "of the matrix": Z.max(), "not subtracted": 0}[largest]
    return np.exp(Z) / np.exp(Z).sum(axis, keepdims=True)


def linear_activation_forward(A, W, b, activation, *, parts):
    return parts[activation](parts["linear_forward"](A, W, b))


def apply_batchnorm(A, *, epsilon, axis=1, variance="biased", power=0.5, outside=False, bracket=True):
    mean = A.mean(axis, keepdims=True)
    m, squares = A.size / mean.size, ((A - mean) ** 2).sum(axis, keepdims=True)
    squared_sum = (A - mean).sum(axis, keepdims=True) ** 2
    variances = {"biased": squares / m, "unbiased": squares / (m - 1), "sum": squares, "squared sum": squared_sum}
    square = variances[variance]
    deviation = square**power + epsilon if outside else (square + epsilon) ** power
    return (A - mean) / deviation if bracket else A - mean / deviation


# The steps of a hidden layer, by what is normalized.
STEPS = {
    "activations": "linear relu norm",
    "inputs": "norm linear relu",
    "Z": "linear norm relu",
    "output, too": "linear relu norm",
    "nothing": "linear relu",
}


def forward(X, network, use_batchnorm, output, parts, normalized="activations"):
    """AL, and every step on the way: what it is, in which layer, with which input."""
    A, steps = X, []
    for layer, (W, b) in enumerate(network):
        hidden = layer < len(network) - 1
        for step in STEPS[normalized].split():
            if step == "norm" and not (use_batchnorm and (hidden or normalized == "output, too")):
                continue
            steps.append((step, layer, A))
            name = {"linear": "linear_forward", "norm": "apply_batchnorm", "relu": "relu" if hidden else output}[step]
            A = parts[name](A, W, b) if step == "linear" else parts[name](A)
    return A, steps


def l_model_forward(X, network, use_batchnorm, output, *, parts, normalized="activations"):
    return forward(X, network, use_batchnorm, output, parts, normalized)[0]


def predict(X, Y, network, use_batchnorm, output, *, parts, normalized="activations", gives="share", ignored=False):
    AL, _ = forward(X, network, use_batchnorm and not ignored, output, parts, normalized)
    classes, labels = (AL[0] > 0.5, Y[0] > 0.5) if len(Y) == 1 else (AL.argmax(0), Y.argmax(0))
    share = np.mean(classes == labels)
    return {"share": share, "percent": 100 * share, "classes": classes}[gives]


def compute_cost(AL, Y, network, L2=0, *, epsilon, binary=False, by="m", guard=True, decay="W", half=True, mean=True):
    m = Y.shape[1]
    losses = -Y * np.log(AL + epsilon)
    if binary or len(Y) == 1:
        losses = losses - (1 - Y) * np.log(1 - AL + epsilon)
    if guard:
        losses = np.where((Y == 0) & (AL == 0), 0, losses)
    divisor = {"m": m, "classes": len(Y), "entries": Y.size, "features": network[0][0].shape[1], "none": 1}[by]
    counted = network[:-1] if decay == "W of hidden layers" else network
    squares = sum(((W.T @ W) if decay == "WᵀW" else W**2).sum() for W, _ in counted)
    squares += sum((b**2).sum() for _, b in network) if decay == "W and b" else 0
    return losses.sum() / divisor + L2 * squares / (2 if half else 1) / (m if mean else 1)


cost_with_l2 = compute_cost


def linear_backward(dZ, A, W, b, L2=0, *, by="m", db_by="as dW", decay="mean", decay_b=False):
    m = A.shape[1]
    by = {"m": m, "features": len(A), "none": 1}[by]
    db = dZ.sum(1, keepdims=True) / {"as dW": by, "m": m, "none": 1}[db_by]
    factor = L2 * {"mean": 1 / m, "sum": 1, "none": 0}[decay]
    return W.T @ dZ, dZ @ A.T / by + factor * W, db + (factor * b if decay_b else 0)


def relu_backward(dA, Z, *, where="Z"):
    return np.where({"Z": Z, "dA": dA, "everywhere": np.ones_like(Z)}[where] > 0, dA, 0)


def sigmoid_backward(dA, Z):
    return dA * sigmoid(Z) * (1 - sigmoid(Z))


def softmax_backward(dA, Z, Y, *, short=False, diagonal=False):
    A = softmax(Z)
    return A - Y if short else dA * A * (1 - A) if diagonal else A * (dA - (dA * A).sum(0))


def batchnorm_backward(dA_norm, A, *, parts, derivative="true"):
    """By differences, which fit whatever it is that normalizes."""
    steps, normalize = 1e-6 * np.eye(A.size).reshape(-1, *A.shape), parts["apply_batchnorm"]
    dA = [(dA_norm * (normalize(A + step) - normalize(A - step))).sum() / 2e-6 for step in steps]
    true = np.reshape(dA, A.shape)
    return {"true": true, "left out": dA_norm, "times": true * (A.var(1, keepdims=True) + 1e-8)}[derivative]


def linear_activation_backward(dA, A, W, b, L2=0, *, parts):
    return parts["linear_backward"](parts["relu_backward"](dA, parts["linear_forward"](A, W, b)), A, W, b, L2)


def l_model_backward(
    X,
    Y,
    network,
    use_batchnorm,
    output,
    L2=0,
    *,
    parts,
    normalized="activations",
    start="AL - Y",
    derivative="true",
    where="Z",
    decay="mean",
    times="1",
):
    """[dW1, db1, dW2, db2, ...]"""
    AL, steps = forward(X, network, use_batchnorm, output, parts, normalized)
    m, last, above = X.shape[1], len(network) - 1, None
    grads: list[np.ndarray] = []
    d = {"AL - Y": AL - Y, "Y - AL": Y - AL, "softmax twice": softmax_backward(AL - Y, steps[-1][2], Y)}[start]
    for step, layer, A in reversed(steps):
        if step == "linear":
            decays = L2 * {"mean": 1, "sum": m, "none": 0, "hidden": layer < last}[decay]
            factor = {"1": 1, "m": m, "1/layer": 1 / max(min(layer + 1, last), 1)}[times]
            d, dW, db = parts["linear_backward"](d, A, *network[layer], decays)
            grads, above = [dW * factor, db * factor, *grads], A
            d = d * (factor if times == "1/layer" else 1)
        elif step == "norm":
            d = batchnorm_backward(d, A, parts=parts, derivative=derivative)
        elif layer < last:
            d = parts["relu_backward"](d, {"Z": A, "A_norm": above, "everywhere": np.ones_like(A)}[where])
    return grads


def update_parameters(network, grads, learning_rate, m, L2=0, *, sign=-1, biases="all", decay="mean"):
    values = []
    for (W, b), dW, db in zip(network, grads[::2], grads[1::2], strict=True):
        dW = dW + L2 / (m if decay == "mean" else 1) * W
        db = {"all": db, "none": 0 * db, "as the first": 0 * db + db[0]}[biases]
        values += [W + sign * learning_rate * dW, b + sign * learning_rate * db]
    return values
