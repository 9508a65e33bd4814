// Trains one network of explosion-network.js beside the page. It answers requests, one after the other.

const EVAL_EVERY = 200; // steps from one point of the curves to the next

let data; // the page's record
let train, heldOut, probe; // { X, labels }: to learn from, to be judged by, and the first data.probe of train
let layers, grads, random, order, position, step, factor, diverged;
let batchCosts; // the cross-entropies of the mini-batches since the last point
let crossEntropy; // their mean, up to that point

function part({ X, labels }, indices) {
  return { X: Array.from(indices, (k) => X[k]), labels: Array.from(indices, (k) => labels[k]) };
}

const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

/** A point of the curves; null if any of it is no longer a number. The cost is that of the mini-batches since the last
 *  point, as `compute_cost` has it; there is none before the first step. */
function evaluate(settings) {
  const { X, labels } = heldOut, m = labels.length;
  const [ZL] = lModelForward(X, layers, settings), predicted = predictions(ZL, m);
  if (batchCosts.length) crossEntropy = batchCosts.reduce((sum, cost) => sum + cost) / batchCosts.length;
  const point = {
    step,
    sumSquaredWeights: sumSquaredWeights(layers),
    accuracy: predicted.filter((digit, k) => digit === labels[k]).length / m,
    predictedClasses: new Set(predicted).size,
    cost: crossEntropy === null ? null : crossEntropy + l2Cost(layers, settings.L2, data.batch_size),
  };
  const numbers = [point.sumSquaredWeights, point.cost ?? 0, ...ZL];
  if (numbers.every(Number.isFinite)) return point;
  diverged = step;
  return null;
}

/** Of each hidden layer how much of the gradient lies along the weights. */
function radial(settings) {
  const gradients = emptyGradients(layers), [ZL, caches] = lModelForward(probe.X, layers, settings);
  lModelBackward(ZL, probe.labels, caches, layers, gradients, settings);
  return radialShares(layers, gradients);
}

function report(points, settings) {
  return { step, diverged, points: points.filter(Boolean), radial: diverged === null ? radial(settings) : null };
}

function takeStep(settings) {
  if (position >= order.length) [order, position] = [permutation(train.labels.length, random), 0];
  const { X, labels } = part(train, order.subarray(position, position + data.batch_size));
  position += data.batch_size;
  step += 1;
  const cost = trainStep(X, labels, layers, grads, settings);
  if (Number.isFinite(cost)) batchCosts.push(cost);
  else diverged = step;
}

const REQUESTS = {
  open({ record, digits: { greys, levels, labels, train: learned, heldOut: held } }) {
    data = record;
    const digits = { X: sparseExamples(greys, labels.length, levels), labels };
    train = part(digits, range(0, learned));
    heldOut = part(digits, range(learned, learned + held));
    probe = part(train, range(0, data.probe));
  },
  reset({ seed, settings }) {
    random = randomNumbers(seed);
    layers = initializeParameters(data.layers_dims, data.initialization, random);
    grads = emptyGradients(layers);
    [order, position, step, factor, diverged, batchCosts, crossEntropy] = [[], 0, 0, 1, null, [], null];
    return report([evaluate(settings)], settings);
  },
  /** So many steps, fewer if the network diverges. */
  train({ steps, settings }) {
    const points = [], last = step + steps;
    while (step < last && diverged === null) {
      takeStep(settings);
      if (diverged !== null || (step % EVAL_EVERY && step < last)) continue;
      points.push(evaluate(settings));
      batchCosts = [];
    }
    return report(points, settings);
  },
  /** The hidden layers' weights and biases to so many times what training made them. */
  scale({ factor: wanted, settings }) {
    const { X, labels } = heldOut;
    const probabilities = () => softmax(lModelForward(X, layers, settings)[0], labels.length);
    const before = probabilities();
    scaleHidden(layers, wanted / factor);
    factor = wanted;
    const change = probabilities().reduce((most, value, i) => Math.max(most, Math.abs(value - before[i])), 0);
    return { ...report([evaluate(settings)], settings), change };
  },
};

onmessage = ({ data: { id, request, ...given } }) => {
  try {
    postMessage({ id, answer: REQUESTS[request](given) });
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
};
