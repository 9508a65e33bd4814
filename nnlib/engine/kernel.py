"""The CPU engine's inner loops, compiled by Numba: gradient steps of one network, and a pass of it over a set.

They compute what `nnlib.core` computes, and visit only pixels with ink: four fifths of MNIST's are blank, and a blank
adds nothing to W x or to dW. A call is one network in one thread, and every sum has an order of its own that nothing
else changes, so that bits depend on the arguments alone; docs/engine.md says what that rests on.

A layer is known by `row`, where its rows begin, its units `n`, and `at`, where its weights begin in `W`; see
`nnlib.engine.layout`.
"""

from __future__ import annotations

import numpy as np

from nnlib.engine.functions import LANES, compiled, exp, log, part
from nnlib.engine.simd import fill, load, prefetch, store, total, where_above

ONE = np.uint64(1)
AHEAD = 2  # examples whose ink is fetched before their turn


@part
def first_layer(net, ink, order, begin, m, mem, units):
    """Z = W1 x + b for examples begin to begin + m of the order, ink only."""
    width, columns = len(units), mem.columns
    block_size = net.dims[0] * width
    for block in range(len(net.W1) // block_size):
        bias = load(net.b, block * width, units)
        for e in range(m):
            if begin + e + AHEAD < len(order):
                x = order[begin + e + AHEAD]
                for k in range(ink.start[x], ink.start[x + 1], 32):
                    prefetch(ink.pixel, k)
                    prefetch(ink.grey, k)
            # Two sums, so that an addition need not wait for the one before it.
            s, t, origin = bias, bias - bias, block * block_size
            start, stop = ink.start[order[begin + e]], ink.start[order[begin + e] + 1]
            for k in range(np.uint64(start), np.uint64(stop - (stop - start) % 2), np.uint64(2)):
                s = s + ink.values[ink.grey[k]] * load(net.W1, origin + ink.pixel[k] * width, units)
                t = t + ink.values[ink.grey[k + ONE]] * load(net.W1, origin + ink.pixel[k + ONE] * width, units)
            if (stop - start) % 2:
                s = s + ink.values[ink.grey[stop - 1]] * load(net.W1, origin + ink.pixel[stop - 1] * width, units)
            store(mem.sums, e * width, s + t)
        for j in range(width):
            for e in range(m):
                mem.Z[(block * width + j) * columns + e] = mem.sums[e * width + j]


@part
def linear_forward(net, at, row_in, n_in, row, n, mem):
    """Z = W A + b."""
    for j in range(n):
        for e in range(0, mem.columns, len(LANES)):
            s = fill(net.b[row + j], LANES)
            for i in range(n_in):
                s = s + net.W[at + j * n_in + i] * load(mem.A, (row_in + i) * mem.columns + e, LANES)
            store(mem.Z, (row + j) * mem.columns + e, s)


@part
def relu(row, n, mem, c):
    zero = fill(c.zero, LANES)
    for place in range(row * mem.columns, (row + n) * mem.columns, len(LANES)):
        z = load(mem.Z, place, LANES)
        store(mem.Z, place, where_above(zero, z, zero, z))


@part
def apply_batchnorm(row, n, m, mem, c):
    """Â = (A − μ) / √(σ² + ε) over the examples, row by row."""
    for j in range(row, row + n):
        s = fill(c.zero, LANES)
        for e in range(0, mem.columns, len(LANES)):
            s = s + load(mem.Z, j * mem.columns + e, LANES) * load(mem.present, e, LANES)
        mean = total(s) / m
        s = fill(c.zero, LANES)
        for e in range(0, mem.columns, len(LANES)):
            centred = (load(mem.Z, j * mem.columns + e, LANES) - mean) * load(mem.present, e, LANES)
            s = s + centred * centred
            store(mem.A, j * mem.columns + e, centred)
        mem.deviation[j] = np.sqrt(total(s) / m + c.epsilon)
        for e in range(j * mem.columns, (j + 1) * mem.columns, len(LANES)):
            store(mem.A, e, load(mem.A, e, LANES) / mem.deviation[j])


@part
def exact_batchnorm_backward(row, n, m, mem, c):
    """dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε)."""
    for j in range(row, row + n):
        s, products = fill(c.zero, LANES), fill(c.zero, LANES)
        for e in range(j * mem.columns, (j + 1) * mem.columns, len(LANES)):
            s = s + load(mem.dZ, e, LANES)
            products = products + load(mem.dZ, e, LANES) * load(mem.A, e, LANES)
        mean, mean_product = total(s) / m, total(products) / m
        for e in range(0, mem.columns, len(LANES)):
            at = j * mem.columns + e
            dA = (load(mem.dZ, at, LANES) - mean - load(mem.A, at, LANES) * mean_product) / mem.deviation[j]
            store(mem.dZ, at, dA * load(mem.present, e, LANES))


@part
def forward(net, ink, order, begin, m, mem, use_batchnorm, c, units):
    """All layers; where the last one's rows begin, its units, and where its weights begin."""
    first_layer(net, ink, order, begin, m, mem, units)
    row, n, at = 0, net.dims[1], 0
    step = len(net.W1) // net.dims[0]  # the first layer's rows, filling included
    for layer in range(2, len(net.dims)):
        relu(row, n, mem, c)
        if use_batchnorm:
            apply_batchnorm(row, n, type(c.one)(m), mem, c)
        at += 0 if layer == 2 else n * net.dims[layer - 2]
        linear_forward(net, at, row, n, row + step, net.dims[layer], mem)
        row, n, step = row + step, net.dims[layer], net.dims[layer]
    return row, n, at


@part
def largest_and_sum(row, n, e, mem, c):
    """Of 16 examples: the largest Z of the output layer, and Σ exp(Z − largest)."""
    largest = load(mem.Z, row * mem.columns + e, LANES)
    for j in range(row + 1, row + n):
        z = load(mem.Z, j * mem.columns + e, LANES)
        largest = where_above(z, largest, z, largest)
    s = fill(c.zero, LANES)
    for j in range(row, row + n):
        s = s + exp(load(mem.Z, j * mem.columns + e, LANES) - largest, c)
    return largest, s


@part
def softmax_backward(label, order, begin, m, row, n, mem, c):
    """dZ = softmax(Z) − Y, the gradient of the cross-entropy."""
    for e in range(0, mem.columns, len(LANES)):
        largest, s = largest_and_sum(row, n, e, mem, c)
        for j in range(row, row + n):
            p = exp(load(mem.Z, j * mem.columns + e, LANES) - largest, c) / s
            store(mem.dZ, j * mem.columns + e, p * load(mem.present, e, LANES))
    for e in range(m):
        mem.dZ[(row + label[order[begin + e]]) * mem.columns + e] -= c.one


@part
def cross_entropy(label, order, begin, m, row, n, mem, c):
    """Σ −log softmax(Z) of the labels."""
    cost, rounds = 0.0, 3 + n // 8
    for e in range(0, m, len(LANES)):
        largest, s = largest_and_sum(row, n, e, mem, c)
        store(mem.sums, 0, largest)
        store(mem.sums, len(LANES), log(s, c, rounds))
        for i in range(min(len(LANES), m - e)):
            z = mem.Z[(row + label[order[begin + e + i]]) * mem.columns + e + i]
            cost += (mem.sums[i] - z) + mem.sums[len(LANES) + i]
    return cost


@part
def count_correct(label, order, begin, m, row, n, mem):
    """How many labels have the largest Z, the first of equal ones; NaN where a Z is not finite."""
    correct = 0.0
    for e in range(m):
        guess = row
        for j in range(row, row + n):
            if not np.isfinite(mem.Z[j * mem.columns + e]):
                return np.nan
            if mem.Z[j * mem.columns + e] > mem.Z[guess * mem.columns + e]:
                guess = j
        correct += guess - row == label[order[begin + e]]
    return correct


@part
def update_linear(net, at, row_in, n_in, row, n, mem, rate, shrink, c):
    """W ← W − shrink W + rate dZ Aᵀ, b ← b + rate Σ dZ; rate is −α/m and shrink α λ/m."""
    for j in range(n):
        for i in range(n_in):
            s = fill(c.zero, LANES)
            for e in range(0, mem.columns, len(LANES)):
                A = load(mem.A, (row_in + i) * mem.columns + e, LANES)
                s = s + load(mem.dZ, (row + j) * mem.columns + e, LANES) * A
            w = net.W[at + j * n_in + i]
            net.W[at + j * n_in + i] = w - shrink * w + rate * total(s)
    update_biases(net, row, n, mem, rate, c)


@part
def update_biases(net, row, n, mem, rate, c):
    for j in range(row, row + n):
        s = fill(c.zero, LANES)
        for e in range(j * mem.columns, (j + 1) * mem.columns, len(LANES)):
            s = s + load(mem.dZ, e, LANES)
        net.b[j] += rate * total(s)


@part
def update_first_layer(net, ink, order, begin, m, mem, rate, shrink, c, units):
    """The same for the first layer, ink only."""
    width = len(units)
    block_size = net.dims[0] * width
    if shrink != c.zero:
        for i in range(len(net.W1)):
            net.W1[i] -= shrink * net.W1[i]
    for block in range(len(net.W1) // block_size):
        for j in range(width):
            for e in range(m):
                mem.sums[e * width + j] = rate * mem.dZ[(block * width + j) * mem.columns + e]
        for e in range(m):
            g = load(mem.sums, e * width, units)
            x = order[begin + e]
            for k in range(np.uint64(ink.start[x]), np.uint64(ink.start[x + 1])):
                at = block * block_size + ink.pixel[k] * width
                store(net.W1, at, load(net.W1, at, units) + ink.values[ink.grey[k]] * g)
    update_biases(net, 0, net.dims[1], mem, rate, c)


@part
def backward(net, ink, order, begin, m, row, n, at, mem, exact, rate, shrink, c, units):
    """From the output layer's dZ back, each layer updated as soon as the one before it has its dZ."""
    zero = fill(c.zero, LANES)
    for layer in range(len(net.dims) - 1, 1, -1):
        n_in = net.dims[layer - 1]
        row_in = row - n_in if layer > 2 else 0
        for i in range(n_in):
            for e in range(0, mem.columns, len(LANES)):
                s = fill(c.zero, LANES)
                for j in range(n):
                    s = s + net.W[at + j * n_in + i] * load(mem.dZ, (row + j) * mem.columns + e, LANES)
                store(mem.dZ, (row_in + i) * mem.columns + e, s)
        if exact:
            exact_batchnorm_backward(row_in, n_in, type(c.one)(m), mem, c)
        for place in range(row_in * mem.columns, (row_in + n_in) * mem.columns, len(LANES)):
            store(mem.dZ, place, where_above(load(mem.Z, place, LANES), zero, load(mem.dZ, place, LANES), zero))
        update_linear(net, at, row_in, n_in, row, n, mem, rate, shrink, c)
        if layer > 2:
            at -= n_in * net.dims[layer - 2]
        row, n = row_in, n_in
    update_first_layer(net, ink, order, begin, m, mem, rate, shrink, c, units)


@part
def sum_squares(values):
    s = 0.0
    for value in values:
        s += np.float64(value) * np.float64(value)
    return s


@compiled
def propagate(net, ink, order, begin, end, mem, use_batchnorm, exact, learn, count, alpha, strength, c, units):
    """Pass examples begin to end of the order through the network, a batch of `mem.batch` after the other.

    With `learn` there is a gradient step after each batch, and the cost is that of the last batch before its step; else
    it is that of all examples.

    Returns
    -------
    cost : Σ −log softmax of the labels; with `count` how many are right, NaN where an output is not finite
    squares : Σ W²
    """
    result = squares = 0.0
    for first in range(begin, end, mem.batch):
        m = min(mem.batch, end - first)
        for e in range(mem.columns):
            mem.present[e] = e < m
        row, n, at = forward(net, ink, order, first, m, mem, use_batchnorm, c, units)
        if count:
            result += count_correct(ink.label, order, first, m, row, n, mem)
        elif not learn or first + m == end:
            result += cross_entropy(ink.label, order, first, m, row, n, mem, c)
        if first + m == end:
            squares = sum_squares(net.W1) + sum_squares(net.W)
        if learn:
            softmax_backward(ink.label, order, first, m, row, n, mem, c)
            rate = alpha / type(c.one)(m)
            backward(net, ink, order, first, m, row, n, at, mem, exact, -rate, rate * strength, c, units)
    return result, squares
