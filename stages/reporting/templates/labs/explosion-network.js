// nnlib in JavaScript, in double precision, under nnlib's names; each backward stands under its forward.
//
// All lies feature after feature, or example after example: of a layer with n units W[i * n + u] is unit u's weight for
// feature i, and A[k * n + u] its activation for example k. The input of a layer is a list of m examples { features,
// values, start, end }: from start to end, which features are not 0, and their values. All examples of a set share the two
// arrays, which keeps them close.

const BATCHNORM_EPSILON = 1e-8;

/** The first layer's input from the grey levels of m digits: of each its pixels that are not 0, from 0 to 1. */
function sparseExamples(greys, m, levels) {
  const n = greys.length / m, count = greys.reduce((sum, grey) => sum + (grey !== 0), 0);
  const features = new Uint16Array(count), values = new Float64Array(count), examples = [];
  for (let k = 0, end = 0; k < m; k++) {
    const start = end;
    for (let i = 0; i < n; i++) {
      if (greys[k * n + i] === 0) continue;
      features[end] = i;
      values[end++] = greys[k * n + i] / levels;
    }
    examples.push({ features, values, start, end });
  }
  return examples;
}

/** The input of a layer from the activations of the one before: all features of each of m examples. */
function examplesOf(A, m) {
  const n = A.length / m, features = new Uint16Array(A.length), examples = [];
  for (let k = 0; k < m; k++) {
    const start = k * n, end = start + n;
    for (let i = 0; i < n; i++) features[start + i] = i;
    examples.push({ features, values: A, start, end });
  }
  return examples;
}

// --- One layer: nnlib/core/layers.py ---

/** Z = W A + b. Five units at a time, so that a feature is read once for all five; the last ones may be the same. */
function linearForward(A_prev, W, b) {
  const m = A_prev.length, n = b.length;
  const Z = new Float64Array(m * n);
  for (let k = 0; k < m; k++) {
    const { features, values, start, end } = A_prev[k];
    for (let u = 0; u < n; u += 5) {
      const last = n - 1 - u, u1 = Math.min(1, last), u2 = Math.min(2, last), u3 = Math.min(3, last), u4 = Math.min(4, last);
      let sum = b[u], sum1 = b[u + u1], sum2 = b[u + u2], sum3 = b[u + u3], sum4 = b[u + u4];
      for (let j = start; j < end; j++) {
        const w = features[j] * n + u, a = values[j];
        sum += W[w] * a;
        sum1 += W[w + u1] * a;
        sum2 += W[w + u2] * a;
        sum3 += W[w + u3] * a;
        sum4 += W[w + u4] * a;
      }
      const z = k * n + u;
      Z[z] = sum;
      Z[z + u1] = sum1;
      Z[z + u2] = sum2;
      Z[z + u3] = sum3;
      Z[z + u4] = sum4;
    }
  }
  return Z;
}

/** dW = dZ Aᵀ / m and db = mean(dZ), written into dW and db; nnlib's `linear_backward` without (λ / m) W, which
 *  `updateParameters` adds, to go over W once. Units whose dZ is 0 have no part in it; the others go five at a time, made
 *  up to five by unit 0 with a share of 0. */
function linearBackward(dZ, A_prev, dW, db) {
  const m = A_prev.length, n = db.length;
  const active = new Uint16Array(n + 4), shares = new Float64Array(n + 4);
  dW.fill(0);
  db.fill(0);
  for (let k = 0; k < m; k++) {
    const { features, values, start, end } = A_prev[k];
    let count = 0;
    for (let u = 0; u < n; u++) {
      const share = dZ[k * n + u] / m;
      if (share === 0) continue;
      db[u] += share;
      active[count] = u;
      shares[count++] = share;
    }
    for (; count % 5 !== 0; count++) active[count] = shares[count] = 0;
    for (let t = 0; t < count; t += 5) {
      const u = active[t], u1 = active[t + 1], u2 = active[t + 2], u3 = active[t + 3], u4 = active[t + 4];
      const share = shares[t], share1 = shares[t + 1], share2 = shares[t + 2], share3 = shares[t + 3];
      const share4 = shares[t + 4];
      for (let j = start; j < end; j++) {
        const w = features[j] * n, a = values[j];
        dW[w + u] += share * a;
        dW[w + u1] += share1 * a;
        dW[w + u2] += share2 * a;
        dW[w + u3] += share3 * a;
        dW[w + u4] += share4 * a;
      }
    }
  }
}

/** dA_prev = Wᵀ dZ, the third of nnlib's `linear_backward`; apart, since nobody needs the gradient of the pixels. */
function linearBackwardInput(dZ, W, m) {
  const n = dZ.length / m, features = W.length / n;
  const dA_prev = new Float64Array(m * features);
  for (let k = 0; k < m; k++) {
    for (let i = 0; i < features; i++) {
      let sum = 0;
      for (let u = 0; u < n; u++) sum += W[i * n + u] * dZ[k * n + u];
      dA_prev[k * features + i] = sum;
    }
  }
  return dA_prev;
}

function relu(Z) {
  const A = new Float64Array(Z.length);
  for (let i = 0; i < Z.length; i++) A[i] = Math.max(Z[i], 0);
  return A;
}

function reluBackward(dA, A) {
  const dZ = new Float64Array(A.length);
  for (let i = 0; i < A.length; i++) if (A[i] > 0) dZ[i] = dA[i];
  return dZ;
}

const sigmoid = (Z) => Z.map((z) => 1 / (1 + Math.exp(-z)));

const sigmoidBackward = (dA, A) => dA.map((d, i) => d * A[i] * (1 - A[i]));

/** Of each its forward, and its backward from the activation. */
const ACTIVATIONS = { relu: [relu, reluBackward], sigmoid: [sigmoid, sigmoidBackward] };

/** The largest Z of example k; taken out of each first, it keeps exp finite. */
function largest(Z, k, classes) {
  let most = -Infinity;
  for (let c = 0; c < classes; c++) most = Math.max(most, Z[k * classes + c]);
  return most;
}

function softmax(Z, m) {
  const classes = Z.length / m, A = new Float64Array(Z.length);
  for (let k = 0; k < m; k++) {
    const first = k * classes, end = first + classes, most = largest(Z, k, classes);
    let sum = 0;
    for (let i = first; i < end; i++) sum += A[i] = Math.exp(Z[i] - most);
    for (let i = first; i < end; i++) A[i] /= sum;
  }
  return A;
}

/** Of each unit the mean of A over the m examples, or of A ⊙ B. */
function means(A, m, B) {
  const n = A.length / m, mean = new Float64Array(n);
  for (let k = 0; k < m; k++) for (let u = 0, i = k * n; u < n; u++, i++) mean[u] += B ? A[i] * B[i] : A[i];
  for (let u = 0; u < n; u++) mean[u] /= m;
  return mean;
}

/** Â = (A − μ) / √(σ² + ε), over the m examples at hand, and each unit's √(σ² + ε). */
function normalize(A, m) {
  const n = A.length / m, mu = means(A, m), A_norm = new Float64Array(A.length);
  for (let k = 0; k < m; k++) for (let u = 0, i = k * n; u < n; u++, i++) A_norm[i] = A[i] - mu[u];
  const deviation = means(A_norm, m, A_norm);
  for (let u = 0; u < n; u++) deviation[u] = Math.sqrt(deviation[u] + BATCHNORM_EPSILON);
  for (let k = 0; k < m; k++) for (let u = 0, i = k * n; u < n; u++, i++) A_norm[i] /= deviation[u];
  return [A_norm, deviation];
}

/** Â; no scale, no shift. */
function applyBatchnorm(A, m) {
  return normalize(A, m)[0];
}

const BATCHNORM_BACKWARD = {
  /** dA = dÂ, as if nothing had been normalized. Not a derivative. */
  straight_through: (dA_norm) => dA_norm,

  /** The true derivative: dA = (dÂ − mean(dÂ) − Â mean(dÂ ⊙ Â)) / √(σ² + ε). */
  exact(dA_norm, A, m) {
    const n = A.length / m, dA = new Float64Array(A.length);
    const [A_norm, deviation] = normalize(A, m), mean = means(dA_norm, m), along = means(dA_norm, m, A_norm);
    for (let k = 0; k < m; k++) {
      for (let u = 0, i = k * n; u < n; u++, i++) dA[i] = (dA_norm[i] - mean[u] - A_norm[i] * along[u]) / deviation[u];
    }
    return dA;
  },
};

// --- The network: nnlib/core/model.py. Layers are { W, b }, the last one softmax, the others ReLU. ---

// The standard deviation of a layer's initial weights: nnlib/core/settings.py.
const INITIALIZATIONS = {
  he_fan_in: (fanIn, fanOut) => Math.sqrt(2 / fanIn),
  he_fan_out: (fanIn, fanOut) => Math.sqrt(2 / fanOut),
  xavier: (fanIn, fanOut) => Math.sqrt(2 / (fanIn + fanOut)),
  lecun: (fanIn, fanOut) => Math.sqrt(1 / fanIn),
  inverse_fan_in: (fanIn, fanOut) => 1 / fanIn,
  inverse_fan_out: (fanIn, fanOut) => 1 / fanOut,
  standard_normal: () => 1,
};

/** Initial weights W ~ N(0, σ²) and biases 0. */
function initializeParameters(layersDims, initialization, random) {
  return layersDims.slice(1).map((out, l) => {
    const fanIn = layersDims[l], deviation = INITIALIZATIONS[initialization](fanIn, out);
    const W = Float64Array.from({ length: fanIn * out }, () => deviation * normal(random));
    return { W, b: new Float64Array(out) };
  });
}

/** The output layer's Z, and the caches: of each layer its input and, if hidden, its activation before batch norm. */
function lModelForward(X, layers, { activation, batchnorm }) {
  const m = X.length, caches = [];
  let A_prev = X;
  for (const { W, b } of layers.slice(0, -1)) {
    const A = ACTIVATIONS[activation][0](linearForward(A_prev, W, b));
    caches.push({ A_prev, A });
    A_prev = examplesOf(batchnorm === "none" ? A : applyBatchnorm(A, m), m);
  }
  const { W, b } = layers.at(-1);
  return [linearForward(A_prev, W, b), [...caches, { A_prev }]];
}

/** Backward through all layers from dZ = AL − Y; writes each layer's gradient of the cross-entropy into grads. */
function lModelBackward(ZL, labels, caches, layers, grads, { activation, batchnorm }) {
  const m = labels.length, classes = ZL.length / m;
  let dZ = softmax(ZL, m);
  labels.forEach((label, k) => { dZ[k * classes + label] -= 1; });
  for (let l = layers.length - 1; l >= 0; l--) {
    linearBackward(dZ, caches[l].A_prev, grads[l].W, grads[l].b);
    if (l === 0) break;
    const { A } = caches[l - 1];
    let dA = linearBackwardInput(dZ, layers[l].W, m);
    if (batchnorm !== "none") dA = BATCHNORM_BACKWARD[batchnorm](dA, A, m);
    dZ = ACTIVATIONS[activation][1](dA, A);
  }
}

/** Arrays of the layers' shapes, for `lModelBackward` to write into. */
function emptyGradients(layers) {
  return layers.map(({ W, b }) => ({ W: new Float64Array(W.length), b: new Float64Array(b.length) }));
}

/** −1/m Σ log ŷ of the true class, from the output layer's Z. */
function crossEntropyFromLogits(ZL, labels) {
  const m = labels.length, classes = ZL.length / m;
  let cost = 0;
  for (let k = 0; k < m; k++) {
    const most = largest(ZL, k, classes);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += Math.exp(ZL[k * classes + c] - most);
    cost += most + Math.log(sum) - ZL[k * classes + labels[k]];
  }
  return cost / m;
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

/** values − α (gradient + decay · values), in place. Four at a time, after the first few that are no four, takes half as
 *  long in a browser as one by one. */
function descend(values, gradient, learningRate, decay) {
  const n = values.length, few = n % 4, keep = 1 - learningRate * decay;
  for (let i = 0; i < few; i++) values[i] = keep * values[i] - learningRate * gradient[i];
  for (let i = few; i < n; i += 4) {
    values[i] = keep * values[i] - learningRate * gradient[i];
    values[i + 1] = keep * values[i + 1] - learningRate * gradient[i + 1];
    values[i + 2] = keep * values[i + 2] - learningRate * gradient[i + 2];
    values[i + 3] = keep * values[i + 3] - learningRate * gradient[i + 3];
  }
}

/** Plain gradient descent, whatever the optimizer of the experiments: θ − α dθ, in place. With L2 dW is (λ / m) W more
 * than the cross-entropy's. */
function updateParameters(layers, grads, learningRate, L2, m) {
  layers.forEach(({ W, b }, l) => {
    descend(W, grads[l].W, learningRate, L2 / m);
    descend(b, grads[l].b, learningRate, 0);
  });
}

/** One step on one mini-batch, in place. Returns the cross-entropy of the batch before it. */
function trainStep(X, labels, layers, grads, settings) {
  const [ZL, caches] = lModelForward(X, layers, settings);
  lModelBackward(ZL, labels, caches, layers, grads, settings);
  updateParameters(layers, grads, settings.learningRate, settings.L2, labels.length);
  return crossEntropyFromLogits(ZL, labels);
}

/** The most probable class of each of m examples. */
function predictions(ZL, m) {
  const classes = ZL.length / m;
  return Array.from({ length: m }, (_, k) =>
    ZL.subarray(k * classes, (k + 1) * classes).indexOf(largest(ZL, k, classes)));
}

// --- What the lab measures ---

/** Of each hidden layer the cosine ⟨∇θ, θ⟩ / (|∇θ| |θ|), θ = (W, b): how much of the gradient lies along the weights.
 *  null where there is no gradient. */
function radialShares(layers, grads) {
  return layers.slice(0, -1).map(({ W, b }, l) => {
    let along = 0, gradient = 0, length = 0;
    for (const [values, slope] of [[W, grads[l].W], [b, grads[l].b]]) {
      for (let i = 0; i < values.length; i++) {
        along += values[i] * slope[i];
        gradient += slope[i] * slope[i];
        length += values[i] * values[i];
      }
    }
    return gradient === 0 ? null : along / (Math.sqrt(gradient) * Math.sqrt(length));
  });
}

/** All weights and biases of the hidden layers times a factor, in place. */
function scaleHidden(layers, factor) {
  for (const { W, b } of layers.slice(0, -1)) {
    for (const values of [W, b]) for (let i = 0; i < values.length; i++) values[i] *= factor;
  }
}
