"""The CPU engine's inner loops, compiled by Numba: gradient steps of a network, and a pass of networks over a set.

They compute what `nnlib.core` computes, and visit only features that are not 0: four fifths of MNIST's pixels are 0,
and a 0 adds nothing to W x or to dW. A call runs in one thread, and every sum has an order of its own that nothing else
changes, so that bits depend on the arguments alone; docs/engine.md says what that rests on.

`nnlib.engine.layout` has the arguments and how their arrays lie: row j of Z begins at `Z[j * columns]`.
"""

from __future__ import annotations

import numpy as np

from nnlib.engine import layout
from nnlib.engine.activations import activation_backward, activation_forward
from nnlib.engine.functions import exp, log
from nnlib.engine.jit import compiled, inlined
from nnlib.engine.layout import Batch, Layer
from nnlib.engine.optimizers import decay_gradient, update_all
from nnlib.engine.simd import fill, fma, lanes, load, prefetch, store, total, transpose, where_above

EXAMPLES = lanes(layout.EXAMPLES)
TILE = 4  # rows and columns that are transposed at a time
ONE = np.uint64(1)
AHEAD = 2  # in training, an example's features are fetched so many examples before its turn


@inlined
def layer_at(net, k):
    place = net.layers
    return Layer(place[k, 0], place[k, 1], place[k, 2], place[k, 3], place[k, 4])


@inlined
def zeros(array):
    return fill(array.dtype.type(0), EXAMPLES)


@inlined
def first_layer(net, batch, work, ahead):
    """Z = W1 X + b, over the features that are not 0."""
    csr, order, width = batch.csr, batch.order, len(net.block)
    for row in range(0, net.units, width):
        bias = load(net.b, row, net.block)
        for e in range(batch.m):
            if ahead and batch.first + e + ahead < len(order):
                x = order[batch.first + e + ahead]
                for k in range(csr.indptr[x], csr.indptr[x + 1], 32):
                    prefetch(csr.indices, k)
                    prefetch(csr.codes, k)
            # Two sums, so that an addition need not wait for the one before it.
            s, t = bias, bias - bias
            x = order[batch.first + e]
            start, stop = csr.indptr[x], csr.indptr[x + 1]
            for k in range(np.uint64(start), np.uint64(stop - (stop - start) % 2), np.uint64(2)):
                odd = k + ONE
                s = fma(csr.palette[csr.codes[k]], load(net.W1, csr.indices[k] * net.stride + row, net.block), s)
                t = fma(csr.palette[csr.codes[odd]], load(net.W1, csr.indices[odd] * net.stride + row, net.block), t)
            if (stop - start) % 2:
                k = np.uint64(stop) - ONE
                s = fma(csr.palette[csr.codes[k]], load(net.W1, csr.indices[k] * net.stride + row, net.block), s)
            store(work.sums, e * width, s + t)
        for e in range(0, batch.m, TILE):
            for j in range(0, width, TILE):
                transpose(work.sums, e * width + j, width, work.Z, (row + j) * work.columns + e, work.columns)


@inlined
def linear_forward(net, layer, work):
    """Z = W A + b."""
    for j in range(layer.n):
        for e in range(0, work.columns, len(EXAMPLES)):
            s = fill(net.b[layer.row + j], EXAMPLES)
            for i in range(layer.n_in):
                A = load(work.A, (layer.row_in + i) * work.columns + e, EXAMPLES)
                s = fma(net.W[layer.at + j * layer.n_in + i], A, s)
            store(work.Z, (layer.row + j) * work.columns + e, s)


@inlined
def activate(row, n, work, activation):
    """A, in the place of Z."""
    for place in range(row * work.columns, (row + n) * work.columns, len(EXAMPLES)):
        store(work.Z, place, activation_forward(activation, load(work.Z, place, EXAMPLES)))


@inlined
def apply_batchnorm(row, n, m, work, how):
    """Â = (A − μ) / √(σ² + ε), over the examples row by row, or over a layer's whole matrix."""
    number, rows = work.Z.dtype.type, n if how.over_matrix else 1
    count = number(m * rows)
    for first in range(row, row + n, rows):
        s = zeros(work.Z)
        for j in range(first, first + rows):
            for e in range(0, work.columns, len(EXAMPLES)):
                s = fma(load(work.Z, j * work.columns + e, EXAMPLES), load(work.present, e, EXAMPLES), s)
        mean = total(s) / count
        s = zeros(work.Z)
        for j in range(first, first + rows):
            for e in range(0, work.columns, len(EXAMPLES)):
                centred = (load(work.Z, j * work.columns + e, EXAMPLES) - mean) * load(work.present, e, EXAMPLES)
                s = fma(centred, centred, s)
                store(work.A, j * work.columns + e, centred)
        variance = total(s) / (count - number(how.unbiased))
        deviation = np.sqrt(variance + how.epsilon) if how.in_variance else np.sqrt(variance) + how.epsilon
        for j in range(first, first + rows):
            work.deviation[j] = deviation
            for place in range(j * work.columns, (j + 1) * work.columns, len(EXAMPLES)):
                store(work.A, place, load(work.A, place, EXAMPLES) / deviation)


@inlined
def exact_batchnorm_backward(row, n, m, work):
    """dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε), over the examples row by row."""
    count = work.dZ.dtype.type(m)
    for j in range(row, row + n):
        s, products = zeros(work.dZ), zeros(work.dZ)
        for place in range(j * work.columns, (j + 1) * work.columns, len(EXAMPLES)):
            dA = load(work.dZ, place, EXAMPLES)
            s, products = s + dA, fma(dA, load(work.A, place, EXAMPLES), products)
        mean, mean_product = total(s) / count, total(products) / count
        for e in range(0, work.columns, len(EXAMPLES)):
            place = j * work.columns + e
            dA = load(work.dZ, place, EXAMPLES) - fma(mean_product, load(work.A, place, EXAMPLES), mean)
            store(work.dZ, place, dA / work.deviation[j] * load(work.present, e, EXAMPLES))


@inlined
def forward(net, batch, work, hyper, ahead):
    """All layers."""
    for e in range(work.columns):
        work.present[e] = e < batch.m
    first_layer(net, batch, work, ahead)
    for k in range(net.count, len(net.layers)):
        layer = layer_at(net, k)
        activate(layer.row_in, layer.n_in, work, hyper.activation)
        if hyper.batchnorm:
            apply_batchnorm(layer.row_in, layer.n_in, batch.m, work, hyper.normalization)
        linear_forward(net, layer, work)


@inlined
def largest_and_sum(output, e, work):
    """Of 16 examples: the largest Z of the output layer, the first class that has it, and Σ exp(Z − largest)."""
    largest, predicted, s = load(work.Z, output.row * work.columns + e, EXAMPLES), zeros(work.Z), zeros(work.Z)
    for j in range(1, output.n):
        z = load(work.Z, (output.row + j) * work.columns + e, EXAMPLES)
        predicted = where_above(z, largest, work.Z.dtype.type(j), predicted)
        largest = where_above(z, largest, z, largest)
    for j in range(output.n):
        s = s + exp(load(work.Z, (output.row + j) * work.columns + e, EXAMPLES) - largest)
    return largest, predicted, s


@inlined
def softmax_backward(output, batch, work):
    """dZ = softmax(Z) − Y, the gradient of the cross-entropy."""
    for e in range(0, work.columns, len(EXAMPLES)):
        largest, _, s = largest_and_sum(output, e, work)
        for place in range(output.row * work.columns + e, (output.row + output.n) * work.columns, work.columns):
            p = exp(load(work.Z, place, EXAMPLES) - largest) / s
            store(work.dZ, place, p * load(work.present, e, EXAMPLES))
    for e in range(batch.m):
        label = batch.csr.labels[batch.order[batch.first + e]]
        work.dZ[(output.row + label) * work.columns + e] -= work.dZ.dtype.type(1)


@inlined
def cross_entropy(output, batch, work):
    """Σ −log softmax(Z) of the labels, and how many are predicted; NaN where a Z is not finite."""
    cost = right = 0.0
    unit = len(EXAMPLES)
    for e in range(0, batch.m, unit):
        largest, predicted, s = largest_and_sum(output, e, work)
        store(work.sums, 0, largest)
        store(work.sums, unit, log(s))
        for j in range(output.n):
            predicted = fma(zeros(work.Z), load(work.Z, (output.row + j) * work.columns + e, EXAMPLES), predicted)
        store(work.sums, 2 * unit, predicted)
        for i in range(min(unit, batch.m - e)):
            label = batch.csr.labels[batch.order[batch.first + e + i]]
            z = work.Z[(output.row + label) * work.columns + e + i]
            cost += (work.sums[i] - z) + work.sums[unit + i]
            prediction = work.sums[2 * unit + i]
            right += np.float64(prediction == label) if prediction == prediction else np.nan
    return cost, right


@inlined
def update_linear(net, layer, work, rate, shrink):
    """W ← W − shrink W + rate dZ Aᵀ, b ← b + rate Σ dZ; rate is −α/m and shrink α λ/m, for a gradient 1/m and 0."""
    for j in range(layer.n):
        for i in range(layer.n_in):
            s = zeros(work.dZ)
            for e in range(0, work.columns, len(EXAMPLES)):
                dZ = load(work.dZ, (layer.row + j) * work.columns + e, EXAMPLES)
                s = fma(dZ, load(work.A, (layer.row_in + i) * work.columns + e, EXAMPLES), s)
            w = net.W[layer.at + j * layer.n_in + i]
            net.W[layer.at + j * layer.n_in + i] = w - shrink * w + rate * total(s)
    update_biases(net, layer, work, rate)


@inlined
def update_biases(net, layer, work, rate):
    for j in range(layer.row, layer.row + layer.n):
        s = zeros(work.dZ)
        for place in range(j * work.columns, (j + 1) * work.columns, len(EXAMPLES)):
            s = s + load(work.dZ, place, EXAMPLES)
        net.b[j] += rate * total(s)


@inlined
def update_first_layer(net, batch, work, rate, shrink):
    """The same for the first layer, over the features that are not 0."""
    csr, width = batch.csr, len(net.block)
    if shrink != 0:
        for i in range(len(net.W1)):
            net.W1[i] -= shrink * net.W1[i]
    for row in range(0, net.units, width):
        for e in range(0, batch.m, TILE):
            for j in range(0, width, TILE):
                transpose(work.dZ, (row + j) * work.columns + e, work.columns, work.sums, e * width + j, width)
        for e in range(batch.m):
            g = rate * load(work.sums, e * width, net.block)
            x = batch.order[batch.first + e]
            for k in range(np.uint64(csr.indptr[x]), np.uint64(csr.indptr[x + 1])):
                at = csr.indices[k] * net.stride + row
                store(net.W1, at, fma(csr.palette[csr.codes[k]], g, load(net.W1, at, net.block)))
    update_biases(net, layer_at(net, 0), work, rate)


@inlined
def backward(net, target, batch, work, hyper, rate, shrink):
    """From the output layer's dZ back; the target, net or a gradient, changes once the layer before has its dZ."""
    zero = zeros(work.dZ)
    for k in range(len(net.layers) - 1, 0, -1):
        layer = layer_at(net, k)
        for i in range(layer.n_in):
            for e in range(0, work.columns, len(EXAMPLES)):
                s = zero
                for j in range(layer.n):
                    dZ = load(work.dZ, (layer.row + j) * work.columns + e, EXAMPLES)
                    s = fma(net.W[layer.at + j * layer.n_in + i], dZ, s)
                store(work.dZ, (layer.row_in + i) * work.columns + e, s)
        if hyper.batchnorm and hyper.normalization.exact:
            exact_batchnorm_backward(layer.row_in, layer.n_in, batch.m, work)
        for place in range(layer.row_in * work.columns, (layer.row_in + layer.n_in) * work.columns, len(EXAMPLES)):
            dA, A = load(work.dZ, place, EXAMPLES), load(work.Z, place, EXAMPLES)
            store(work.dZ, place, activation_backward(hyper.activation, dA, A))
        update_linear(target, layer, work, rate, shrink)
    update_first_layer(target, batch, work, rate, shrink)


@compiled
def squared_weights(net):
    """Σ W² of one network; for the first layer in four sums in turn."""
    s = t = u = v = 0.0
    for i in range(0, len(net.W1), 4):
        s += np.float64(net.W1[i]) * np.float64(net.W1[i])
        t += np.float64(net.W1[i + 1]) * np.float64(net.W1[i + 1])
        u += np.float64(net.W1[i + 2]) * np.float64(net.W1[i + 2])
        v += np.float64(net.W1[i + 3]) * np.float64(net.W1[i + 3])
    for w in net.W:
        s += np.float64(w) * np.float64(w)
    return s + t + u + v


@compiled
def gradient_steps(net, csr, order, work, hyper, dense=None):
    """A step on each batch of the order, of plain gradient descent if there is no `dense`; returns the last batch's
    Σ −log softmax of the labels, and Σ W², both from before its step."""
    cost = squares = 0.0
    output = layer_at(net, len(net.layers) - 1)
    for first in range(0, len(order), work.batch):
        batch = Batch(csr, order, first, min(work.batch, len(order) - first))
        forward(net, batch, work, hyper, AHEAD)
        if first + batch.m == len(order):
            cost, _ = cross_entropy(output, batch, work)
            squares = squared_weights(net)
        softmax_backward(output, batch, work)
        m = work.Z.dtype.type(batch.m)
        if dense is None:
            backward(net, net, batch, work, hyper, -hyper.learning_rate / m, hyper.learning_rate / m * hyper.L2)
        else:
            decay_gradient(net, dense.gradient, hyper.L2 / m)
            backward(net, dense.gradient, batch, work, hyper, work.Z.dtype.type(1) / m, work.Z.dtype.type(0))
            update_all(net, dense)
    return cost, squares


@compiled
def evaluate(net, csr, order, work, hyper, result):
    """A pass over a set: adds Σ −log softmax of the labels, and how many are predicted, to `result` (networks, 2)."""
    for first in range(0, len(order), work.batch):
        batch = Batch(csr, order, first, min(work.batch, len(order) - first))
        forward(net, batch, work, hyper, 0)
        for k in range(net.count):
            cost, right = cross_entropy(layer_at(net, len(net.layers) - net.count + k), batch, work)
            result[k, 0] += cost
            result[k, 1] += right
