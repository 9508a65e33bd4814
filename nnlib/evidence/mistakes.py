"""The kinds of mistakes that reports are counted by, in their code, protocol and text: what is right, what is done.

Everybody who writes a network by hand makes some of these; most are invisible in the accuracy. The data file of a
report names those of its own by the keys of this table.

`nnlib/check/mistakes.yaml` serves `nnlib.check`: for each function of the assignment it has the mistakes that can be
told from what the function gives, with what makes the right one wrong. A kind that is in both has one name.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """A kind of mistake.

    Attributes
    ----------
    says : what is done, and what follows, in a sentence
    right, wrong : as formulas
    section : the heading in docs/backprop.md under which the right formula is derived; none where it has none
    """

    says: str
    right: str
    wrong: str
    section: str = ""


# Those that follow from what a report's code does, `nnlib.evidence.study.Code`.
DERIVATIVE, MATRIX, AXIS = "derivative left out", "one mean for the whole layer", "normalized over the wrong axis"
BRACKETS, OFF = "missing brackets", "evaluated without batch norm"
COST_ONLY, TOO_SMALL = "λ only in the cost", "λ too small"

MISTAKES = {
    DERIVATIVE: Mistake(
        "The gradient passes batch norm as if nothing had been normalized. The network still learns, but its weights "
        "grow.",
        "dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε)",
        "dA = dÂ",
        "Batch norm, fused",
    ),
    MATRIX: Mistake(
        "All units of a layer share one mean and one variance, so that differences between units remain.",
        "μ = A.mean(axis=1), one for each unit",
        "μ = A.mean(), one for all units",
        "Batch norm, the long way",
    ),
    AXIS: Mistake(
        "Each example is normalized over the units of its layer. That is layer norm: a method of its own, but not the "
        "one that was to be tested.",
        "μ = A.mean(axis=1), over the examples",
        "μ = A.mean(axis=0), over the units",
        "Batch norm, the long way",
    ),
    BRACKETS: Mistake(
        "Only the mean is divided, so that activations are shifted and not normalized.",
        "Â = (A − μ) / σ",
        "Â = A − μ / σ",
        "Batch norm, the long way",
    ),
    OFF: Mistake(
        "A network that was trained with batch norm is evaluated without it. That is a different network.",
        "accuracy of l_model_forward(X, parameters, use_batchnorm=True)",
        "accuracy of l_model_forward(X, parameters, use_batchnorm=False)",
        "The whole network",
    ),
    COST_ONLY: Mistake(
        "λ is in the cost and not in the gradient, so that L2 cannot change a weight. A difference in accuracy is "
        "chance.",
        "dW = dZ A_prevᵀ / m + λ/m W",
        "dW = dZ A_prevᵀ / m",
        "L2",
    ),
    TOO_SMALL: Mistake(
        "L2 shrinks the weights by less than one percent over the whole run. A difference in accuracy is chance.",
        "exp(−α λ/m · steps) well below 1",
        "exp(−α λ/m · steps) above 0.99",
        "L2",
    ),
    "first flat evaluation": Mistake(
        "The first evaluation that brings no progress ends the run, mostly long before the network has learned what it "
        "can. Compared runs then differ in length, often more than in anything else.",
        "stop after k evaluations in a row that do not improve on the best",
        "stop as soon as |J(t) − J(t − 1)| < threshold",
    ),
    "λ not divided by m": Mistake(
        "λ W is added to the gradient though the cost has λ/(2m) Σ W². L2 is then m times as strong as stated.",
        "dW = dZ A_prevᵀ / m + λ/m W",
        "dW = dZ A_prevᵀ / m + λ W",
        "L2",
    ),
    "L2 of the biases": Mistake(
        "The biases are in the L2 term of the cost, but not in the gradient.",
        "J = cross-entropy + λ/(2m) Σ W²",
        "J = cross-entropy + λ/(2m) (Σ W² + Σ b²)",
        "L2",
    ),
    "L2 without the output layer": Mistake(
        "The weights of the output layer are in the L2 term of the cost, but not in the gradient.",
        "dW = dZ A_prevᵀ / m + λ/m W in every layer",
        "dW = dZ A_prevᵀ / m in the last layer",
        "L2",
    ),
    "L2 of mixed products": Mistake(
        "All entries of WᵀW are added up. Besides the squares these are the products of different weights, which can "
        "cancel.",
        "Σ W²",
        "Σ (WᵀW)",
        "L2",
    ),
    "summed gradients": Mistake(
        "The gradients are added up over the examples and not divided by their number, so that a step is m times as "
        "long.",
        "dW = dZ A_prevᵀ / m",
        "dW = dZ A_prevᵀ",
        "The linear layer",
    ),
    "divided by the layer's number": Mistake(
        "The gradients of layer l are divided by l.",
        "dW_l = dZ_l A_{l−1}ᵀ / m",
        "dW_l = dZ_l A_{l−1}ᵀ / l",
        "The linear layer",
    ),
    "one step for all biases": Mistake(
        "All biases of a layer get the update of the first one.",
        "b − α db",
        "b − α db[0]",
        "The linear layer",
    ),
    "cost per class": Mistake(
        "The cost is divided by the number of classes, not of examples. Training is not touched; printed costs depend "
        "on how many examples there are.",
        "J = −1/m Σ y log ŷ",
        "J = −1/10 Σ y log ŷ",
        "Notation and shapes",
    ),
    "large initial weights": Mistake(
        "The initial weights of 784 inputs are as large as those of 5, so that the outputs of the first layer are far "
        "too large.",
        "W = randn · √(2 / fan-in)",
        "W = randn",
    ),
    "best parameters not copied": Mistake(
        "The best parameters are kept under a second name and change with the first. The last ones are returned.",
        "best = copy.deepcopy(parameters)",
        "best = parameters",
    ),
    "few of the examples": Mistake(
        "The loop over mini-batches ends too early, so that most training images are never used.",
        "for k in range(m / batch_size)",
        "for k in range(batch_size)",
    ),
    "another set": Mistake(
        "An accuracy is measured on different examples from those that its name says.",
        "training accuracy on all training examples, and no others",
        "on the last mini-batch, or on the validation examples, too",
    ),
    "another program": Mistake(
        "The text describes a different program from the code: other layers, a different batch size, a different rule.",
        "text in which the program itself fills in the settings of its runs",
        "text written by hand",
    ),
    "two changes at once": Mistake(
        "Two runs that are compared differ in more than what the comparison is about.",
        "one change, all else equal",
        "batch norm with another batch size",
    ),
}
