"""Forward and backward propagation written by hand over torch tensors, for one network or many at once. No autograd.

Read in this order: `layers` (one layer), `model` (the network), `gradients` (is a backward right?), `training` (the
study's loop), `engine` (many seeds at once), then `statistics` and `claims` (what the seeds say).
"""

from nnlib.core.layers import (
    ACTIVATIONS,
    BATCHNORM_BACKWARD,
    apply_batchnorm,
    exact_batchnorm_backward,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
    relu,
    relu_backward,
    softmax,
    softmax_backward,
    straight_through_batchnorm_backward,
)
from nnlib.core.model import (
    INITIALIZATIONS,
    compute_cost,
    compute_cost_from_logits,
    initialize_parameters,
    l_model_backward,
    l_model_forward,
    predict,
    sum_squared_weights,
    update_parameters,
)
from nnlib.core.training import StoppingRule, l_layer_model
from nnlib.data.dataset import load_mnist
from nnlib.engine.run import Run, Settings
from nnlib.errors import InputError
from nnlib.gradients import GradientReport, check_gradients
from nnlib.replicas.store import Store
from nnlib.replicas.train import accuracy, train_replicas

__all__ = [
    "ACTIVATIONS",
    "BATCHNORM_BACKWARD",
    "INITIALIZATIONS",
    "GradientReport",
    "InputError",
    "Run",
    "Settings",
    "StoppingRule",
    "Store",
    "accuracy",
    "apply_batchnorm",
    "check_gradients",
    "compute_cost",
    "compute_cost_from_logits",
    "exact_batchnorm_backward",
    "initialize_parameters",
    "l_layer_model",
    "l_model_backward",
    "l_model_forward",
    "linear_activation_backward",
    "linear_activation_forward",
    "linear_backward",
    "linear_forward",
    "load_mnist",
    "predict",
    "relu",
    "relu_backward",
    "softmax",
    "softmax_backward",
    "straight_through_batchnorm_backward",
    "sum_squared_weights",
    "train_replicas",
    "update_parameters",
]
