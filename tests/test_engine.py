"""Many networks at once: step for step the readable loop, each as if it were alone, stopped, resumed or diverged."""

import hashlib
from typing import get_args

import numpy as np
import pytest
import torch
from numba import TypingError, njit
from problems import problem
from torch.testing import assert_close

import nnlib
from nnlib import Run, Settings, train_replicas
from nnlib.core.optimizers import OPTIMIZERS
from nnlib.core.seeds import Seeds
from nnlib.core.settings import Activation, Normalization, Stopping
from nnlib.core.training import evaluate_cost, l_layer_model
from nnlib.data.files import load_tensors, save_tensors
from nnlib.engine import batched
from nnlib.engine.arithmetic import ieee_754
from nnlib.engine.compiled import Sets, evaluate_each, train_each
from nnlib.engine.functions import EXP_LOWEST, exp, log
from nnlib.engine.layout import to_csr
from nnlib.engine.run import HISTORY, Job
from nnlib.engine.simd import fill, fma, lanes, load, store, total, transpose
from nnlib.replicas.train import TrainingData, _on_device, train_configurations

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
# Half of the numbers are 0; batches of 16, 16, 16 and 9.
for X, _ in (TRAIN, VALIDATION):
    X.clamp_(min=0)
EVERY = Stopping(eval_every=2, rule="change", returns="last")
SETTINGS = Settings(
    layers_dims=[6, 5, 4, 3], initialization="he_fan_out", learning_rate=0.1, epochs=4, batch_size=16, stopping=EVERY
)
BATCHNORM = pytest.mark.parametrize("batchnorm", ["none", "straight_through", "exact"])
CPU = torch.device("cpu")


def with_stopping(settings, **values):
    return settings.replace(stopping=settings.stopping.replace(**values))


def train(settings=SETTINGS, seeds=(0, 1, 2), dtype=torch.float64, sets=(TRAIN, VALIDATION), **options):
    sets = [tuple(array.to(dtype) for array in pair) for pair in sets]
    return train_replicas(*sets, settings, list(seeds), **options)


def train_batched(settings=SETTINGS, seeds=(0, 1, 2), dtype=torch.float64, sets=(TRAIN, VALIDATION), start=None):
    """The engine for GPUs, on the CPU."""
    sets = [tuple(array.to(dtype) for array in pair) for pair in sets]
    seeds = [Seeds.of(seed) for seed in seeds]
    start = start or Run.begin(settings, seeds, dtype)
    return batched.train_batched(*sets, settings, seeds, start, CPU, lambda *_: None)


ENGINES = train, train_batched
ENGINE = pytest.mark.parametrize("engine", ENGINES, ids=["compiled", "batched"])


def train_alone(settings, seed):
    """Parameters and records of the same run by the readable loop."""
    records, options = [], dict(settings)
    parameters, _ = l_layer_model(
        *TRAIN,
        validation=VALIDATION,
        num_iterations=options.pop("epochs"),
        seed=seed,
        on_eval=records.append,
        **options,
    )
    return parameters, records


def assert_same(one, other):
    """That two runs agree in everything, to the last bit."""
    assert one.tensors().keys() == other.tensors().keys()
    for name, value in one.tensors().items():
        assert torch.equal(value.nan_to_num(-1), other.tensors()[name].nan_to_num(-1)), name


def assert_close_to_alone(run, replica, alone, **tolerance):
    parameters, records = alone
    for name, value in parameters.items():
        assert_close(run.parameters[name][replica], value, **tolerance)
    evaluations = len(records)
    assert run.steps[:evaluations].tolist() == [record["step"] for record in records]
    for name in HISTORY:
        ours = getattr(run, name)[:, replica]
        theirs = torch.tensor([record[name] for record in records], dtype=ours.dtype)
        assert_close(ours[:evaluations], theirs, **tolerance, equal_nan=True)
        assert ours[evaluations:].isnan().all()


EXACTLY = {"rtol": 1e-10, "atol": 1e-10}


def assert_followed(settings, *replicas):
    """That both engines train these replicas as the readable loop does, which takes longer than they."""
    runs = [engine(settings) for engine in ENGINES]
    for replica in replicas:
        alone = train_alone(settings, replica)
        for run in runs:
            assert_close_to_alone(run, replica, alone, **EXACTLY)


@pytest.mark.parametrize("L2", [0.0, 0.05])
@BATCHNORM
def test_they_follow_the_readable_loop_over_300_steps(batchnorm, L2):
    settings = with_stopping(SETTINGS.replace(epochs=75, L2=L2, batchnorm=batchnorm), eval_every=7)
    assert settings.last_step(57) == 300
    assert_followed(settings, 0, 2)


@pytest.mark.parametrize("layers_dims", [[6, 3], [6, 40, 3], [6, 5, 4, 4, 3, 3]], ids=str)
@pytest.mark.parametrize("batchnorm", ["none", "straight_through"])
def test_other_networks_follow_too(batchnorm, layers_dims):
    assert_followed(SETTINGS.replace(layers_dims=layers_dims, L2=0.05, epochs=20, batchnorm=batchnorm), 2)


@pytest.mark.parametrize("activation", get_args(get_args(Activation)[0]))
@BATCHNORM
@ENGINE
def test_every_activation_follows_the_readable_loop(engine, batchnorm, activation):
    settings = SETTINGS.replace(activation=activation, batchnorm=batchnorm, epochs=10)
    run = engine(settings)
    for replica in range(3):
        assert_close_to_alone(run, replica, train_alone(settings, replica), **EXACTLY)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("returns", ["last", "best"])
def test_every_optimizer_follows_the_readable_loop(optimizer, returns):
    settings = SETTINGS.replace(optimizer=optimizer, momentum=0.8, L2=0.05, epochs=20, batchnorm="exact")
    assert_followed(with_stopping(settings, returns=returns), 0, 2)


@pytest.mark.parametrize(("optimizer", "arrays"), [("gradient_descent", 0), ("momentum", 1)])
def test_a_run_keeps_what_its_optimizer_needs(optimizer, arrays):
    state = Run.begin(SETTINGS.replace(optimizer=optimizer), [0, 1]).optimizer_state
    assert (tuple(state["W1"].shape) if state else None) == ((2, arrays, 5, 6) if arrays else None)


@pytest.mark.parametrize("batch_size", [7, 40, 57])
@BATCHNORM
def test_with_other_batch_sizes_they_follow_too(batchnorm, batch_size):
    """The kernel takes 16 examples at a time: here fewer, several times so many, and all there are at once."""
    assert_followed(SETTINGS.replace(batch_size=batch_size, L2=0.05, epochs=20, batchnorm=batchnorm), 2)


@pytest.mark.parametrize("over", ["examples", "matrix"])
@pytest.mark.parametrize("variance", ["biased", "unbiased"])
@pytest.mark.parametrize("epsilon_added_to", ["variance", "deviation"])
def test_every_normalization_follows(epsilon_added_to, variance, over):
    normalization = Normalization(epsilon=0.1, epsilon_added_to=epsilon_added_to, variance=variance, over=over)
    assert_followed(SETTINGS.replace(epochs=20, batchnorm="straight_through", normalization=normalization), 2)


@pytest.mark.parametrize("shuffle", ["once", "never"])
def test_every_order_of_the_examples_follows(shuffle):
    assert_followed(SETTINGS.replace(shuffle=shuffle), 2)


@BATCHNORM
@ENGINE
def test_in_float32_it_is_the_same_within_rounding(engine, batchnorm):
    settings = SETTINGS.replace(L2=0.5, batchnorm=batchnorm)
    single, double = engine(settings, dtype=torch.float32), engine(settings)
    assert single.parameters["W1"].dtype == torch.float32
    for name, value in double.parameters.items():
        assert_close(single.parameters[name].double(), value, rtol=1e-3, atol=1e-4)


# Of the runs below, whose bits are the same on every system. Another hash is another study: all of its results are to
# be made again then.
BITS = {
    ("none", torch.float32): "4f60d25cf8580322",
    ("straight_through", torch.float32): "3e7f1f46dca1594e",
    ("exact", torch.float32): "4107be174a471830",
    ("none", torch.float64): "75f258ec5c30dabd",
    ("straight_through", torch.float64): "d56a25f1a73b021b",
    ("exact", torch.float64): "dbe6e08e91952676",
}


@pytest.mark.parametrize(("batchnorm", "dtype"), BITS)
def test_the_bits_are_those_of_the_committed_results(batchnorm, dtype):
    X = ((torch.arange(6 * 57) * 37 % 101).reshape(6, 57) - 40).clamp(min=0).to(dtype) / 20
    Y = torch.eye(3)[:, torch.arange(57) * 5 % 3]
    settings = SETTINGS.replace(L2=0.05, epochs=50, batchnorm=batchnorm)
    run = train(settings, (0, 7), dtype, ((X, Y), (X[:, :30], Y[:, :30])))
    tensors = run.parameters | {name: getattr(run, name) for name in HISTORY}
    digest = hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors)))
    assert digest.hexdigest()[:16] == BITS[batchnorm, dtype]


def test_inputs_without_zeros_and_with_many_values_are_right_too():
    sets = problem(57, seed=5), problem(30, seed=6)
    run, records = train(sets=sets, seeds=[4]), []
    options = dict(SETTINGS)
    parameters, _ = l_layer_model(
        *sets[0],
        validation=sets[1],
        num_iterations=options.pop("epochs"),
        seed=4,
        on_eval=records.append,
        **options,
    )
    assert_close_to_alone(run, 0, (parameters, records), **EXACTLY)


@pytest.mark.parametrize(("different", "bytes_each"), [(1, 1), (256, 1), (257, 4)])
def test_a_csr_keeps_what_is_not_0(different, bytes_each):
    """Features 1 and 3 of an example are not 0, and alike; 2 and 4 are 0 in all."""
    values = torch.arange(1.0, different + 1)
    csr = to_csr(torch.stack([values, 0 * values, values, 0 * values]), torch.eye(3)[:, torch.arange(different) % 3])
    assert csr.indptr.tolist() == [*range(0, 2 * different + 1, 2)]
    assert csr.indices.tolist() == [0, 2] * different
    assert csr.palette[csr.codes].tolist() == values.repeat_interleave(2).tolist()
    assert csr.codes.itemsize == bytes_each
    assert csr.labels.tolist() == [k % 3 for k in range(different)]


@pytest.mark.parametrize("features", [4, 2**16, 2**16 + 1])
def test_a_csr_of_blank_examples_and_of_the_last_feature(features):
    X = torch.zeros(features, 3)
    assert to_csr(X, torch.eye(3)).indptr.tolist() == [0, 0, 0, 0]
    X[-1] = 1
    assert to_csr(X, torch.eye(3)).indices.tolist() == [features - 1] * 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_and_logarithm_are_right_to_the_last_bits(dtype):
    EXAMPLES = lanes(16)

    @njit
    def run(values):
        powers, logarithms = np.empty_like(values), np.empty_like(values)
        for k in range(0, len(values), 16):
            store(powers, k, exp(load(values, k, EXAMPLES)))
            store(logarithms, k, log(load(values, k, EXAMPLES)))
        return powers, logarithms

    epsilon, lowest = np.finfo(dtype).eps, dtype(EXP_LOWEST[np.dtype(dtype).name])
    values = np.linspace(lowest, -lowest, 16_000, dtype=dtype)
    powers, _ = run(values)
    assert (np.abs(powers / np.exp(values.astype(np.longdouble)) - 1) < 2 * epsilon).all()
    # Below, it stays the least that is a normal number: another power of e would not be one.
    below, _ = run(np.repeat(np.array([lowest, lowest - 1, -np.inf], dtype), 16))
    assert (below == below[0]).all()
    assert below[0] / np.e < np.finfo(dtype).tiny <= below[0]
    assert np.isnan(run(np.full(16, np.nan, dtype))).all()
    sums = np.linspace(1, 100, 16_000, dtype=dtype)  # what softmax takes the logarithm of
    assert (np.abs(run(sums)[1] - np.log(sums.astype(np.longdouble))) < 3 * epsilon).all()


@pytest.mark.parametrize("count", [4, 12, 16, 20, 24, 40])
def test_a_vector_is_so_many_numbers(count):
    some = lanes(count)

    @njit
    def move(values):
        store(values, 0, fma(2.0, load(values, 1, some), fill(1.0, some)))

    values = np.arange(50.0)
    move(values)
    assert values.tolist() == [*range(3, 2 * count + 3, 2), *range(count, 50)]


def test_a_total_is_that_of_halves_added_to_halves():
    EXAMPLES = lanes(16)

    @njit
    def add(values):
        return total(load(values, 0, EXAMPLES))

    values = np.random.default_rng(0).random(16, np.float32)
    halves = values
    while len(halves) > 1:
        halves = halves[: len(halves) // 2] + halves[len(halves) // 2 :]
    assert add(values) == halves[0]


def test_rows_become_columns():
    @njit
    def turn(source, target):
        transpose(source, 1, 5, target, 2, 4)

    source, target = np.arange(30.0), np.zeros(18)
    turn(source, target)
    assert np.array_equal(target[2:].reshape(4, 4), source[:20].reshape(4, 5)[:, 1:].T)


@pytest.mark.parametrize("number", [np.float64(1), np.int64(1)], ids=str)
def test_a_vector_is_added_to_numbers_of_its_own_type_alone(number):
    EXAMPLES = lanes(16)

    @njit
    def add(values, number):
        store(values, 0, load(values, 0, EXAMPLES) + number)

    values = np.ones(16, np.float32)
    add(values, np.float32(1))
    assert values.tolist() == [2] * 16
    with pytest.raises(TypingError, match="No implementation of function"):
        add(values, number)


@pytest.mark.parametrize("layers_dims", [[6, 5, 4, 3], [6, 3], [6, 40, 3]], ids=str)
@BATCHNORM
def test_a_replica_has_the_same_bits_whatever_runs_beside_it(batchnorm, layers_dims):
    settings = SETTINGS.replace(L2=0.5, batchnorm=batchnorm, layers_dims=layers_dims)
    alone = [train(settings, [seed], threads=1) for seed in range(5)]
    for seeds, threads in (((0, 1, 2, 3, 4), 1), ((0, 1, 2, 3, 4), 2), ((3, 1), 1), ((4, 4, 0), 3)):
        together = train(settings, seeds, threads=threads)
        assert_same(together, Run.join([alone[seed] for seed in seeds]))


def test_a_replica_has_the_same_bits_beside_replicas_of_other_configurations():
    configurations = {
        "as it is": SETTINGS,
        "more epochs, evaluated at other times": with_stopping(SETTINGS.replace(epochs=6), eval_every=3),
        "λ": SETTINGS.replace(L2=0.5),
        "batch norm": SETTINGS.replace(batchnorm="exact"),
        "wide": SETTINGS.replace(layers_dims=[6, 40, 3]),
    }
    data = TrainingData(TRAIN, VALIDATION, SETTINGS.layers_dims)
    for threads in (1, 2):
        runs = dict(train_configurations(data, configurations, [0, 1, 2], threads=threads))
        for name, settings in configurations.items():
            assert_same(runs[name], train(settings, threads=1))


def jobs_of(settings, seeds, epochs, dtype=torch.float64):
    return {k: Job(settings, Seeds.of(k), Run.begin(settings, [Seeds.of(k)], dtype), epochs) for k in seeds}


@pytest.mark.parametrize("eval_every", [2, 3])
@pytest.mark.parametrize("returns", ["last", "best"])
def test_a_run_is_handed_out_on_the_way_as_if_it_ended_there(eval_every, returns):
    settings = with_stopping(SETTINGS.replace(epochs=5), eval_every=eval_every, returns=returns)
    sets, seen = Sets(to_csr(*TRAIN), to_csr(*VALIDATION)), []
    jobs = jobs_of(settings, (0, 1, 2), (1, 4, 5))
    runs = {(k, run.epoch): run for k, run in train_each(sets, jobs, threads=2, on_eval=lambda *at: seen.append(at))}
    assert sorted(runs) == [(k, epochs) for k in (0, 1, 2) for epochs in (1, 4, 5)]
    for (k, epochs), run in runs.items():
        assert_same(run, train(settings.replace(epochs=epochs), [k]))
    for k in (0, 1, 2):
        costs = dict(zip(runs[k, 5].steps.tolist(), runs[k, 5].validation_cost[:, 0].tolist(), strict=True))
        assert costs.items() <= {step: cost for key, step, cost in seen if key == k}.items()


def test_runs_are_equal_if_all_numbers_are():
    run, again = (train(SETTINGS.replace(epochs=2), [0, 1]) for _ in range(2))
    run.train_cost[-1, 1] = again.train_cost[-1, 1] = torch.nan
    assert run == again
    again.parameters["b1"][1, 0] = 7
    assert run != again
    assert run != run.one(0)
    assert run != "a run"


STOPPING = with_stopping(SETTINGS.replace(epochs=20), patience=5, threshold=0.001, rule="improvement")


@pytest.mark.parametrize("quantity", ["validation_cost", "validation_accuracy"])
@ENGINE
def test_a_replica_that_stops_is_frozen_while_others_go_on(engine, quantity):
    settings = with_stopping(STOPPING, quantity=quantity)
    run = engine(settings, range(6))
    stopped = run.stopped_at > 0
    assert stopped.any()
    assert len(run.stopped_at.unique()) > 1
    for replica in range(6):
        alone = train_alone(settings, replica)
        assert alone[1][-1]["status"] == ("stopped" if stopped[replica] else "finished")
        assert run.stopped_at[replica] in (0, alone[1][-1]["step"])
        assert_close_to_alone(run, replica, alone, rtol=1e-9, atol=1e-9)


def test_the_history_of_one_replica_ends_with_it():
    together = train(STOPPING, range(6))
    assert {0} < set(together.stopped_at.tolist())
    for k in range(6):
        assert_same(together.one(k), train(STOPPING, [k]))


def test_a_longer_run_does_not_know_what_diverged_between_two_regular_evaluations():
    run = Run.begin(SETTINGS, [0, 1], torch.float64)
    run.step = 7
    evaluation = dict.fromkeys(HISTORY, torch.tensor([0.5, torch.nan]))
    run.evaluate(evaluation, SETTINGS)
    run.log([(7, evaluation)])
    assert run.diverged_at.tolist() == [0, 7]
    longer = run.resumable(SETTINGS)
    assert longer.diverged_at.tolist() == [0, 0]
    assert len(longer.steps) == len(longer.validation_cost) == 0


def test_what_goes_to_a_gpu_together_comes_back_each_under_its_own_name():
    data, others = TrainingData(TRAIN, VALIDATION, SETTINGS.layers_dims), SETTINGS.replace(L2=0.5)
    jobs = {
        (settings, k): job for settings in (SETTINGS, others) for k, job in jobs_of(settings, (0, 1), (2, 4)).items()
    }
    found = list(_on_device(data, jobs, CPU, lambda *_: None))
    assert len(found) == 8
    for (settings, k), run in found:
        for name, value in train_batched(settings.replace(epochs=run.epoch), [k]).parameters.items():
            assert_close(run.parameters[name], value, **EXACTLY)


def test_it_ends_when_all_replicas_have_stopped():
    run = train(with_stopping(SETTINGS.replace(epochs=1000), patience=1, threshold=1e9, rule="improvement"))
    assert run.steps[-1] == run.stopped_at.max() < 10


@ENGINE
def test_a_replica_that_diverges_harms_no_other(engine):
    # A network that begins with infinite weights has an infinite cost from the first evaluation on.
    settings = SETTINGS.replace(epochs=20)
    healthy = engine(settings, [0, 2])
    sets = TRAIN, VALIDATION
    seeds = [Seeds.of(seed) for seed in (0, 1, 2)]
    start = Run.begin(settings, seeds, torch.float64)
    start.parameters["W2"][1] = 1e200
    if engine is train:
        csr = Sets(*(to_csr(*pair) for pair in sets))
        jobs = {k: Job(settings, seeds[k], start.one(k), (20,)) for k in range(3)}
        found = dict(train_each(csr, jobs, threads=1, on_eval=lambda *_: None))
        run = Run.join([found[k] for k in range(3)])
    else:
        run = engine(settings, (0, 1, 2), start=start)
    assert run.diverged_at.gt(0).tolist() == [False, True, False]
    for name, value in healthy.parameters.items():
        assert_close(run.parameters[name][[0, 2]], value, **EXACTLY)
    assert run.validation_cost[1:, 1].isnan().all()


@ENGINE
def test_a_training_cost_alone_that_is_infinite_is_divergence_too(engine):
    # The weights are 1.05 and −1.09, so that the outputs of 1.6e308 either way have no finite difference.
    X, Y = torch.tensor([[1.46e308]], dtype=torch.float64), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    settings = Settings(
        layers_dims=[1, 2],
        initialization="he_fan_out",
        learning_rate=1e-37,
        epochs=2,
        batch_size=1,
        stopping=EVERY.replace(eval_every=1),
    )
    run = engine(settings, [30], sets=((X, Y), (torch.ones_like(X) * 1e3, Y)))
    assert not run.train_cost.isfinite().any()
    assert run.diverged_at.tolist() == [1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("some_stop", [False, True])
@BATCHNORM
def test_going_on_from_a_file_is_as_if_never_interrupted(tmp_path, batchnorm, some_stop, optimizer):
    settings = SETTINGS.replace(L2=0.5, batchnorm=batchnorm, optimizer=optimizer)
    if some_stop:
        settings = with_stopping(settings, patience=2, threshold=0.1, rule="improvement")
    sets = Sets(*(to_csr(*(array.float() for array in pair)) for pair in (TRAIN, VALIDATION)))
    for k, job in jobs_of(settings, range(3), (4,), torch.float32).items():
        jobs = {k: job._replace(settings=settings.replace(epochs=2), epochs=(2,))}
        ((_, half),) = train_each(sets, jobs, threads=1, on_eval=lambda *_: None)
        save_tensors(tmp_path / "half.safetensors", half.tensors())
        start = Run.from_tensors(load_tensors(tmp_path / "half.safetensors"))
        ((_, resumed),) = train_each(sets, {k: job._replace(start=start)}, threads=1, on_eval=lambda *_: None)
        assert_same(resumed, train(settings, [k], torch.float32))
        assert_same(start, half)


@BATCHNORM
def test_accuracy_is_predict(batchnorm):
    run = train(SETTINGS.replace(batchnorm=batchnorm))
    run.parameters["W1"][1] = 0  # every output the same: the first class is predicted
    for form in ("none", batchnorm):
        expected = nnlib.predict(*VALIDATION, run.parameters, batchnorm=form)
        assert torch.equal(nnlib.accuracy(*VALIDATION, run.parameters, batchnorm=form), expected)


@BATCHNORM
@pytest.mark.parametrize("examples", [480, 481, 1000])
def test_a_set_larger_than_the_cache_is_one_set_all_the_same(batchnorm, examples):
    settings, large = SETTINGS.replace(L2=0.5, batchnorm=batchnorm), problem(examples, seed=2)
    run = train(settings, sets=(TRAIN, large))
    accuracies = nnlib.predict(*large, run.parameters, batchnorm=batchnorm)
    costs = evaluate_cost(*large, run.parameters, settings)
    assert torch.equal(nnlib.accuracy(*large, run.parameters, batchnorm=batchnorm), accuracies)
    assert_close(run.validation_cost[-1], costs, **EXACTLY)
    assert_close(run.validation_accuracy[-1], accuracies.to(costs))
    sets = [to_csr(*VALIDATION), to_csr(*large)]
    for k, (_, evaluation) in enumerate(evaluate_each(sets, run.parameters, settings, threads=2)):
        assert (evaluation.cost, evaluation.accuracy) == (run.validation_cost[-1, k], run.validation_accuracy[-1, k])


@pytest.mark.parametrize("example", [0, 1, 15, 16, 29])
@pytest.mark.parametrize("weight", [1e308, -1e308, np.nan])
def test_one_output_that_is_not_finite_is_enough_to_predict_nothing(example, weight):
    parameters = Run.begin(SETTINGS, [Seeds.of(0), Seeds.of(1)], torch.float64).parameters
    X, Y = VALIDATION[0].clone(), VALIDATION[1]
    X[:, example] = 1000
    parameters["W1"][:] = parameters["W1"].abs()
    parameters["W2"][:] = parameters["W2"].abs()
    parameters["W3"][1, 2] = weight
    assert nnlib.accuracy(X, Y, parameters).isfinite().tolist() == [True, False]


# What a process may have set for reasons of its own, and how it is set back.
SWITCHES = {
    "denormals are 0": (lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)),
    "float64 by default": (
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "another device": (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
    "errors of NumPy": (lambda: np.seterr(all="raise"), lambda: np.seterr(all="warn", under="ignore")),
    "no autograd": (lambda: torch._C._set_grad_enabled(False), lambda: torch._C._set_grad_enabled(True)),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_no_switch_of_the_process_changes_the_bits(switch):
    """λ is so large that the weights of a feature that is always 0 are below the least normal number in the end."""
    settings = with_stopping(SETTINGS.replace(L2=30.0, epochs=89), eval_every=50)
    blank = TRAIN[0].clone()
    blank[0] = 0
    sets = (blank, TRAIN[1]), VALIDATION
    expected = train(settings, dtype=torch.float32, sets=sets)
    tiny = torch.finfo(torch.float32).tiny
    assert any(((value != 0) & (value.abs() < tiny)).any() for value in expected.parameters.values())
    on, off = SWITCHES[switch]
    on()
    try:
        run = train(settings, dtype=torch.float32, sets=sets)
    finally:
        off()
    assert_same(run, expected)


def test_nothing_changes_in_inference_mode():
    with torch.inference_mode():
        run = train()
    assert_same(run, train())


def test_a_thread_s_arithmetic_is_afterwards_what_it_was():
    torch.set_flush_denormal(True)
    try:
        with ieee_754():
            assert torch.tensor([1e-40]).mul(0.5).item() > 0
        assert torch.tensor([1e-40]).mul(0.5).item() == 0
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: there is none here")
@BATCHNORM
def test_a_gpu_gives_the_same_within_rounding(batchnorm):
    settings = SETTINGS.replace(L2=0.5, batchnorm=batchnorm)
    cpu, cuda = (train(settings, device=device).tensors() for device in ("cpu", "cuda"))
    for name, value in cpu.items():
        assert_close(cuda[name], value, rtol=1e-7, atol=1e-7)
