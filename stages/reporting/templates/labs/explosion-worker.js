// Trains the network of explosion-network.js beside the page, a slice of time after the other, and reports.

const SLICE = 200; // milliseconds of training from one report to the next, and before the next message is heard
const LOOK_EVERY = 200; // steps from one point of the curves to the next

let data; // the page's record
let train, heldOut, probe; // { X, labels }: to learn from, to be judged by, and the first data.probe of train
let settings; // of `trainStep`
let layers, grads, random, order, position, step, factor, diverged;
let running = false, startedAt, startedFrom;
let looks = []; // measured since the last report

const nextSlice = new MessageChannel(); // what a message starts starts at once; timers in a row wait 4 ms each
nextSlice.port1.onmessage = ({ data: started }) => slice(started);

async function unpack(record) {
  const X = inkedExamples(Float64Array.from(await unpackGreys(record), (grey) => grey / LEVELS), record.labels.length);
  return { X, labels: record.labels };
}

function part({ X, labels }, indices) {
  return { X: Array.from(indices, (k) => X[k]), labels: Array.from(indices, (k) => labels[k]) };
}

const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

/** What the curves show; null if any of it is no longer a number. */
function look() {
  const [ZL] = lModelForward(heldOut.X, layers, settings.useBatchnorm);
  const crossEntropy = crossEntropyFromLogits(ZL, heldOut.labels);
  const found = {
    step,
    sumSquaredWeights: sumSquaredWeights(layers),
    accuracy: accuracy(ZL, heldOut.labels),
    crossEntropy,
    cost: crossEntropy + l2Cost(layers, settings.L2, heldOut.labels.length),
  };
  if (Object.values(found).every(Number.isFinite)) looks.push(found);
  else diverged = step;
}

/** The radial share under each rule at the same weights. */
function radial() {
  const [ZL, caches] = lModelForward(probe.X, layers, settings.useBatchnorm);
  return Object.fromEntries(Object.keys(BATCHNORM_BACKWARD).map((rule) => {
    const gradients = emptyGradients(layers);
    lModelBackward(ZL, probe.labels, caches, layers, gradients, { ...settings, batchnormRule: rule });
    return [rule, radialShares(layers, gradients)];
  }));
}

function report(more = {}) {
  const rate = running ? (step - startedFrom) / (performance.now() - startedAt) * 1000 : null;
  postMessage({ type: "report", looks, radial: diverged === null ? radial() : null, diverged, running, rate, ...more });
  looks = [];
}

function takeStep() {
  if (position >= order.length) [order, position] = [permutation(train.labels.length, random), 0];
  const { X, labels } = part(train, order.subarray(position, position + data.batch_size));
  position += data.batch_size;
  step += 1;
  if (!Number.isFinite(trainStep(X, labels, layers, grads, settings))) diverged = step;
  else if (step % LOOK_EVERY === 0) look();
}

function slice(started) {
  if (!running || started !== startedAt) return; // paused since, perhaps started again
  const end = performance.now() + SLICE;
  while (diverged === null && performance.now() < end) takeStep();
  running = diverged === null;
  report();
  nextSlice.port2.postMessage(started); // one of the page's messages may come in between
}

const MESSAGES = {
  async open(message) {
    ({ data } = message);
    const digits = await unpack(message.digits);
    const { train: learned, held_out } = message.digits;
    train = part(digits, range(0, learned));
    heldOut = part(digits, range(learned, learned + held_out));
    probe = part(train, range(0, data.probe));
    MESSAGES.change(message);
    MESSAGES.reset(message);
  },
  change(message) {
    ({ settings } = message);
    if (!layers) return; // none opened yet
    if (!running && diverged === null) look(); // the same weights are another network now
    report();
  },
  reset({ seed }) {
    random = randomNumbers(seed);
    layers = initializeParameters(data.layers_dims, data.initialization, random);
    grads = emptyGradients(layers);
    [order, position, step, factor, diverged, running, looks] = [[], 0, 0, 1, null, false, []];
    look();
    report({ fresh: true });
  },
  start() {
    if (running || diverged !== null) return;
    [running, startedAt, startedFrom] = [true, performance.now(), step];
    slice(startedAt);
  },
  pause() {
    if (!running) return;
    running = false;
    look();
    report();
  },
  /** The hidden layers' weights and biases to so many times their length with the slider at 1. */
  scale(message) {
    const probabilities = () => softmax(lModelForward(heldOut.X, layers, settings.useBatchnorm)[0], heldOut.labels.length);
    scaleHidden(layers, 1 / factor);
    const before = probabilities();
    ({ factor } = message);
    scaleHidden(layers, factor);
    const change = probabilities().reduce((most, value, i) => Math.max(most, Math.abs(value - before[i])), 0);
    look();
    report({ scaled: { factor, change, probabilities: before.length } });
  },
};

onmessage = ({ data: message }) => MESSAGES[message.type](message);
