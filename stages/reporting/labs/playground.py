"""What the page needs to run trained networks by itself: their numbers, a few test images, what a digit looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from nnlib.core.layers import ACTIVATIONS, BATCHNORM_EPSILON
from nnlib.core.model import Parameters, l_model_forward
from stages.reporting.labs.digits import LEVELS, packed

STEPS = 127  # a weight of the first layer is a whole number from −127 to 127, times its unit's step
# A drawing counts as a digit if it is as similar to a training image as this share of the test images is.
ORDINARY = 0.95


class Networks(NamedTuple):
    """One row of the lab: a configuration with a network for each seed.

    replicas : the parameters of each, None if it diverged
    activation : "relu" or "sigmoid"
    batchnorm : "none", "straight_through" or "exact"; the normalization is the usual one
    """

    label: str
    replicas: Sequence[Parameters | None]
    activation: str
    batchnorm: str


def playground_data(
    layers_dims: Sequence[int],
    networks: Mapping[str, Networks],
    seeds: Sequence[int],
    X_known: Tensor,
    X_test: Tensor,
    Y_test: Tensor,
    samples: int = 3,
) -> dict[str, Any]:
    """A record for JSON that `templates/labs/playground.html.j2` shows.

    Parameters
    ----------
    layers_dims : units of every layer, the pixels first
    networks : key → the networks of one configuration
    seeds : what they were seeded with
    X_known : the training images that the page has, pixels × examples from 0 to 1
    X_test, Y_test : the test set, the same, and one-hot classes × examples
    samples : images of each digit to take along, the first ones of the set

    Returns
    -------
    layers_dims, seeds : as given
    networks : a list, in the order given (JSON may sort keys), of key, label, activation, batchnorm, and replicas, one
        for each seed: None if it diverged, else
            levels : W1 as int8, in steps of 1/127 of the largest weight of each unit
            rest : float32, layer after layer: the steps (of W1 alone), W (of the others), b
            statistics : float64, of each hidden layer with batch norm the mean and the deviation √(σ² + ε) of its
                activations over the test set, since the single image on the page has no batch of its own
    images : label and pixels, uint8; first one of each digit, then the second of each, and so on; last the one that the
        page opens with, if it is none of these
    opens : which of them that is: the image to which the replicas of one configuration give the most different answers,
        and of several such images the one whose least confident replica is most confident
    answers, disagreements : how many different answers these are, and how many test images have so many
    examples : images in the test set
    agreement : the least share of them that a network predicts as before its W1 was rounded, rounded down; None without
        networks
    decades : between which powers of ten the activations of the hidden layers lie, but for the least hundredth
    ordinary : `share`, 95 %, of the test images have at least that `similarity` to one of the known images; all have
        between the least and the most `ink`, the sum of their pixels

    Arrays are row-major, little-endian, packed.
    """
    X = X_test.double()
    activations, agreements = [torch.empty(0)], []
    records: list[dict[str, Any]] = []
    probabilities: list[list[Tensor]] = []  # of each configuration those of its replicas, classes × examples
    for key, (label, replicas, *operations) in networks.items():
        activation, batchnorm = operations
        record: dict[str, Any] = {"key": key, "label": label, "activation": activation, "batchnorm": batchnorm}
        record["replicas"] = []
        probabilities.append([])
        for exact in replicas:
            if exact is None:
                record["replicas"].append(None)
                continue
            W1, steps = _rounded(exact["W1"])
            others = [exact[f"{name}{layer}"] for layer in range(1, len(exact) // 2 + 1) for name in "Wb"][1:]
            parameters = {name: value.double() for name, value in (exact | {"W1": W1 * steps}).items()}
            AL, hidden = _forward(X, parameters, *operations)
            before, _ = _forward(X, {name: value.double() for name, value in exact.items()}, *operations)
            agreements.append((AL.argmax(0) == before.argmax(0)).double().mean().item())
            activations += [A[A > 0].float() for A in hidden]
            probabilities[-1].append(AL)
            record["replicas"].append(
                {
                    "levels": packed(_bytes("i1", W1)),
                    "rest": packed(_bytes("<f4", steps, *others)),
                    "statistics": packed(_bytes("<f8", *(_statistics(hidden) if batchnorm != "none" else ()))),
                }
            )
        records.append(record)
    digits = Y_test.argmax(0)
    firsts = [(digits == digit).nonzero().flatten()[:samples].tolist() for digit in range(len(Y_test))]
    chosen = [found[rank] for rank in range(samples) for found in firsts if rank < len(found)]
    opens, answers, disagreements = _most_different([each for each in probabilities if each], chosen[:1])
    chosen += [index for index in opens if index not in chosen]
    return {
        "layers_dims": list(layers_dims),
        "seeds": list(seeds),
        "networks": records,
        "images": [
            {"label": int(digits[index]), "pixels": packed(_bytes("u1", (X_test[:, index] * 255).round()))}
            for index in chosen
        ],
        "opens": chosen.index(opens[0]) if opens else None,
        "answers": answers,
        "disagreements": disagreements,
        "examples": X_test.shape[1],
        "agreement": floor(1000 * min(agreements)) / 1000 if agreements else None,
        "decades": _decades(torch.cat(activations)),
        "ordinary": {"share": ORDINARY} | _ordinary(X_known, X_test),
    }


def _most_different(configurations: Sequence[Sequence[Tensor]], otherwise: list[int]) -> tuple[list[int], int, int]:
    """The image to which the replicas of one configuration give the most different answers, how many these are, and how
    many images have as many; without networks or without disagreement the image given instead."""
    found = []
    for replicas in configurations:
        probable, answers = torch.stack(list(replicas)).nan_to_num().max(1)
        different = 1 + (answers.sort(0).values.diff(dim=0) != 0).sum(0)
        found.append((different, (1e6 * probable.amin(0)).round()))
    if not found:
        return otherwise, 0, 0
    different, sureness = (torch.stack(values) for values in zip(*found, strict=True))
    most = int(different.max())
    if most < 2:
        return otherwise, most, 0
    best = torch.where(different == most, sureness, -1).amax(0)
    return [int(best.argmax())], most, int((best >= 0).sum())


def _rounded(W1: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (out, in), and the step of each unit (out, 1)."""
    steps = W1.abs().amax(1, keepdim=True) / STEPS
    return (W1 / steps).nan_to_num().round(), steps


def _forward(X: Tensor, parameters: Parameters, activation: str, batchnorm: str) -> tuple[Tensor, list[Tensor]]:
    """The probabilities, and the activations of the hidden layers before batch norm."""
    AL, caches = l_model_forward(X, parameters, batchnorm, activation=activation)
    forward, _ = ACTIVATIONS[activation]
    return AL, [forward(cache.activation_cache)[0] for cache in caches[:-1]]


def _statistics(hidden: Sequence[Tensor]) -> Iterator[Tensor]:
    for A in hidden:
        yield A.mean(-1)
        yield (A.var(-1, correction=0) + BATCHNORM_EPSILON).sqrt()


def _decades(activations: Tensor) -> list[int]:
    values = activations[activations.isfinite()].sort().values
    if not len(values):
        return [-2, 2]
    low = floor(log10(values[len(values) // 100]))
    return [low, max(ceil(log10(values[-1])), low + 2)]


def _ordinary(X_known: Tensor, X_test: Tensor) -> dict[str, Any]:
    """Rounded, since the last digits of a product are not the same on every processor."""
    known = _directions((X_known * LEVELS).round() / LEVELS)
    nearest = torch.cat([(known @ part.T).amax(0) for part in _directions(X_test).split(1000)])
    ink = X_test.double().sum(0)
    return {
        "similarity": round(torch.quantile(nearest.double(), 1 - ORDINARY).item(), 3),
        "ink": [floor(ink.min()), ceil(ink.max())],
    }


def _directions(X: Tensor) -> Tensor:
    """Each image blurred, the mean of 3 × 3 pixels, and of length 1: examples × pixels."""
    side = round(len(X) ** 0.5)
    images = X.T.reshape(-1, 1, side, side)
    return normalize(avg_pool2d(images, 3, stride=1, padding=1).flatten(1))


def _bytes(dtype: str, *arrays: Tensor) -> bytes:
    return b"".join(array.cpu().numpy().astype(dtype).tobytes() for array in arrays)
