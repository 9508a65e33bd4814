"""Right, too: torch in float32, one row an example, capitals, dictionaries, all divided by m at the end."""

import itertools

import torch
import torch.nn.functional as F


def Initialize_Parameters(layer_dims):
    weights = [torch.randn(n, m) / m**0.5 for m, n in itertools.pairwise(layer_dims)]
    return {k: (W, torch.zeros(len(W), 1)) for k, W in enumerate(weights, start=1)}


def Linear_forward(A, W, b):
    return F.linear(A, W, b.flatten()), {"A": A, "W": W, "b": b}


def Softmax(Z):
    return torch.softmax(Z, dim=1), {"Z": Z}


def Relu(Z):
    return Z.clamp(min=0), {"Z": Z}


def Linear_activation_forward(A_prev, W, B, activation):
    Z, linear = Linear_forward(A_prev, W, B)
    A, _ = {"relu": Relu, "softmax": Softmax}[activation](Z)
    return A, {**linear, "Z": Z}


def deviation(A):
    return torch.sqrt(A.var(dim=0, unbiased=False) + 1e-6)


def Apply_BatchNorm(A):
    return (A - A.mean(dim=0)) / deviation(A)


def L_model_forward(X, parameters, batch_norm):
    A, caches = X, []
    for k, (W, b) in parameters.items():
        A, cache = Linear_activation_forward(A, W, b, "softmax" if k == len(parameters) else "relu")
        caches.append({**cache, "raw": A})
        if batch_norm and k < len(parameters):
            A = Apply_BatchNorm(A)
            caches[-1]["normalized"] = True
    return A, caches


def Compute_cost(AL, Y):
    return -(Y * torch.log(AL + 1e-7)).sum(dim=1).mean().item()


def compute_cost_with_L2_regularization(AL, Y, parameters, lambd):
    return Compute_cost(AL, Y) + lambd / (2 * len(Y)) * sum((W**2).sum().item() for W, _ in parameters.values())


def Linear_backward(dZ, cache, lambd=0):
    return {"dA": dZ @ cache["W"], "dW": dZ.T @ cache["A"] + lambd * cache["W"], "db": dZ.sum(dim=0)}


def Relu_backward(dA, activation_cache):
    return dA * (activation_cache["Z"] > 0)


def Softmax_backward(dA, activation_cache):
    """Is given Y."""
    return torch.softmax(activation_cache["Z"], dim=1) - dA


def Linear_activation_backward(dA, cache, activation, lambd=0):
    dZ = Relu_backward(dA, cache) if activation == "relu" else Softmax_backward(dA, cache)
    return Linear_backward(dZ, cache, lambd)


def L_model_backward(AL, Y, caches, lambd=0):
    grads, dA = {}, Y
    for k in range(len(caches), 0, -1):
        if "normalized" in caches[k - 1]:
            A = caches[k - 1]["raw"]
            s, A_norm = deviation(A), Apply_BatchNorm(A)
            dA = (dA - dA.mean(dim=0) - A_norm * (dA * A_norm).mean(dim=0)) / s
        found = Linear_activation_backward(dA, caches[k - 1], "relu" if k < len(caches) else "softmax", lambd)
        dA, grads[f"dw{k}"], grads[f"dB{k}"] = found["dA"], found["dW"] / len(Y), found["db"] / len(Y)
    return grads


def Update_parameters(parameters, grads, learning_rate):
    return {
        k: (W - learning_rate * grads[f"dw{k}"], b - learning_rate * grads[f"dB{k}"][:, None])
        for k, (W, b) in parameters.items()
    }


def Predict(X, Y, parameters, batch_norm):
    right = L_model_forward(X, parameters, batch_norm)[0].argmax(dim=1) == Y.argmax(dim=1)
    return 100 * right.float().mean().item(), right
