"""Many networks at once: step for step the readable loop, each as if it were alone, stopped, resumed or diverged."""

import hashlib
import os
import platform
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numba import TypingError, njit
from problems import problem
from torch.testing import assert_close

import nnlib
from nnlib import Run, Seeds, Settings, Stopping, Store, TrainingData, train_replicas
from nnlib.core.layers import BATCHNORM_EPSILON
from nnlib.core.training import evaluate_cost, l_layer_model
from nnlib.data.files import load_tensors, save_tensors
from nnlib.engine import batched, compiled
from nnlib.engine.functions import EXP_LOWEST, LANES, constants, exp
from nnlib.engine.layout import to_ink
from nnlib.engine.run import HISTORY, Job
from nnlib.engine.simd import load, prefetch, store
from nnlib.replicas import train as replicas

TRAIN, VALIDATION = problem(57), problem(30, seed=1)
# Half of the numbers are blanks; batches of 16, 16, 16 and 9.
for X, _ in (TRAIN, VALIDATION):
    X.clamp_(min=0)
STUDYS = Stopping(rule="change", threshold=1e-5, eval_every=2, returns="last")
SETTINGS = Settings(
    layers_dims=[6, 5, 4, 3],
    initialization="he_fan_out",
    learning_rate=0.1,
    epochs=4,
    batch_size=16,
    stopping=STUDYS,
)
BATCHNORM = pytest.mark.parametrize("batchnorm", ["none", "straight_through", "exact"])


def replace(settings, **changes):
    """Other settings; a change of stopping is given by its own name."""
    own = {name: changes.pop(name) for name in list(changes) if name in Stopping.model_fields}
    return settings.replace(stopping=settings.stopping.replace(**own), **changes)


def train(settings=SETTINGS, seeds=(0, 1, 2), dtype=torch.float64, sets=(TRAIN, VALIDATION), start=None, **options):
    sets = [tuple(array.to(dtype) for array in pair) for pair in sets]
    if start is None:
        return train_replicas(*sets, settings, list(seeds), **options)
    jobs = {k: Job(settings, Seeds.of(seed), start.one(k), (settings.epochs,)) for k, seed in enumerate(seeds)}
    csr = compiled.Sets(*(to_ink(*pair) for pair in sets))
    runs = dict(compiled.train_each(csr, jobs, threads=2, on_eval=lambda *_: None))
    return Run.join([runs[k] for k in jobs])


def train_batched(settings=SETTINGS, seeds=(0, 1, 2), dtype=torch.float64, sets=(TRAIN, VALIDATION), start=None):
    """The engine for GPUs, on the CPU."""
    sets = [tuple(array.to(dtype) for array in pair) for pair in sets]
    start = start or Run.begin(settings, seeds, dtype)
    return batched.train_batched(*sets, settings, seeds, start, torch.device("cpu"), lambda *_: None)


ENGINE = pytest.mark.parametrize("engine", [train, train_batched], ids=["compiled", "batched"])


def train_alone(settings, seed, train=TRAIN, validation=VALIDATION):
    """Parameters and records of the same run by the readable loop."""
    records, options = [], dict(settings)
    parameters, _ = l_layer_model(
        *train,
        options.pop("layers_dims"),
        num_iterations=options.pop("epochs"),
        validation=validation,
        seed=seed,
        on_eval=records.append,
        **options,
    )
    return parameters, records


def assert_same_bits(one, other, which=slice(None)):
    """That parameters, and how the replicas ended, agree to the last bit."""
    for name, value in one.parameters.items():
        assert torch.equal(value[which], other.parameters[name][which]), name
    for name in ("stopped_at", "diverged_at"):
        assert torch.equal(getattr(one, name)[which], getattr(other, name)[which]), name


def assert_same(one, other):
    """That two runs agree in everything, to the last bit."""
    for name, value in one.tensors().items():
        assert torch.equal(value.nan_to_num(-1), other.tensors()[name].nan_to_num(-1)), name


def assert_close_to_alone(run, replica, alone, **tolerance):
    parameters, records = alone
    for name, value in parameters.items():
        assert_close(run.parameters[name][replica], value, **tolerance)
    ours = run.one(replica)
    assert ours.steps.tolist() == [record["step"] for record in records]
    for name in HISTORY:
        expected = torch.tensor([record[name] for record in records], dtype=ours.reference.dtype)
        assert_close(getattr(ours, name)[:, 0], expected, **tolerance, equal_nan=True)


@pytest.mark.parametrize("L2", [0.0, 0.05])
@BATCHNORM
@ENGINE
def test_it_follows_the_readable_loop_over_300_steps(engine, batchnorm, L2):
    settings = replace(SETTINGS, epochs=75, L2=L2, eval_every=7, batchnorm=batchnorm)
    run = engine(settings)
    assert run.step == 300
    for replica in range(3):
        assert_close_to_alone(run, replica, train_alone(settings, replica), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers_dims", [[6, 3], [6, 40, 3], [6, 5, 4, 4, 3, 3]], ids=str)
@pytest.mark.parametrize("batchnorm", ["none", "straight_through"])
@ENGINE
def test_other_networks_follow_too(engine, batchnorm, layers_dims):
    settings = replace(SETTINGS, layers_dims=layers_dims, L2=0.05, epochs=20, batchnorm=batchnorm)
    assert_close_to_alone(engine(settings), 2, train_alone(settings, 2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch_size", [7, 40, 57])
@BATCHNORM
@ENGINE
def test_with_other_batch_sizes_it_follows_too(engine, batchnorm, batch_size):
    """The kernel takes 16 examples at a time: here fewer, several times so many, and all there are at once."""
    settings = replace(SETTINGS, batch_size=batch_size, L2=0.05, epochs=20, batchnorm=batchnorm)
    assert_close_to_alone(engine(settings), 2, train_alone(settings, 2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shuffle", ["once", "never"])
@ENGINE
def test_it_follows_in_one_order_too(engine, shuffle):
    settings = replace(SETTINGS, shuffle=shuffle, L2=0.05)
    run = engine(settings)
    for replica in range(3):
        assert_close_to_alone(run, replica, train_alone(settings, replica), rtol=1e-10, atol=1e-10)


@BATCHNORM
@ENGINE
def test_in_float32_it_is_the_same_within_rounding(engine, batchnorm):
    settings = replace(SETTINGS, L2=0.5, batchnorm=batchnorm)
    single, double = engine(settings, dtype=torch.float32), engine(settings)
    assert single.parameters["W1"].dtype == torch.float32
    for name, value in double.parameters.items():
        assert_close(single.parameters[name].double(), value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def exponential():
    """`exp` of the kernel, for flat arrays of a multiple of 16 numbers."""

    @njit
    def run(values, c):
        out = np.empty_like(values)
        for k in range(0, len(values), len(LANES)):
            store(out, k, exp(load(values, k, LANES), c))
        return out

    return lambda values: run(values, constants(values.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_is_right_to_the_last_bit_or_two_and_never_0(dtype, exponential):
    lowest = EXP_LOWEST[np.dtype(dtype).name]
    values = np.linspace(lowest, -lowest, 16_000, dtype=dtype)
    wanted = np.exp(values.astype(np.longdouble))
    # Of log 2 the kernel knows as many digits as a double has, and x / log 2 times what is left of it is missing.
    allowed = 2 * np.finfo(dtype).eps + 4e-17 * np.abs(values.astype(np.float64))
    assert (np.abs(exponential(values) / wanted - 1) < allowed).all()
    # Below, it stays the least that is a normal number: another power of e would not be one.
    below = exponential(np.repeat(dtype([lowest, lowest - 1, -np.inf]), 16))[::16]
    assert (below == below[0]).all()
    assert below[0] / np.e < np.finfo(dtype).tiny <= below[0]
    assert np.isnan(exponential(np.full(16, np.nan, dtype))).all()


# Of the runs below, whose bits are the same on every system. Another hash is another study: all of its results are to
# be made again then.
BITS = {
    ("none", torch.float32): "ea397cedac57c345",
    ("straight_through", torch.float32): "616285878c715087",
    ("exact", torch.float32): "4a203ed6c637ee3f",
    ("none", torch.float64): "39c108a0ac70a7bc",
    ("straight_through", torch.float64): "864ff51f038e871d",
    ("exact", torch.float64): "16cc897f63dd97d7",
}
# Beside the parameters, in this order.
HASHED = [
    "diverged_at",
    "epoch",
    "evals_without_progress",
    "reference",
    "step",
    "steps",
    "stopped_at",
    "sum_squared_weights",
    "train_cost",
    "validation_cost",
]


@pytest.mark.parametrize(("batchnorm", "dtype"), BITS)
def test_the_bits_are_those_of_the_committed_results(batchnorm, dtype):
    X = ((torch.arange(6 * 57) * 37 % 101).reshape(6, 57) - 40).clamp(min=0).to(dtype) / 20
    Y = torch.eye(3)[:, torch.arange(57) * 5 % 3]
    settings = replace(SETTINGS, L2=0.05, epochs=50, batchnorm=batchnorm)
    run = train(settings, (0, 7), dtype, ((X, Y), (X[:, :30], Y[:, :30])))
    arrays = [run.parameters[name] for name in sorted(run.parameters)] + [run.tensors()[name] for name in HASHED]
    digest = hashlib.sha256(b"".join(array.numpy().tobytes() for array in arrays))
    assert digest.hexdigest()[:16] == BITS[batchnorm, dtype]


def test_inputs_without_blanks_and_with_many_values_are_right_too():
    full = problem(57, seed=5), problem(30, seed=6)
    settings = replace(SETTINGS, L2=0.5)
    run = train_replicas(*full, settings, [4])
    assert_close_to_alone(run, 0, train_alone(settings, 4, *full))


@pytest.mark.parametrize(("different", "width"), [(1, 1), (256, 1), (257, 4)])
def test_up_to_256_values_take_a_byte_for_each_inked_pixel(different, width):
    """Features 1 and 3 of an example are inked, alike; of 2 and 4 no example has any."""
    inked = torch.arange(1.0, different + 1)
    X = torch.stack([inked, 0 * inked, inked, 0 * inked])
    ink = to_ink(X, torch.eye(3)[:, torch.arange(different) % 3])
    assert ink.grey.itemsize == width
    assert ink.pixel.dtype == np.uint16
    assert ink.pixel.tolist() == [0, 2] * different
    assert ink.values[ink.grey].tolist() == inked.repeat_interleave(2).tolist()
    assert ink.start.tolist() == [*range(0, 2 * different + 1, 2)]
    assert ink.label.tolist() == [k % 3 for k in range(different)]


def test_examples_without_any_ink_are_as_others():
    ink = to_ink(torch.zeros(4, 3), torch.eye(3))
    assert (len(ink.pixel), len(ink.grey), ink.grey.itemsize) == (0, 0, 1)
    assert ink.start.tolist() == [0, 0, 0, 0]
    assert ink.label.tolist() == [0, 1, 2]


@pytest.mark.parametrize("number", [np.float64(1), np.int64(1)], ids=str)
def test_lanes_are_added_to_lanes_and_numbers_of_their_own_type_alone(number):
    @njit
    def add(values, number):
        store(values, 0, load(values, 0, LANES) + number)

    values = np.ones(16, np.float32)
    add(values, np.float32(1))
    assert values.tolist() == [2] * 16
    with pytest.raises(TypingError, match="No implementation of function"):
        add(values, number)


@BATCHNORM
def test_a_replica_has_the_same_bits_whatever_runs_beside_it(batchnorm):
    settings = replace(SETTINGS, L2=0.5, batchnorm=batchnorm)
    alone = [train(settings, [seed], torch.float32, threads=1) for seed in range(5)]
    for seeds, threads in (((0, 1, 2, 3, 4), 1), ((0, 1, 2, 3, 4), 2), ((3, 1), 2), ((4, 4, 0), 3)):
        together = train(settings, seeds, torch.float32, threads=threads)
        assert_same(together, Run.join([alone[seed] for seed in seeds]))


STOPPING = replace(SETTINGS, epochs=20, patience=5, threshold=0.001, rule="improvement")


@ENGINE
def test_a_replica_that_stops_is_frozen_while_others_go_on(engine):
    run = engine(STOPPING, range(6))
    stopped = run.stopped_at > 0
    assert stopped.any()
    assert run.running.any()
    assert len(run.stopped_at[stopped].unique()) > 1
    for replica in range(6):
        alone = train_alone(STOPPING, replica)
        assert alone[1][-1]["status"] == ("stopped" if stopped[replica] else "finished")
        assert run.stopped_at[replica] in (0, alone[1][-1]["step"])
        assert_close_to_alone(run, replica, alone, rtol=1e-9, atol=1e-9)
        for name in HISTORY:
            assert getattr(run, name)[run.steps > alone[1][-1]["step"], replica].isnan().all()


@BATCHNORM
def test_how_many_steps_a_call_of_the_kernel_takes_changes_nothing(batchnorm, monkeypatch):
    settings = replace(SETTINGS, L2=0.5, eval_every=1000, batchnorm=batchnorm)
    expected, learn, calls = train(settings, [0]), compiled.Replica.learn, []

    def spy(replica, ink, order, begin, end):
        calls.append(end - begin)
        return learn(replica, ink, order, begin, end)

    monkeypatch.setattr(compiled.Replica, "learn", spy)
    # A step counts 16 examples · 48 weights, 6 rows of 8 units; an epoch has 16, 16, 16 and 9 examples.
    for steps, examples in ((0.5, [16, 16, 16, 9]), (1.5, [16, 16, 16, 9]), (3, [48, 9]), (1000, [57])):
        monkeypatch.setattr(compiled, "AT_ONCE", int(steps * 16 * 48))
        calls.clear()
        assert_same(train(settings, [0]), expected)
        assert calls == examples * 4


def test_a_call_of_the_kernel_takes_tenths_of_a_second(monkeypatch):
    """Between two calls Ctrl-C is heard. With the study's network a step counts 32 examples · 784 rows of 24 units."""
    examples, steps = [], 200

    def learn(replica, ink, order, begin, end):
        examples.append(end - begin)
        return 0.0, 0.0

    monkeypatch.setattr(compiled.Replica, "learn", learn)
    blank = torch.zeros(784, 32 * steps), torch.eye(10)[:, [0] * (32 * steps)]
    settings = Settings(layers_dims=(784, 20, 7, 5, 10), epochs=1, batch_size=32, stopping={"eval_every": 10**6})
    train_replicas(blank, (blank[0][:, :9], blank[1][:, :9]), settings, [0])
    assert sum(examples) == 32 * steps
    assert 0.99e8 < max(examples) * 784 * 24 <= 1e8


# Units of the first layer: their blocks, and a block's width, a multiple of 8 up to 32.
@pytest.mark.parametrize(
    ("units", "blocks", "width"),
    [(1, 1, 8), (8, 1, 8), (9, 1, 16), (20, 1, 24), (32, 1, 32), (33, 2, 24), (64, 2, 32), (65, 3, 24)],
)
def test_the_first_layer_lies_in_blocks_as_narrow_as_can_be(units, blocks, width):
    settings = replace(SETTINGS, layers_dims=[6, units, 3])
    given = Run.begin(settings, [0], torch.float64).parameters
    replica = compiled.Replica(given, settings)
    assert (replica.blocks, replica.width, len(replica.net.W1)) == (blocks, width, 6 * blocks * width)
    for name, value in replica.parameters().items():
        assert torch.equal(value, given[name]), name


@pytest.mark.parametrize(("examples", "columns"), [(1, 16), (16, 16), (17, 32), (34, 48), (57, 64)])
def test_a_batch_has_columns_up_to_a_multiple_of_16(examples, columns):
    settings = replace(SETTINGS, batch_size=examples)
    memory = compiled.Replica(Run.begin(settings, [0], torch.float64).parameters, settings).memory
    assert (memory.batch, memory.columns, len(memory.present)) == (examples, columns, columns)
    assert len(memory.Z) == len(memory.dZ) == columns * len(memory.deviation)


@pytest.mark.parametrize(("features", "kind"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_the_last_pixel_too_has_its_number(features, kind):
    X = torch.zeros(features, 2)
    X[-1] = 1
    ink = to_ink(X, torch.eye(2))
    assert ink.pixel.dtype == kind
    assert ink.pixel.tolist() == [features - 1] * 2


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_weights_begin_where_a_cache_line_does(size):
    for array in (np.arange(2.0 * size).reshape(2, size).T, np.arange(size, dtype=np.float32)):
        copy = compiled.on_cache_lines(array)
        assert copy.ctypes.data % 64 == 0
        assert np.array_equal(copy, array.flatten())


def test_no_lane_is_blank_where_a_set_passes_in_parts():
    assert compiled.CHUNK % len(LANES) == 0


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64's instructions")
def test_what_is_fetched_ahead_is_data_to_read_for_every_cache():
    @njit
    def ahead(array):
        prefetch(array, 3)

    ahead(np.zeros(4, np.uint16))
    (code,) = ahead.inspect_asm().values()
    assert set(re.findall(r"prefetch\w+(?=\t)", code)) == {"prefetcht0"}


def test_it_ends_when_all_replicas_have_stopped():
    run = train(replace(SETTINGS, epochs=1000, patience=1, threshold=1e9))
    assert run.stopped_at.tolist() == [4, 4, 4]
    assert run.steps.tolist() == [2, 4]


@ENGINE
def test_a_replica_that_diverges_is_frozen_and_harms_no_other(engine):
    start = Run.begin(SETTINGS, [0, 1, 2], torch.float64)
    start.parameters["W1"][1] *= 1e300  # its products overflow
    run, healthy = engine(SETTINGS, start=start), engine(SETTINGS)
    assert run.diverged_at.tolist() == [0, 2, 0]
    assert run.running.tolist() == [True, False, True]
    assert_same_bits(run, healthy, [0, 2])
    ended = torch.stack([run.train_cost[:, 1], run.validation_cost[:, 1]])
    assert not ended[:, 0].isfinite().all()
    assert ended[:, 1:].isnan().all()


@ENGINE
def test_a_replica_that_diverges_keeps_the_parameters_of_that_evaluation(engine):
    # A step of 0.1 · 10¹⁰ / 16 weight decay makes every step's weights a hundred million times larger.
    settings = replace(SETTINGS, epochs=20, L2=1e10)
    run = engine(settings)
    step = run.diverged_at[1]
    assert 4 < step < 80
    parameters, records = train_alone(settings, 1)
    assert (records[-1]["step"], records[-1]["status"]) == (step, "diverged")
    for name, value in parameters.items():
        ours = run.parameters[name][1]
        both = ours.isfinite() & value.isfinite()  # 0 · ∞ is NaN, and the compiled step does not multiply by 0
        assert_close(ours[both], value[both], rtol=1e-9, atol=0)


@ENGINE
def test_a_training_cost_alone_that_is_infinite_is_divergence_too(engine):
    # The weights are 1.05 and −1.09, so that the outputs of 1.6e308 either way have no finite difference.
    X, Y = torch.tensor([[1.46e308]], dtype=torch.float64), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    settings = Settings(
        layers_dims=[1, 2],
        initialization="he_fan_out",
        learning_rate=1e-37,
        epochs=1,
        batch_size=1,
        stopping={"eval_every": 1},
    )
    run = engine(settings, [30], sets=((X, Y), (torch.ones_like(X), Y)))
    assert (run.train_cost.item(), run.validation_cost.item()) == (torch.inf, 0)
    assert run.diverged_at.tolist() == [1]


def test_a_replica_that_could_stop_and_diverges_has_diverged():
    run = train(replace(SETTINGS, epochs=20, patience=3, threshold=1e38, learning_rate=1e37, L2=1e38))
    assert run.diverged_at.gt(0).all()
    assert run.stopped_at.eq(0).all()


@pytest.mark.parametrize(
    ("settings", "some_stop"),
    [(SETTINGS, False), (replace(SETTINGS, patience=2, threshold=0.1, rule="improvement"), True)],
)
@pytest.mark.parametrize("returns", ["best", "last"])
@BATCHNORM
def test_going_on_from_the_store_is_as_if_never_interrupted(tmp_path, batchnorm, settings, some_stop, returns):
    settings = replace(settings, L2=0.5, batchnorm=batchnorm, returns=returns)
    half = train(replace(settings, epochs=2), dtype=torch.float32, store=Store(tmp_path))
    resumed = train(settings, dtype=torch.float32, store=Store(tmp_path))
    assert (half.epoch, bool(half.stopped_at.any())) == (2, some_stop)
    assert_same(resumed, train(settings, dtype=torch.float32))


@pytest.mark.parametrize("returns", ["best", "last"])
@pytest.mark.parametrize("half", [1, 2, 3])
def test_going_on_from_an_end_between_two_evaluations_is_as_if_never_interrupted(tmp_path, half, returns):
    settings = replace(SETTINGS, eval_every=3, patience=2, threshold=0.05, rule="improvement", returns=returns)
    train(replace(settings, epochs=half), store=Store(tmp_path))
    assert_same(train(settings, store=Store(tmp_path)), train(settings))


def test_what_diverged_at_a_last_evaluation_goes_on_as_if_there_had_been_none(tmp_path):
    settings = replace(SETTINGS, eval_every=3, L2=1e30, epochs=1)
    assert train(settings, store=Store(tmp_path)).diverged_at.gt(0).all()
    longer = replace(settings, epochs=3)
    assert_same(train(longer, store=Store(tmp_path)), train(longer))


@ENGINE
def test_it_returns_the_parameters_of_the_best_evaluation(engine):
    """As the readable loop does; with so large a step the cost jumps up and down."""
    settings = replace(SETTINGS, epochs=20, learning_rate=2.0, returns="best", patience=100)
    run, last = engine(settings), engine(replace(settings, returns="last"))
    for replica in range(3):
        assert_close_to_alone(run, replica, train_alone(settings, replica), rtol=1e-8, atol=1e-8)
    assert (run.validation_cost[-1] > run.validation_cost.amin(0)).all()
    assert not torch.equal(run.parameters["W1"], last.parameters["W1"])
    for name, value in last.parameters.items():
        assert torch.equal(run.last_parameters[name], value)


@ENGINE
def test_before_the_first_evaluation_it_returns_those_of_the_last_step(engine):
    settings = replace(SETTINGS, epochs=3, eval_every=1000, returns="best")
    assert_close_to_alone(engine(settings), 1, train_alone(settings, 1), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("quantity", ["validation_cost", "validation_accuracy"])
@ENGINE
def test_it_watches_what_it_is_asked_to(engine, quantity):
    settings = replace(STOPPING, quantity=quantity, threshold=0.0, patience=3, returns="best")
    run = engine(settings, range(4))
    assert run.stopped_at.gt(0).any()
    for replica in range(4):
        assert_close_to_alone(run, replica, train_alone(settings, replica), rtol=1e-9, atol=1e-9)


@ENGINE
def test_initial_weights_are_of_one_seed_and_shuffles_of_the_other(engine):
    run = engine(SETTINGS, [Seeds(weights=3, shuffle=4), Seeds(3, 3), 3])
    assert_close_to_alone(run, 0, train_alone(SETTINGS, Seeds(3, 4)), rtol=1e-10, atol=1e-10)
    assert_close(run.parameters["W1"][1], run.parameters["W1"][2])
    assert not torch.equal(run.parameters["W1"][0], run.parameters["W1"][1])


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_run_comes_back_from_its_tensors(tmp_path, epochs):
    run = train(replace(SETTINGS, epochs=epochs))
    save_tensors(tmp_path / "run.safetensors", run.tensors())
    loaded = Run.from_tensors(load_tensors(tmp_path / "run.safetensors"))
    assert (loaded.epoch, loaded.step, loaded.replicas) == (epochs, 4 * epochs, 3)
    assert loaded.parameters.keys() == run.parameters.keys()
    for name, value in run.tensors().items():
        assert torch.equal(loaded.tensors()[name], value), name


def test_progress_is_told_of_every_evaluation():
    told = []
    run = train(progress=told.append)
    expected = [
        (replica, step, cost)
        for step, costs in zip(run.steps.tolist(), run.validation_cost.tolist(), strict=True)
        for replica, cost in enumerate(costs)
    ]
    assert sorted((one.replica, one.step, one.validation_cost) for one in told) == sorted(expected)
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1].done == told[-1].total == 3 * run.step


def test_every_replica_has_an_order_of_its_own():
    orders = torch.stack([torch.arange(7), torch.arange(7).flip(0)])
    rows = torch.stack([torch.arange(7) * 10, torch.arange(7)], 1)
    batches = batched.gather(rows, orders, 3, classes=1)
    # Each batch is valid until the next one.
    seen = [(batch.inputs_T.squeeze(-1).tolist(), batch.labels.squeeze(1).tolist()) for batch in batches]
    assert [labels for _, labels in seen] == [[[x // 10 for x in row] for row in inputs] for inputs, _ in seen]
    assert [inputs for inputs, _ in seen] == [
        [[0, 10, 20], [60, 50, 40]],
        [[30, 40, 50], [30, 20, 10]],
        [[60], [0]],
    ]


def test_more_replicas_than_are_gathered_at_a_time_get_their_batches_one_by_one():
    orders = torch.arange(4).repeat(batched.GATHER + 1, 1)
    rows = torch.stack([torch.arange(4) * 10, torch.arange(4)], 1)
    seen = [batch.labels[-1, 0].tolist() for batch in batched.gather(rows, orders, 2, classes=1)]
    assert seen == [[0, 1], [2, 3]]


@BATCHNORM
@pytest.mark.parametrize("epochs", [0, 4])
def test_accuracy_is_predict(batchnorm, epochs):
    settings = replace(SETTINGS, epochs=epochs, batchnorm=batchnorm)
    run = train(settings)
    run.parameters["W1"][1] = 0  # every output the same: the first class is predicted
    expected = nnlib.predict(*VALIDATION, run.parameters, batchnorm=batchnorm)
    assert torch.equal(nnlib.accuracy(*VALIDATION, run.parameters, batchnorm=batchnorm), expected)
    assert torch.equal(nnlib.accuracy(*VALIDATION, run.parameters), nnlib.predict(*VALIDATION, run.parameters))


@BATCHNORM
@pytest.mark.parametrize("examples", [480, 481, 1000])
def test_a_set_larger_than_the_cache_is_one_set_all_the_same(batchnorm, examples):
    settings, large = replace(SETTINGS, L2=0.5, batchnorm=batchnorm), problem(examples, seed=2)
    run = train_replicas(TRAIN, large, settings, [0, 1])
    assert torch.equal(
        nnlib.accuracy(*large, run.parameters, batchnorm=batchnorm),
        nnlib.predict(*large, run.parameters, batchnorm=batchnorm),
    )
    assert_close(run.validation_cost[-1], evaluate_cost(*large, run.parameters, settings), rtol=1e-10, atol=1e-10)


@BATCHNORM
def test_a_replica_takes_examples_from_anywhere_in_its_order_and_sets_of_any_size(batchnorm):
    settings = replace(SETTINGS, batchnorm=batchnorm)
    start = Run.begin(settings, [0], torch.float64).parameters
    one, other = compiled.Replica(start, settings), compiled.Replica(start, settings)
    large, small = to_ink(*TRAIN), to_ink(*VALIDATION)
    order = np.random.default_rng(0).permutation(57)
    assert one.learn(large, order, 5, 30) == other.learn(large, order[5:], 0, 25)
    alone = [compiled.Replica(one.parameters(), settings).cost(ink) for ink in (small, large, small)]
    assert [other.cost(ink) for ink in (small, large, small)] == alone


def test_a_network_that_diverged_reads_nothing():
    parameters = Run.begin(SETTINGS, [0, 1], torch.float64).parameters
    parameters["W2"][1, 0, 0] = torch.inf
    assert nnlib.accuracy(*VALIDATION, parameters).isfinite().tolist() == [True, False]


@pytest.mark.parametrize("example", [0, 1, 15, 16, 29])
def test_one_example_whose_output_is_not_finite_is_enough_to_read_nothing(example):
    parameters = Run.begin(SETTINGS, [0], torch.float64).parameters
    X, Y = VALIDATION[0].clone(), VALIDATION[1]
    X[:, example] = 1e308
    assert nnlib.accuracy(X, Y, {name: value * 100 for name, value in parameters.items()}).isnan()
    assert nnlib.accuracy(X, Y, {name: value / 100 for name, value in parameters.items()}).isfinite()


def test_too_many_replicas_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(Run, "begin", None)
    with pytest.raises(MemoryError, match=r"^replicas: 1000000000 need about .* GiB"):
        train_replicas(TRAIN, VALIDATION, SETTINGS, range(10**9))


DIMS = [6, 5, 4, 3]  # 5 · 7 + 4 · 6 + 3 · 5 = 74 weights and biases, 12 units


@pytest.mark.parametrize(
    ("batchnorm", "device", "threads", "numbers"),
    [
        # Of ten replicas the networks twice; of the passes at the same time Z and A, on a GPU the caches too.
        ("none", "cpu", 2, 10 * 2 * 74 + 2 * 2 * 512 * 12),
        ("exact", "cpu", 2, 10 * 2 * 74 + 2 * 2 * 30 * 12),
        ("exact", "cpu", 20, 10 * 2 * 74 + 10 * 2 * 30 * 12),
        ("none", "cuda", 2, 10 * 2 * 74 + 10 * 3 * 30 * 12),
    ],
)
def test_the_memory_that_replicas_need_is_counted(batchnorm, device, threads, numbers, monkeypatch):
    settings, free = Settings(layers_dims=DIMS, batchnorm=batchnorm), 8 * numbers
    data = TrainingData(TRAIN, VALIDATION, DIMS)
    monkeypatch.setattr(replicas.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**15))
    replicas.check_memory([settings], 10, data, torch.device(device), threads)
    free -= 1
    with pytest.raises(MemoryError, match=f"^replicas: 10 need about .* memory on {device}, .* about 9 would fit$"):
        replicas.check_memory([settings], 10, data, torch.device(device), threads)


def test_accuracy_takes_what_predict_takes():
    """Parameters that all networks share, and those of autograd."""
    parameters = nnlib.initialize_parameters([6, 7, 7, 3], seed=[0, 1], dtype=torch.float64)
    parameters |= {"b3": torch.tensor([[0.0], [0.3], [0]]).double(), "W2": torch.eye(7).double()}
    X, Y = VALIDATION
    expected = nnlib.predict(X, Y, parameters)
    assert torch.equal(nnlib.accuracy(X, Y, parameters), expected)
    followed = {name: value.requires_grad_() for name, value in parameters.items()}
    assert torch.equal(nnlib.accuracy(X.clone().requires_grad_(), Y, followed), expected)
    for name in "XY":
        sets = {"X": X, "Y": Y}
        with pytest.raises(nnlib.InputError, match=f"^{name}: expected two axes"):
            nnlib.accuracy(**sets | {name: sets[name].expand(2, -1, -1)}, parameters=parameters)


def test_cores_are_those_of_this_process_else_of_the_machine_else_one(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0: {2, 3, 5}}[process], raising=False)
    assert replicas.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((4, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert replicas.cores() == expected


def test_on_a_device_those_go_on_together_that_have_come_as_far():
    at_once, half = train_batched(SETTINGS), train_batched(replace(SETTINGS, epochs=2))
    begun = Run.begin(SETTINGS, [0, 1, 2], torch.float64)
    starts = {0: half.one(0), 1: begun.one(1), 2: half.one(2)}
    data, told = TrainingData(TRAIN, VALIDATION, DIMS), []
    jobs = {(SETTINGS, k): Job(SETTINGS, Seeds(k, k), start, (4,)) for k, start in starts.items()}
    runs = dict(replicas._on_device(data, jobs, torch.device("cpu"), lambda *seen: told.append(seen)))
    assert sorted(k for _, k in runs) == [0, 1, 2]
    for (settings, k), run in runs.items():
        for name, value in run.parameters.items():
            assert_close(value[0], at_once.parameters[name][k], rtol=1e-10, atol=1e-10)
        steps = [step for step in run.steps.tolist() if step > 4 * starts[k].epoch]
        costs = run.validation_cost[-len(steps) :, 0].tolist()
        assert [seen for seen in told if seen[0] == (settings, k)] == [
            ((settings, k), step, cost) for step, cost in zip(steps, costs, strict=True)
        ]


def test_a_run_is_its_replicas_side_by_side():
    run = train(STOPPING, range(6))
    assert run.stopped_at.any()
    alone = [run.one(k) for k in range(6)]
    assert {value.shape[0] for one in alone for value in one.parameters.values()} == {1}
    assert_same(Run.join(alone), run)


def test_batch_norms_epsilon_is_the_same_everywhere():
    from nnlib.engine.functions import constants

    assert constants(torch.zeros(1).numpy().dtype).epsilon == torch.tensor(BATCHNORM_EPSILON).item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: there is none here")
@BATCHNORM
def test_a_gpu_gives_the_same_within_rounding(batchnorm):
    settings = replace(SETTINGS, L2=0.5, batchnorm=batchnorm)
    cpu, cuda = (train(settings, device=device).tensors() for device in ("cpu", "cuda"))
    for name, value in cpu.items():
        assert_close(cuda[name], value, rtol=1e-7, atol=1e-7)
