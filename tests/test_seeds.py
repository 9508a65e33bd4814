"""What a seed decides: streams of their own for the initial weights and for each epoch's order."""

import numpy as np
import pytest

from nnlib import InputError
from nnlib.core.seeds import Seeds, epoch_order, initial_normals


def test_numbers_are_those_of_the_day_this_was_written():
    first, second = initial_normals(7, [(2,), (1, 1)])
    assert [*first, *second[0]] == [0.15804250808871675, 0.7415457485377479, -1.693554912963928]
    assert epoch_order(7, 1, 8).tolist() == [3, 5, 7, 4, 6, 1, 2, 0]
    assert epoch_order(7, 2, 8).tolist() == [2, 7, 4, 6, 0, 3, 5, 1]


def test_an_epochs_order_has_each_example_once_and_needs_only_its_number():
    later = epoch_order(0, 3, 1000)
    orders = [epoch_order(0, epoch, 1000) for epoch in (1, 2, 3)]
    assert np.array_equal(later, orders[2])
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(1000))


def test_shuffled_once_every_epoch_has_the_firsts_order_and_never_that_of_the_examples():
    assert np.array_equal(epoch_order(7, 3, 8, "once"), epoch_order(7, 1, 8))
    assert np.array_equal(epoch_order(7, 3, 8, "never"), np.arange(8))


def test_a_number_is_the_seed_of_both():
    assert Seeds.of(3) == Seeds(weights=3, shuffle=3)
    assert Seeds.of(np.int64(3)) == Seeds.of(Seeds(3, 3))
    for none in (-1, 0.5, True, None, Seeds(3, -1), Seeds("a", 3), (3, 4)):
        with pytest.raises(InputError, match=r"^seed: expected .*, got "):
            Seeds.of(none)


def test_every_seed_and_epoch_has_numbers_of_its_own():
    streams = [(seed, epoch) for seed in (0, 1, 2, 2**32, 2**64) for epoch in (1, 2, 3, 2**32)]
    assert len({epoch_order(seed, epoch, 50).tobytes() for seed, epoch in streams}) == len(streams)
    assert len({initial_normals(seed, [(3,)])[0].tobytes() for seed, _ in streams}) == 5


def test_a_layers_initial_normals_do_not_depend_on_the_layers_after_it():
    one, two = initial_normals(0, [(3, 4)]), initial_normals(0, [(3, 4), (2, 3)])
    assert np.array_equal(one[0], two[0])
    assert not np.array_equal(two[0][0, :3], two[1][0])
