from . import check
from .core.layers import (
    ACTIVATIONS,
    BATCHNORM_BACKWARD,
    LayerCache,
    LinearCache,
    apply_batchnorm,
    exact_batchnorm_backward,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    straight_through_batchnorm_backward,
)
from .core.model import (
    compute_cost,
    compute_cost_from_logits,
    initialize_parameters,
    l_model_backward,
    l_model_forward,
    predict,
    sum_squared_weights,
    update_parameters,
)
from .core.seeds import Seeds
from .core.settings import INITIALIZATIONS, Normalization, Settings, Stopping
from .core.training import evaluate_cost, gradient_step, l_layer_model, mini_batches
from .data.dataset import flatten, load_mnist, normalize, one_hot
from .engine.run import Run
from .errors import InputError
from .gradients import GradientReport, check_gradients
from .replicas.cluster import Cluster
from .replicas.evaluate import accuracy
from .replicas.store import Store
from .replicas.train import TrainingData, train_configurations, train_replicas

__all__ = [
    "ACTIVATIONS",
    "BATCHNORM_BACKWARD",
    "INITIALIZATIONS",
    "Cluster",
    "GradientReport",
    "InputError",
    "LayerCache",
    "LinearCache",
    "Normalization",
    "Run",
    "Seeds",
    "Settings",
    "Stopping",
    "Store",
    "TrainingData",
    "accuracy",
    "apply_batchnorm",
    "check",
    "check_gradients",
    "compute_cost",
    "compute_cost_from_logits",
    "evaluate_cost",
    "exact_batchnorm_backward",
    "flatten",
    "gradient_step",
    "initialize_parameters",
    "l_layer_model",
    "l_model_backward",
    "l_model_forward",
    "linear_activation_backward",
    "linear_activation_forward",
    "linear_backward",
    "linear_forward",
    "load_mnist",
    "mini_batches",
    "normalize",
    "one_hot",
    "predict",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "straight_through_batchnorm_backward",
    "sum_squared_weights",
    "train_configurations",
    "train_replicas",
    "update_parameters",
]
