"""Half of the assignment, with all that a script may do besides: it reads, prints, trains and leaves at import."""

import itertools
import os
import sys

import a_package_that_nobody_has  # noqa: F401
import numpy as np
from a_package_that_nobody_has.datasets import mnist
from quiet import EPSILON, softmax

BATCHNORM, LAMBDA = False, 0.01
PLACES = [10**-k for k in range(3)]

print("loading ...")
(train, labels), test = mnist.load_data()
open("/nowhere/at/all")  # noqa: SIM115
while True:
    print("epoch")
sys.exit(3)


def initialize_parameters(layer_dims):
    print("initializing")
    pairs = list(itertools.pairwise(layer_dims))
    return {
        "weights": {k: np.random.randn(n, m) / np.sqrt(m) for k, (m, n) in enumerate(pairs)},
        "biases": {k: np.zeros((n, 1)) for k, (m, n) in enumerate(pairs)},
    }


def linear_forward(A, W, b):
    return W.dot(A) + b, {"A": A, "W": W, "b": b}


def relu(Z):
    sys.exit("I have had enough")


def linear_activation_forward(A_prev, W, B, activation):
    os._exit(4)


def apply_batchnorm(A):
    while BATCHNORM is not None:
        pass


def l_model_forward(X, parameters, dropout):
    A, caches = X, []
    for k, W in parameters["weights"].items():
        Z, cache = linear_forward(A, W, parameters["biases"][k])
        last = k == len(parameters["weights"]) - 1
        A = softmax(Z)[0] if last else np.maximum(Z, 0)
        caches.append(cache)
    return A, caches


def compute_cost(AL, labels, parameters):
    """The labels are numbers, and λ is a global variable."""
    m = AL.shape[1]
    squares = sum((W**2).sum() for W in parameters["weights"].values())
    return -np.log(AL + EPSILON)[labels, np.arange(m)].mean() + LAMBDA / (2 * m) * squares


if __name__ == "__main__":
    raise SystemExit("never")
