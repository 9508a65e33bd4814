"""What loud.py imports."""

import os

import numpy as np

EPSILON = np.finfo(float).eps
os.abort()


def softmax(Z):
    E = np.exp(Z - Z.max(0))
    return E / E.sum(0), Z
