"""The assignment done right: NumPy, one column an example, new arrays for updated parameters."""

import numpy as np


def initialize_parameters(layer_dims):
    parameters = {}
    for k in range(1, len(layer_dims)):
        shape = layer_dims[k], layer_dims[k - 1]
        parameters[f"W{k}"] = np.random.randn(*shape) * np.sqrt(2 / shape[1])
        parameters[f"b{k}"] = np.zeros((shape[0], 1))
    return parameters


def linear_forward(A, W, b):
    return np.dot(W, A) + b, (A, W, b)


def softmax(Z):
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return E / E.sum(axis=0, keepdims=True), Z


def relu(Z):
    return np.maximum(Z, 0), Z


def linear_activation_forward(A_prev, W, B, activation):
    Z, linear_cache = linear_forward(A_prev, W, B)
    A, activation_cache = softmax(Z) if activation == "softmax" else relu(Z)
    return A, (linear_cache, activation_cache)


def apply_batchnorm(A):
    return (A - A.mean(axis=1, keepdims=True)) / np.sqrt(A.var(axis=1, keepdims=True) + 1e-8)


def batchnorm_backward(dA_norm, A):
    A_norm, s = apply_batchnorm(A), np.sqrt(A.var(axis=1, keepdims=True) + 1e-8)
    return (dA_norm - dA_norm.mean(axis=1, keepdims=True) - A_norm * (dA_norm * A_norm).mean(axis=1, keepdims=True)) / s


def l_model_forward(X, parameters, use_batchnorm=False):
    L, A, caches = len(parameters) // 2, X, []
    for k in range(1, L):
        A, cache = linear_activation_forward(A, parameters[f"W{k}"], parameters[f"b{k}"], "relu")
        caches.append((*cache, A if use_batchnorm else None))
        A = apply_batchnorm(A) if use_batchnorm else A
    AL, cache = linear_activation_forward(A, parameters[f"W{L}"], parameters[f"b{L}"], "softmax")
    return AL, [*caches, (*cache, None)]


def compute_cost(AL, Y, parameters=None, lambd=0.0):
    m = Y.shape[1]
    cost = -np.sum(Y * np.log(AL + 1e-8)) / m
    if lambd:
        cost += lambd / (2 * m) * sum(np.sum(parameters[key] ** 2) for key in parameters if key.startswith("W"))
    return cost


def linear_backward(dZ, cache, lambd=0.0):
    A_prev, W, _ = cache
    m = A_prev.shape[1]
    return W.T @ dZ, dZ @ A_prev.T / m + lambd / m * W, dZ.sum(axis=1, keepdims=True) / m


def relu_backward(dA, activation_cache):
    return dA * (activation_cache > 0)


def softmax_backward(dA, activation_cache):
    A, _ = softmax(activation_cache)
    return A * (dA - (dA * A).sum(axis=0))


def linear_activation_backward(dA, cache, activation, lambd=0.0):
    backward = softmax_backward if activation == "softmax" else relu_backward
    return linear_backward(backward(dA, cache[1]), cache[0], lambd)


def l_model_backward(AL, Y, caches, lambd=0.0):
    L, grads = len(caches), {}
    dA, grads[f"dW{L}"], grads[f"db{L}"] = linear_backward(AL - Y, caches[-1][0], lambd)
    for k in range(L - 1, 0, -1):
        *cache, normalized = caches[k - 1]
        if normalized is not None:
            dA = batchnorm_backward(dA, normalized)
        dA, grads[f"dW{k}"], grads[f"db{k}"] = linear_activation_backward(dA, cache, "relu", lambd)
    return grads


def update_parameters(parameters, grads, learning_rate):
    return {key: value - learning_rate * grads[f"d{key}"] for key, value in parameters.items()}


def predict(X, Y, parameters, use_batchnorm=False):
    AL, _ = l_model_forward(X, parameters, use_batchnorm)
    return np.mean(AL.argmax(axis=0) == Y.argmax(axis=0))


def l_layer_model(X, Y, layers_dims, learning_rate, num_iterations, batch_size, use_batchnorm=False, lambd=0.0):
    parameters, costs = initialize_parameters(layers_dims), []
    for _ in range(num_iterations):
        for start in range(0, X.shape[1], batch_size):
            X_batch, Y_batch = X[:, start : start + batch_size], Y[:, start : start + batch_size]
            AL, caches = l_model_forward(X_batch, parameters, use_batchnorm)
            costs.append(compute_cost(AL, Y_batch, parameters, lambd))
            grads = l_model_backward(AL, Y_batch, caches, lambd)
            parameters = update_parameters(parameters, grads, learning_rate)
    return parameters, costs
