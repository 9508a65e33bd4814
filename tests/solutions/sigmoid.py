"""A network with one sigmoid output, as in A. Ng's course."""

import numpy as np


def initialize_parameters_deep(layer_dims):
    parameters = {}
    for k in range(1, len(layer_dims)):
        parameters["W" + str(k)] = np.random.randn(layer_dims[k], layer_dims[k - 1]) / np.sqrt(layer_dims[k - 1])
        parameters["b" + str(k)] = np.zeros((layer_dims[k], 1))
    return parameters


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z)), Z


def relu(Z):
    return np.maximum(0, Z), Z


def sigmoid_backward(dA, cache):
    s = 1 / (1 + np.exp(-cache))
    return dA * s * (1 - s)


def relu_backward(dA, cache):
    dZ = np.array(dA, copy=True)
    dZ[cache <= 0] = 0
    return dZ


def linear_forward(A, W, b):
    return W.dot(A) + b, (A, W, b)


def linear_activation_forward(A_prev, W, b, activation):
    Z, linear_cache = linear_forward(A_prev, W, b)
    A, activation_cache = sigmoid(Z) if activation == "sigmoid" else relu(Z)
    return A, (linear_cache, activation_cache)


def L_model_forward(X, parameters):
    A, caches, L = X, [], len(parameters) // 2
    for k in range(1, L + 1):
        activation = "relu" if k < L else "sigmoid"
        A, cache = linear_activation_forward(A, parameters["W" + str(k)], parameters["b" + str(k)], activation)
        caches.append(cache)
    return A, caches


def compute_cost(AL, Y):
    m = Y.shape[1]
    return np.squeeze(-(np.dot(Y, np.log(AL).T) + np.dot(1 - Y, np.log(1 - AL).T)) / m)


def linear_backward(dZ, cache):
    A_prev, W, _ = cache
    m = A_prev.shape[1]
    return np.dot(W.T, dZ), np.dot(dZ, A_prev.T) / m, np.sum(dZ, axis=1, keepdims=True) / m


def linear_activation_backward(dA, cache, activation):
    linear_cache, activation_cache = cache
    backward = relu_backward if activation == "relu" else sigmoid_backward
    return linear_backward(backward(dA, activation_cache), linear_cache)


def L_model_backward(AL, Y, caches):
    grads, L = {}, len(caches)
    dA = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
    for k in range(L, 0, -1):
        activation = "sigmoid" if k == L else "relu"
        dA, grads["dW" + str(k)], grads["db" + str(k)] = linear_activation_backward(dA, caches[k - 1], activation)
    return grads


def update_parameters(params, grads, learning_rate):
    return {key: params[key] - learning_rate * grads["d" + key] for key in params}


def L_layer_model(X, Y, layers_dims, learning_rate=0.0075, num_iterations=3000, print_cost=False):
    parameters = initialize_parameters_deep(layers_dims)
    for i in range(num_iterations):
        AL, caches = L_model_forward(X, parameters)
        parameters = update_parameters(parameters, L_model_backward(AL, Y, caches), learning_rate)
        if print_cost:
            print(i, compute_cost(AL, Y))
    return parameters


def predict(X, y, parameters):
    probas, _ = L_model_forward(X, parameters)
    p = (probas > 0.5).astype(int)
    print("Accuracy:", np.mean(p == y))
    return p
