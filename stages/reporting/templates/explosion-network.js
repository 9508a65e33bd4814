// nnlib in JavaScript, in double precision, under nnlib's names; each backward stands under its forward.
//
// Arrays lie as nnlib's do in memory for W (out, in), and example after example for all else: unit u of example k of n
// units is A[k * n + u]. The input of a layer is a list of m examples { features, values, start }: which features are
// not 0, and, from start on, their values. A digit has its inked pixels alone.

const BATCHNORM_EPSILON = 1e-8;

/** The input of a layer from the activations of the one before: all features of each of m examples. */
function examplesOf(A, m) {
  const n = A.length / m, features = Uint16Array.from({ length: n }, (_, i) => i);
  return Array.from({ length: m }, (_, k) => ({ features, values: A, start: k * n }));
}

// --- One layer: nnlib/layers.py ---

/** Z = W A + b. Five units at a time, so that a feature is read once for all five; the last ones may be the same. */
function linearForward(A_prev, W, b) {
  const m = A_prev.length, out = b.length, n = W.length / out;
  const Z = new Float64Array(m * out);
  for (let k = 0; k < m; k++) {
    const { features, values, start } = A_prev[k], z = k * out;
    for (let u = 0; u < out; u += 5) {
      const last = out - 1;
      const u1 = Math.min(u + 1, last), u2 = Math.min(u + 2, last), u3 = Math.min(u + 3, last), u4 = Math.min(u + 4, last);
      const row = u * n, row1 = u1 * n, row2 = u2 * n, row3 = u3 * n, row4 = u4 * n;
      let sum = b[u], sum1 = b[u1], sum2 = b[u2], sum3 = b[u3], sum4 = b[u4];
      for (let j = 0; j < features.length; j++) {
        const i = features[j], a = values[start + j];
        sum += W[row + i] * a;
        sum1 += W[row1 + i] * a;
        sum2 += W[row2 + i] * a;
        sum3 += W[row3 + i] * a;
        sum4 += W[row4 + i] * a;
      }
      Z[z + u] = sum;
      Z[z + u1] = sum1;
      Z[z + u2] = sum2;
      Z[z + u3] = sum3;
      Z[z + u4] = sum4;
    }
  }
  return Z;
}

/** dW = dZ Aᵀ / m + (λ / m) W and db = mean(dZ), written into dW and db. Units whose dZ is 0 have no part in it; the
 *  others go five at a time, made up to five by unit 0 with a share of 0. */
function linearBackward(dZ, A_prev, W, L2, dW, db) {
  const m = A_prev.length, out = db.length, n = W.length / out;
  const rows = new Uint32Array(out + 4), shares = new Float64Array(out + 4);
  for (let i = 0; i < W.length; i++) dW[i] = (L2 / m) * W[i];
  db.fill(0);
  for (let k = 0; k < m; k++) {
    const { features, values, start } = A_prev[k];
    let active = 0;
    for (let u = 0; u < out; u++) {
      const share = dZ[k * out + u] / m;
      if (share === 0) continue;
      db[u] += share;
      rows[active] = u * n;
      shares[active++] = share;
    }
    rows.fill(0, active);
    shares.fill(0, active);
    for (let t = 0; t < active; t += 5) {
      const row = rows[t], row1 = rows[t + 1], row2 = rows[t + 2], row3 = rows[t + 3], row4 = rows[t + 4];
      const share = shares[t], share1 = shares[t + 1], share2 = shares[t + 2], share3 = shares[t + 3];
      const share4 = shares[t + 4];
      for (let j = 0; j < features.length; j++) {
        const i = features[j], a = values[start + j];
        dW[row + i] += share * a;
        dW[row1 + i] += share1 * a;
        dW[row2 + i] += share2 * a;
        dW[row3 + i] += share3 * a;
        dW[row4 + i] += share4 * a;
      }
    }
  }
}

/** dA_prev = Wᵀ dZ, the third of nnlib's `linear_backward`; apart, since nobody needs the gradient of the pixels. */
function linearBackwardInput(dZ, W, m) {
  const out = dZ.length / m, n = W.length / out;
  const dA_prev = new Float64Array(m * n);
  for (let k = 0; k < m; k++) {
    const start = k * n;
    for (let u = 0; u < out; u++) {
      const share = dZ[k * out + u], row = u * n;
      for (let i = 0; i < n; i++) dA_prev[start + i] += W[row + i] * share;
    }
  }
  return dA_prev;
}

function relu(Z) {
  const A = new Float64Array(Z.length);
  for (let i = 0; i < Z.length; i++) A[i] = Math.max(Z[i], 0);
  return A;
}

function reluBackward(dA, Z) {
  const dZ = new Float64Array(Z.length);
  for (let i = 0; i < Z.length; i++) if (Z[i] > 0) dZ[i] = dA[i];
  return dZ;
}

/** log Σ exp(Z) over the classes of example k; the largest is taken out first, so that exp stays finite. */
function logSumExp(Z, k, classes) {
  let largest = -Infinity, sum = 0;
  for (let c = 0; c < classes; c++) largest = Math.max(largest, Z[k * classes + c]);
  for (let c = 0; c < classes; c++) sum += Math.exp(Z[k * classes + c] - largest);
  return largest + Math.log(sum);
}

function softmax(Z, m) {
  const classes = Z.length / m, A = new Float64Array(Z.length);
  for (let k = 0; k < m; k++) {
    const total = logSumExp(Z, k, classes);
    for (let c = 0; c < classes; c++) A[k * classes + c] = Math.exp(Z[k * classes + c] - total);
  }
  return A;
}

/** The mean of x(k) over the m examples. */
function mean(m, x) {
  let sum = 0;
  for (let k = 0; k < m; k++) sum += x(k);
  return sum / m;
}

/** The mean of one unit's activations over the examples, and their deviation √(σ² + ε). */
function statistics(A, m, n, unit) {
  const mu = mean(m, (k) => A[k * n + unit]);
  return [mu, Math.sqrt(mean(m, (k) => (A[k * n + unit] - mu) ** 2) + BATCHNORM_EPSILON)];
}

/** Â = (A − μ) / √(σ² + ε), over the m examples at hand; no scale, no shift. */
function applyBatchnorm(A, m) {
  const n = A.length / m, A_norm = new Float64Array(A.length);
  for (let unit = 0; unit < n; unit++) {
    const [mu, deviation] = statistics(A, m, n, unit);
    for (let i = unit; i < A.length; i += n) A_norm[i] = (A[i] - mu) / deviation;
  }
  return A_norm;
}

const BATCHNORM_BACKWARD = {
  /** The study's rule: dA = dÂ, as if the normalisation were not there. Not a derivative. */
  straight_through: (dA_norm) => dA_norm,

  /** The true derivative: dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε). */
  exact(dA_norm, A, m) {
    const n = A.length / m, dA = new Float64Array(A.length);
    for (let unit = 0; unit < n; unit++) {
      const [mu, deviation] = statistics(A, m, n, unit);
      const normal = (i) => (A[i] - mu) / deviation;
      const meanGradient = mean(m, (k) => dA_norm[k * n + unit]);
      const meanProduct = mean(m, (k) => dA_norm[k * n + unit] * normal(k * n + unit));
      for (let i = unit; i < A.length; i += n) dA[i] = (dA_norm[i] - meanGradient - normal(i) * meanProduct) / deviation;
    }
    return dA;
  },
};

// --- The network: nnlib/model.py. Layers are { W, b }, the last one softmax, the others ReLU. ---

// The standard deviation of a layer's first weights.
const INITIALIZATIONS = {
  he_fan_out: (fanIn, fanOut) => Math.sqrt(2 / fanOut),
  he_fan_in: (fanIn, fanOut) => Math.sqrt(2 / fanIn),
  xavier: (fanIn, fanOut) => Math.sqrt(2 / (fanIn + fanOut)),
};

/** First weights W ~ N(0, σ²) and biases 0. */
function initializeParameters(layersDims, rule, random) {
  return layersDims.slice(1).map((out, l) => {
    const fanIn = layersDims[l], deviation = INITIALIZATIONS[rule](fanIn, out);
    const W = Float64Array.from({ length: fanIn * out }, () => deviation * normal(random));
    return { W, b: new Float64Array(out) };
  });
}

/** The output layer's Z, and the caches: of each layer its input and, if hidden, its Z and its activation before batch
 *  norm. */
function lModelForward(X, layers, useBatchnorm) {
  const m = X.length, caches = [];
  let A_prev = X;
  for (const { W, b } of layers.slice(0, -1)) {
    const Z = linearForward(A_prev, W, b), A = relu(Z);
    caches.push({ A_prev, Z, A });
    A_prev = examplesOf(useBatchnorm ? applyBatchnorm(A, m) : A, m);
  }
  const { W, b } = layers.at(-1);
  return [linearForward(A_prev, W, b), [...caches, { A_prev }]];
}

/** Backward through all layers from dZ = AL − Y; writes the gradient of each layer into grads. */
function lModelBackward(ZL, labels, caches, layers, grads, { useBatchnorm, batchnormRule, L2 }) {
  const m = labels.length, classes = ZL.length / m;
  let dZ = softmax(ZL, m);
  labels.forEach((label, k) => { dZ[k * classes + label] -= 1; });
  for (let l = layers.length - 1; l >= 0; l--) {
    linearBackward(dZ, caches[l].A_prev, layers[l].W, L2, grads[l].W, grads[l].b);
    if (l === 0) break;
    const { Z, A } = caches[l - 1];
    let dA = linearBackwardInput(dZ, layers[l].W, m);
    if (useBatchnorm) dA = BATCHNORM_BACKWARD[batchnormRule](dA, A, m);
    dZ = reluBackward(dA, Z);
  }
}

/** Arrays of the layers' shapes, for `lModelBackward` to write into. */
function emptyGradients(layers) {
  return layers.map(({ W, b }) => ({ W: new Float64Array(W.length), b: new Float64Array(b.length) }));
}

/** −1/m Σ log ŷ of the true class, from the output layer's Z. */
function crossEntropyFromLogits(ZL, labels) {
  const m = labels.length, classes = ZL.length / m;
  return mean(m, (k) => logSumExp(ZL, k, classes) - ZL[k * classes + labels[k]]);
}

/** The L2 term of the cost, λ/(2m) Σ W². */
function l2Cost(layers, L2, m) {
  return (L2 / (2 * m)) * sumSquaredWeights(layers);
}

/** Σ W² over all layers, biases left out. */
function sumSquaredWeights(layers) {
  let sum = 0;
  for (const { W } of layers) for (let i = 0; i < W.length; i++) sum += W[i] * W[i];
  return sum;
}

/** Plain gradient descent, θ − α dθ, in place. */
function updateParameters(layers, grads, learningRate) {
  layers.forEach((layer, l) => {
    for (const name of ["W", "b"]) {
      const value = layer[name], gradient = grads[l][name];
      for (let i = 0; i < value.length; i++) value[i] -= learningRate * gradient[i];
    }
  });
}

/** One step on one mini-batch, in place. Returns the cross-entropy of the batch before it. */
function trainStep(X, labels, layers, grads, settings) {
  const [ZL, caches] = lModelForward(X, layers, settings.useBatchnorm);
  lModelBackward(ZL, labels, caches, layers, grads, settings);
  updateParameters(layers, grads, settings.learningRate);
  return crossEntropyFromLogits(ZL, labels);
}

/** The share of the examples whose most probable class is the label. */
function accuracy(ZL, labels) {
  const m = labels.length, classes = ZL.length / m;
  return mean(m, (k) => {
    const scores = ZL.subarray(k * classes, (k + 1) * classes);
    return Number(scores.indexOf(Math.max(...scores)) === labels[k]);
  });
}

// --- What the lab looks at ---

/** Of each hidden layer the cosine ⟨∇θ, θ⟩ / (|∇θ| |θ|), θ = (W, b): how much of the gradient lies along the weights. */
function radialShares(layers, grads) {
  return layers.slice(0, -1).map(({ W, b }, l) => {
    let along = 0, gradient = 0, length = 0;
    for (const [values, slopes] of [[W, grads[l].W], [b, grads[l].b]]) {
      for (let i = 0; i < values.length; i++) {
        along += values[i] * slopes[i];
        gradient += slopes[i] * slopes[i];
        length += values[i] * values[i];
      }
    }
    return along / (Math.sqrt(gradient) * Math.sqrt(length));
  });
}

/** All weights and biases of the hidden layers times a factor, in place. */
function scaleHidden(layers, factor) {
  for (const { W, b } of layers.slice(0, -1)) {
    for (const values of [W, b]) for (let i = 0; i < values.length; i++) values[i] *= factor;
  }
}

// --- Chance ---

/** A stream of numbers from [0, 1), decided by a seed: T. Ettinger's mulberry32. */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A number from N(0, 1), by G. Box and M. Muller's transform. */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The numbers 0 to length − 1 in a random order, by R. Fisher and F. Yates's shuffle. */
function permutation(length, random) {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
