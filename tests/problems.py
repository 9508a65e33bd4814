"""Small problems that a network can learn."""

import torch


def normal(*shape, seed=0):
    """Numbers from N(0, 1), float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(examples, features=6, classes=3, seed=0):
    """(X, Y) that one linear layer could tell apart: the class of an example is its largest score."""
    X = normal(features, examples, seed=seed)
    labels = (normal(classes, features, seed=99) @ X).argmax(0)
    return X, torch.nn.functional.one_hot(labels, classes).T.to(X.dtype)
