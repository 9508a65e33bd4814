(async () => {
  const { element, percent, number, power } = lab;
  const SIDE = 28, BOX = 20, CENTRE = 14; // pixels: a picture's side, a digit's longer side, its centre of mass
  const BRUSH = 2.6; // width of a line in the picture, in pixels
  const PAD_BRUSH = 18, STRIDE = 10, DOT = 28; // on the pad: width of a line, a key's move, how small a mere dot is
  const FINE = 10; // the drawing is scaled on a canvas so much finer than the picture
  const SURE = 0.9; // from this probability on

  const section = document.getElementById("playground");
  const find = (selector) => section.querySelector(selector);
  const data = JSON.parse(find("#playground-data").textContent);
  const [low, high] = data.decades;

  // --- Unpacking ---

  /** A function that hands out the next so many numbers. */
  function taker(numbers) {
    let at = 0;
    return (count) => numbers.subarray(at, (at += count));
  }

  /** Layers of W, row by row, b, and with batch norm mean and deviation; null for a network that diverged. */
  async function unpackNetwork(packed, batchnorm) {
    if (!packed) return null;
    const W1 = new Int8Array(await inflate(packed.levels));
    const take = taker(new Float32Array(await inflate(packed.rest)));
    const takeStatistics = taker(new Float64Array(await inflate(packed.statistics)));
    return dims.slice(1).map((out, l) => {
      let W;
      if (l) W = take(out * dims[l]);
      else {
        const steps = take(out);
        W = Float32Array.from(W1, (level, i) => level * steps[Math.floor(i / dims[0])]);
      }
      const b = take(out), hidden = l < dims.length - 2;
      return { W, b, ...(batchnorm && hidden && { mean: takeStatistics(out), deviation: takeStatistics(out) }) };
    });
  }

  const dims = data.layers_dims;
  let networks, images;
  try {
    networks = await Promise.all(data.networks.map(async (network) => ({
      ...network,
      replicas: await Promise.all(network.replicas.map((packed) => unpackNetwork(packed, network.batchnorm !== "none"))),
    })));
    images = await Promise.all(data.images.map(async ({ label, pixels }) =>
      ({ label, pixels: levels(new Uint8Array(await inflate(pixels))) })));
  } catch ({ message }) {
    find(".failure").textContent = `This lab cannot run here: ${message}.`;
    return;
  }

  // --- The network: nnlib.core.model in double precision ---

  /** Grey levels 0 to 255 as single-precision numbers from 0 to 1, as nnlib.data.dataset.normalize has them. */
  function levels(greys) {
    return Float32Array.from(greys, (grey) => grey / 255);
  }

  /** W x + b, W row by row. */
  function linear({ W, b }, x) {
    return Array.from(b, (bias, row) => {
      let sum = bias;
      for (let column = 0, at = row * x.length; column < x.length; column++, at++) sum += W[at] * x[column];
      return sum;
    });
  }

  const ACTIVATIONS = { relu: (z) => Math.max(z, 0), sigmoid: (z) => 1 / (1 + Math.exp(-z)) };

  function softmax(z) {
    const largest = Math.max(...z);
    const powers = z.map((value) => Math.exp(value - largest));
    const total = powers.reduce((sum, value) => sum + value);
    return powers.map((value) => value / total);
  }

  /** The activations of each hidden layer, before batch norm where there is, and the probability of every digit; null
   *  of a network that diverged. */
  function forward(key, pixels, replica = 0) {
    const { activation, replicas } = networks.find((network) => network.key === key), layers = replicas[replica];
    if (!layers) return null;
    const activations = [];
    let a = pixels;
    for (const layer of layers.slice(0, -1)) {
      a = linear(layer, a).map(ACTIVATIONS[activation]);
      activations.push(a);
      if (layer.mean) a = a.map((value, unit) => (value - layer.mean[unit]) / layer.deviation[unit]);
    }
    const probabilities = softmax(linear(layers.at(-1), a));
    return probabilities.every(Number.isFinite) ? { activations, probabilities } : null;
  }

  // --- From a drawing to a picture like MNIST's ---

  const fine = Object.assign(document.createElement("canvas"), { width: BOX * FINE, height: BOX * FINE })
    .getContext("2d", { willReadFrequently: true });

  /** A line through the points. It begins a little beside the first one, since a canvas leaves out a line of no length,
   *  and a mere touch is to be a dot. */
  function trace(context, points) {
    const [x, y] = points[0];
    context.beginPath();
    context.moveTo(x - 0.01, y);
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }

  /** Strokes, each a list of points [x, y] of the pad → 28 × 28: drawn again with a line of constant width, so that the
   *  longer side is 20 pixels, each the average of what it covers; then moved by whole pixels, so that the centre of
   *  mass is at most half a pixel from pixel 14, which is where MNIST has it. */
  function prepare(strokes) {
    const greys = new Uint8Array(SIDE * SIDE);
    if (!strokes.length) return levels(greys);
    const ends = [0, 1].map((axis) => strokes.flat().map((point) => point[axis]).reduce(
      ([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]));
    const lengths = ends.map(([least, most]) => most - least);
    const scale = (BOX - BRUSH) / Math.max(...lengths, DOT);
    const offset = ends.map(([least]) => BRUSH / 2 - scale * least);

    fine.setTransform(1, 0, 0, 1, 0, 0);
    fine.clearRect(0, 0, BOX * FINE, BOX * FINE);
    fine.setTransform(scale * FINE, 0, 0, scale * FINE, ...offset.map((moved) => moved * FINE));
    Object.assign(fine, { lineWidth: BRUSH / scale, lineCap: "round", lineJoin: "round" });
    for (const stroke of strokes) trace(fine, stroke);

    const { data: rgba } = fine.getImageData(0, 0, BOX * FINE, BOX * FINE);
    const sums = new Float64Array(BOX * BOX);
    for (let i = 0; i < (BOX * FINE) ** 2; i++) {
      const x = i % (BOX * FINE), y = Math.floor(i / (BOX * FINE));
      sums[Math.floor(y / FINE) * BOX + Math.floor(x / FINE)] += rgba[4 * i + 3];
    }
    const digit = Array.from(sums, (sum, i) => [Math.round(sum / FINE ** 2), i % BOX, Math.floor(i / BOX)]);
    const mass = digit.reduce((sum, [grey]) => sum + grey, 0);
    const [dx, dy] = [1, 2].map((axis) => {
      const centre = digit.reduce((sum, pixel) => sum + pixel[0] * pixel[axis], 0) / mass;
      const inked = Math.max(...digit.filter(([grey]) => grey).map((pixel) => pixel[axis])) + 1;
      return Math.min(Math.max(Math.round(CENTRE - centre), 0), SIDE - inked); // no ink beyond the edge
    });
    for (const [grey, x, y] of digit) if (grey) greys[(y + dy) * SIDE + x + dx] = grey;
    return levels(greys);
  }

  // --- What looks like a digit: stages.reporting.labs.playground._ordinary ---

  /** A picture blurred, the mean of 3 × 3 pixels, and of length 1. */
  function direction(pixels) {
    const at = (x, y) => (x < 0 || x >= SIDE || y < 0 || y >= SIDE ? 0 : pixels[y * SIDE + x]);
    const blurred = Float32Array.from({ length: SIDE * SIDE }, (_, i) => {
      const x = i % SIDE, y = Math.floor(i / SIDE);
      let sum = 0;
      for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) sum += at(x + dx, y + dy);
      return sum;
    });
    const length = Math.sqrt(blurred.reduce((sum, value) => sum + value * value, 0)) || 1;
    return blurred.map((value) => value / length);
  }

  let known = null; // the training images' directions, once they are needed

  async function learnDigits() {
    const { train, greys } = await unpackDigits();
    known ??= Array.from({ length: train }, (_, k) => direction(greys.subarray(k * PIXELS, (k + 1) * PIXELS)));
  }

  /** The cosine of a picture and the training image that is most like it. */
  function similarity(pixels) {
    const ours = direction(pixels);
    let most = 0;
    for (const theirs of known) {
      let cosine = 0;
      for (let i = 0; i < ours.length; i++) cosine += ours[i] * theirs[i];
      most = Math.max(most, cosine);
    }
    return most;
  }

  /** Why a picture looks like no digit; nothing if it may be one. */
  function strange(pixels) {
    const ink = pixels.reduce((sum, value) => sum + value, 0);
    if (ink > data.ordinary.ink[1]) return "more ink than any test image";
    if (ink < data.ordinary.ink[0]) return "less ink than any test image";
    return known && similarity(pixels) < data.ordinary.similarity ? "unlike every training image" : "";
  }

  // --- The page ---

  const state = pageState.part("playground", {
    image: { parse: pageState.wholeNumber(0, data.images.length - 1), otherwise: data.opens },
  }, open);

  /** Ink of the given strength from 0 to 1 on a transparent canvas; the style sheet has the paper. */
  function paint(canvas, pixels) {
    const image = new ImageData(SIDE, SIDE);
    pixels.forEach((value, i) => { image.data[4 * i + 3] = Math.round(255 * value); });
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  const ticks = lab.powers(low, high, 3);

  /** How high a value stands from the bottom (0) to the top (1) of the one scale. */
  const height = (value) => (value > 0 ? Math.min(Math.max((Math.log10(value) - low) / (high - low), 0), 1) : 0);

  /** A configuration's row of answers, one for each seed, and the function that fills it in. A result is null of a network
   *  that diverged; without results the row is blank. */
  function answersOf({ label, replicas }) {
    const cells = replicas.map(() => element("td"));
    const row = element("tr", {}, element("th", { scope: "row", textContent: label }), ...cells);

    function fill(results, right) {
      cells.forEach((cell, replica) => {
        const result = results?.[replica];
        cell.className = "";
        if (!result) return cell.replaceChildren(result === null ? "diverged" : "–");
        const { digit, probability } = predicted(result), unsure = probability < SURE;
        const verdict = right === undefined ? "" : digit === right ? " ✓" : " ✗";
        cell.classList.toggle("unsure", unsure);
        cell.replaceChildren(element("b", { textContent: digit + (unsure ? "?" : "") }), " ",
          element("span", { textContent: `${Math.floor(100 * probability)}\u00a0%${verdict}` })); // 89.9 is not 90
      });
    }
    return { row, fill };
  }

  function predicted({ probabilities }) {
    const probability = Math.max(...probabilities);
    return { digit: probabilities.indexOf(probability), probability };
  }

  /** The layers of one network, and the function that fills them in. */
  function layersOf({ key, label }) {
    const hidden = dims.slice(1, -1).map((count) => {
      const caption = element("p");
      const bars = Array.from({ length: count }, () => element("span", { className: "unit" }));
      const row = element("div", { className: "units", role: "img" }, ...bars);
      row.style.gridTemplateColumns = `repeat(${count}, minmax(0, 1.3em))`;
      row.style.setProperty("--decade", `${100 / (high - low)}%`);
      const scale = element("div", { className: "ticks", ariaHidden: "true" }, ...ticks.map((exponent) => {
        const tick = element("span", { textContent: power(exponent) });
        tick.style.setProperty("--at", `${100 * (exponent - low) / (high - low)}%`);
        return tick;
      }));
      return { caption, bars, row, layer: element("div", { className: "layer" }, scale, row) };
    });
    const rows = Array.from({ length: dims.at(-1) }, (_, digit) => {
      const [bar, share] = [element("span", { className: "gauge" }), element("span", { className: "share" })];
      return { bar, share, row: element("div", { className: "digit" }, element("span", { textContent: digit }), bar, share) };
    });
    const card = element("article", { className: "network" },
      element("h3", { textContent: label }),
      ...hidden.flatMap(({ caption, layer }) => [caption, layer]),
      element("p", { textContent: "Probability of each digit" }),
      element("div", { className: "digits" }, ...rows.map(({ row }) => row)));
    card.dataset.key = key;

    function fill(result) {
      hidden.forEach(({ caption, bars, row }, layer) => {
        const values = result ? result.activations[layer] : bars.map(() => 0);
        bars.forEach((bar, i) => {
          bar.title = result ? `unit ${i + 1}: ${number(values[i])}` : "";
          bar.style.setProperty("--size", `${100 * height(values[i])}%`);
        });
        caption.textContent = `${bars.length} units` + (result ? `, up to ${number(Math.max(...values))}` : "");
        row.ariaLabel = `Activations of ${caption.textContent}`;
      });
      rows.forEach(({ bar, share, row }, digit) => {
        const probability = result?.probabilities[digit] ?? NaN;
        row.classList.toggle("predicted", result ? digit === predicted(result).digit : false);
        bar.style.setProperty("--size", `${100 * (probability || 0)}%`);
        share.textContent = percent(probability);
      });
    }
    return { card, fill };
  }

  const answers = networks.map(answersOf), cards = networks.map(layersOf), layers = find(".layers");
  find(".answers thead").replaceChildren(element("tr", {}, element("th", { scope: "col", textContent: "Configuration" }),
    ...data.seeds.map((seed) => element("th", { scope: "col", textContent: `seed ${seed}` }))));
  find(".answers tbody").replaceChildren(...answers.map(({ row }) => row));
  find(".networks").replaceChildren(...cards.map(({ card }) => card));
  find(".seeds").replaceChildren(find(".seeds legend"), ...data.seeds.map((seed, replica) => {
    const choice = element("input", { type: "radio", name: "playground-seed", value: replica, defaultChecked: !replica });
    choice.addEventListener("change", showLayers);
    return element("label", {}, choice, String(seed));
  }));
  layers.addEventListener("toggle", showLayers);

  // The images are one stop for Tab; arrows go from one to the next and choose it.
  const buttons = images.map((image, i) => {
    const canvas = element("canvas", { width: SIDE, height: SIDE });
    paint(canvas, image.pixels);
    const button = element("button", { type: "button", role: "radio", ariaLabel: `Image ${i}, a ${image.label}` }, canvas);
    button.style.gridColumn = image.label + 1;
    button.addEventListener("click", () => choose(i));
    return button;
  });
  const NEXT = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: dims.at(-1), ArrowUp: -dims.at(-1) };
  find(".images").replaceChildren(...buttons);
  find(".images").addEventListener("keydown", (event) => {
    if (!(event.key in NEXT)) return;
    event.preventDefault();
    const next = buttons.indexOf(document.activeElement) + NEXT[event.key];
    if (next < 0 || next >= images.length) return;
    buttons[next].focus();
    choose(next);
  });

  function choose(i) {
    state.save({ image: i });
    open({ image: i });
  }

  function open({ image }) {
    wipe();
    show(images[image]?.pixels ?? new Float32Array(SIDE * SIDE));
  }

  let shown; // 784 numbers from 0 to 1
  let results; // of each configuration those of its replicas

  /** Let every network see the pixels. */
  function show(pixels) {
    shown = pixels;
    paint(find(".picture"), pixels);
    const image = images.findIndex((one) => one.pixels === pixels), right = images[image]?.label;
    const blank = pixels.every((value) => !value);
    buttons.forEach((button, i) => {
      button.ariaChecked = i === image;
      button.tabIndex = i === Math.max(image, 0) ? 0 : -1;
    });
    find(".hint").hidden = image < 0 && !blank;
    results = blank ? null : networks.map(({ key, replicas }) => replicas.map((_, replica) => forward(key, pixels, replica)));
    answers.forEach(({ fill }, i) => fill(results?.[i], right));
    showLayers();
    find("[role=status]").textContent = blank ? "Nothing here yet: draw a digit." : inWords(pixels, right);
  }

  function showLayers() {
    if (!layers.open) return;
    const replica = Number(find(".seeds :checked")?.value ?? 0);
    cards.forEach(({ fill }, i) => fill(results?.[i][replica]));
  }

  function inWords(pixels, right) {
    const all = results.flat().filter(Boolean).map(predicted);
    if (!all.length) return "All of these networks diverged.";
    const sure = all.filter(({ probability }) => probability >= SURE);
    const votes = Array.from({ length: dims.at(-1) }, (_, digit) => [digit, sure.filter((one) => one.digit === digit).length])
      .filter(([, count]) => count).sort((a, b) => b[1] - a[1]).map(([digit, count]) => `${count} say “${digit}”`);
    const who = votes.length ? `Of ${all.length} networks ${sure.length} are sure: ${votes.join(", ")}.` : "No network is sure.";
    if (right !== undefined) return `A test image of a ${right}. ${who}`;
    const why = strange(pixels);
    return why ? `This looks like no digit: ${why}. ${who}` : who;
  }

  const pad = find(".pad");
  const pen = pad.getContext("2d");
  Object.assign(pen, { lineWidth: PAD_BRUSH, lineCap: "round", lineJoin: "round" });

  let strokes = []; // what is on the pad
  let pointer = null; // the one that is drawing
  let place = [pad.width / 2, pad.height / 2], down = false; // of the pen that keys move

  function wipe() {
    strokes = [];
    pointer = null;
    hold(place, false);
    pen.clearRect(0, 0, pad.width, pad.height);
  }

  function clear() {
    wipe();
    show(new Float32Array(SIDE * SIDE));
  }

  function draw(event) {
    const box = pad.getBoundingClientRect();
    const scale = pad.width / box.width;
    const events = event.getCoalescedEvents?.().concat(event) ?? [event];
    const points = events.map(({ clientX, clientY }) => [(clientX - box.left) * scale, (clientY - box.top) * scale]);
    extend(points);
  }

  /** The last stroke goes on through these points. */
  function extend(points) {
    const stroke = strokes.at(-1);
    trace(pen, [...stroke.slice(-1), ...points]);
    stroke.push(...points);
    show(prepare(strokes));
  }

  /** From the first stroke on, a drawing is held against the training images. */
  function begin() {
    strokes.push([]);
    if (!known) learnDigits().then(() => { if (strokes.length) show(shown); });
  }

  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button) return;
    pointer = event.pointerId;
    hold(place, false);
    pad.setPointerCapture(pointer);
    begin();
    draw(event);
  });
  pad.addEventListener("pointermove", (event) => { if (event.pointerId === pointer) draw(event); });
  pad.addEventListener("lostpointercapture", (event) => { if (event.pointerId === pointer) pointer = null; });
  find(".clear").addEventListener("click", clear);

  /** Keys hold the pen at this place, set down or lifted. */
  function hold(at, lowered) {
    [place, down] = [at, lowered];
    const nib = find(".nib");
    [nib.style.left, nib.style.top] = place.map((value) => `${100 * value / pad.width}%`);
    nib.classList.toggle("down", down);
  }

  const MOVES = { ArrowLeft: [-STRIDE, 0], ArrowRight: [STRIDE, 0], ArrowUp: [0, -STRIDE], ArrowDown: [0, STRIDE] };
  const pressed = new Set();
  pad.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      if (event.repeat) return event.preventDefault();
      if (!down) begin();
      hold(place, !down);
    } else if (event.key in MOVES) {
      pressed.add(event.key);
      const inside = (value) => Math.min(Math.max(value, 0), pad.width);
      hold([...pressed].reduce((at, key) => at.map((value, axis) => inside(value + MOVES[key][axis])), place), down);
    } else return;
    event.preventDefault(); // the page stays where it is
    if (down) extend([place]);
  });
  pad.addEventListener("keyup", ({ key }) => pressed.delete(key));
  pad.addEventListener("blur", () => {
    pressed.clear();
    hold(place, false);
  });
  hold(place, down);

  const turn = (by) => () => choose((Math.max(images.findIndex(({ pixels }) => pixels === shown), 0) + by + images.length) % images.length);
  lab.presentable(section, { PageDown: turn(1), PageUp: turn(-1), c: clear });
  find(".failure").textContent = "";
  section.classList.add("live");
  window.playground = { images, forward, prepare, similarity, learnDigits, show, clear, get pixels() { return shown; } };
  open(state.settings);
})();
