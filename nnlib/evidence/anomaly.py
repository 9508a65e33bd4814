"""The study's training cost of 263,576.84, solved for what it does not print: the weights."""

from __future__ import annotations

from dataclasses import dataclass

from nnlib.errors import InputError


@dataclass(frozen=True)
class Implied:
    """Σ W² over all layers, and the cross-entropy that is left of the cost."""

    sum_squared_weights: float
    cross_entropy: float


def implied_weights(train_cost: float, validation_cost: float, L2: float, m_train: int, m_validation: int) -> Implied:
    """Solve the two costs of one run for Σ W² and the cross-entropy h, taken to be the same in both:

        train_cost      = h + λ / (2 m_train)      Σ W²
        validation_cost = h + λ / (2 m_validation) Σ W²

    With m_train = 32, the mini-batch, and m_validation = 9,600, the first L2 term is 300 times the second, so that a
    difference in h between the two hardly moves Σ W².

    Raises
    ------
    ValueError
        If L2 is not positive or the sets are of one size: then the equations do not determine Σ W².
    """
    if L2 <= 0 or m_train == m_validation:
        raise InputError(f"L2 and sizes: expected L2 > 0 and two sizes, got {L2}, {m_train} and {m_validation}")
    squares = (train_cost - validation_cost) / (L2 / 2 * (1 / m_train - 1 / m_validation))
    return Implied(squares, validation_cost - L2 / (2 * m_validation) * squares)
