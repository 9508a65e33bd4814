(() => {
  const { element, shape, number, percent, whole, power } = lab;
  const ROUND = 200; // milliseconds of training from one picture to the next, about
  const EVERY = 200; // steps: those of a round are a multiple, so that a curve does not depend on the speed
  const SILENCE = 30_000; // milliseconds after which a worker that has not begun is given up
  const SAME_ANSWER = 5; // points in a row with one answer for all digits, after which a network is called dead

  const section = document.getElementById("explosion");
  const find = (selector) => section.querySelector(selector);
  const data = JSON.parse(find("#explosion-data").textContent);
  const hidden = data.layers_dims.slice(1, -1);
  const [start, reset, status, rule] = [".start", ".reset", "[role=status]", "[name=rule]"].map(find);
  const [seed, lr, L2, scale] = ["seed", "lr", "L2", "scale"].map((name) => find(`[name=${name}]`));

  // Batch norm has no part in a network without hidden layers.
  const networks = hidden.length ? data.networks : data.networks.filter(({ key }, _, all) => key === "none" || all.length === 1);
  const normalized = networks.filter(({ key }) => key !== "none");
  const CHOICES = {
    ...(normalized.length > 1 && { both: normalized }),
    ...Object.fromEntries(networks.map((network) => [network.key, [network]])),
  };

  const state = pageState.part("explosion", {
    rule: { parse: pageState.oneOf(Object.keys(CHOICES)), otherwise: Object.keys(CHOICES)[0] },
    seed: { parse: pageState.wholeNumber(0, 2 ** 32 - 1), otherwise: 0 },
    lr: { parse: pageState.notNegative, otherwise: data.learning_rate },
    L2: { parse: pageState.notNegative, otherwise: data.L2 },
  }, () => { open(); restart(); });

  let trainers = []; // of the networks that are shown
  let changes = []; // the steps at which something was changed
  let ready = false, failed = false, wanted = false, inSight = true, looping = false;
  let generation = 0; // of the networks: what is still to come of those before a reset is left out
  let round = EVERY, rate = null; // steps from one picture to the next, and steps a second
  let refused = ""; // what was wrong with the last setting, until a better one comes

  const step = () => Math.max(0, ...trainers.map(({ points }) => points.at(-1)?.step ?? 0));

  // --- A network in a worker of its own ---

  const sources = ["random", "explosion-network", "explosion-worker"].map((id) => document.getElementById(id).textContent);
  const workers = {}; // key → a function that asks the worker

  function startWorker() {
    if (typeof Worker !== "function") throw new Error("this browser has no Worker");
    const worker = new Worker(URL.createObjectURL(new Blob(sources, { type: "text/javascript" })));
    const asked = [];
    worker.onmessage = ({ data: { id, answer, error } }) => {
      if (error) asked[id].reject(new Error(error));
      else asked[id].resolve(answer);
      delete asked[id];
    };
    worker.onerror = ({ message }) => asked.forEach(({ reject }) => reject(new Error(message || "the worker does not start")));
    return (request, given) => new Promise((resolve, reject) => {
      const id = asked.push({ resolve, reject }) - 1;
      worker.postMessage({ id, request, ...given });
    });
  }

  async function opened() {
    const ask = startWorker(), digits = await unpackDigits();
    const silence = new Promise((_, reject) => {
      setTimeout(() => reject(new Error("this browser does not run the page’s worker")), SILENCE);
    });
    await Promise.race([ask("open", { record: data, digits }), silence]);
    return ask;
  }

  function trainer(network, place) {
    const mine = generation, { key } = network;
    const trained = { ...network, place, points: [], radial: [], diverged: null, ask: null };
    trained.ask = async (request, given) => {
      const ask = await (workers[key] ??= opened());
      const settings = { activation: data.activation, batchnorm: key, learningRate: state.settings.lr, L2: state.settings.L2 };
      const answer = await ask(request, { ...given, settings });
      if (mine !== generation) return null;
      for (const point of answer.points) {
        if (trained.points.at(-2)?.step === point.step) trained.points.pop(); // measured again, after another change
        trained.points.push(point);
      }
      Object.assign(trained, { radial: answer.radial, diverged: answer.diverged });
      return answer;
    };
    return trained;
  }

  /** What has become of a network that no longer learns. */
  function fate({ points, radial, diverged }) {
    if (diverged !== null) return `diverged at step ${whole(diverged)}: its numbers overflow`;
    const recent = points.slice(-SAME_ANSWER);
    if (points.length < 2) return "";
    if (radial.includes(null)) return "is dead: no gradient reaches its hidden layers";
    if (recent.length === SAME_ANSWER && recent.every(({ predictedClasses }) => predictedClasses === 1)) {
      return "is dead: it gives every digit the same answer";
    }
    return "";
  }

  // --- Training ---

  const going = () => wanted && inSight && !document.hidden;

  /** Trains all networks by the same number of steps, shows them, and so on. */
  async function train() {
    if (looping) return;
    looping = true;
    while (going()) {
      const mine = generation, begun = performance.now(), before = step();
      const racing = trainers.filter(({ diverged }) => diverged === null);
      const steps = Math.min(round, data.last_step - before);
      await Promise.all(racing.map(({ ask }) => ask("train", { steps })));
      if (mine !== generation) continue;
      rate = (steps / (performance.now() - begun)) * 1000;
      round = Math.max(EVERY, Math.round((rate * ROUND) / 1000 / EVERY) * EVERY);
      if (step() >= data.last_step || trainers.every(({ diverged }) => diverged !== null)) wanted = false;
      show();
    }
    looping = false;
    show();
  }

  function fail({ message }) {
    [failed, wanted, looping] = [true, false, false];
    find(".failure").textContent = `This lab cannot run here: ${message}.`;
    section.classList.remove("live");
  }

  async function restart() {
    generation += 1;
    [changes, refused, wanted, ready, rate] = [[], "", false, false, null];
    trainers = CHOICES[state.settings.rule].map(trainer);
    scale.value = 0;
    showScale();
    build();
    const mine = generation;
    try {
      await Promise.all(trainers.map(({ ask }) => ask("reset", { seed: state.settings.seed })));
      if (mine !== generation) return;
      ready = true;
      show();
    } catch (error) {
      fail(error);
    }
  }

  const resume = () => train().catch(fail);

  function toggle() {
    if (start.disabled) return;
    wanted = !wanted;
    show();
    resume();
  }

  // --- The curves ---

  const SCALES = {
    log: (values) => {
      const positive = values.filter((value) => value > 0);
      const low = Math.floor(Math.log10(Math.min(...positive, 1e300)));
      const high = Math.max(Math.ceil(Math.log10(Math.max(...positive, 1e-300))), low + 2);
      const [first, last] = positive.length ? [low, high] : [0, 2];
      return {
        at: (value) => Math.max(0, (Math.log10(value) - first) / (last - first)), // 0 lies at the foot
        ticks: lab.powers(first, last, 6).map((exponent) => [10 ** exponent, power(exponent)]),
      };
    },
    share: () => ({ at: (value) => value, ticks: [0, .5, 1].map((share) => [share, percent(share, 0)]) }),
  };
  const CURVES = [
    { name: "sumSquaredWeights", title: "Σ W², all squared weights", scale: "log", mark: "sum_squared_weights" },
    { name: "accuracy", title: "Accuracy", scale: "share" },
    { name: "cost", title: "Mini-batch cost", scale: "log", mark: "cost" },
  ];
  const inWords = { log: number, share: percent };
  const shortStep = (steps) => (steps < 1000 ? String(steps) : `${steps / 1000}k`);

  function plot({ name, title, scale: kind, mark: marked }) {
    const svg = shape("svg", { role: "img" }), mark = data.marks[marked];
    const keys = trainers.map(({ colour, place }) => {
      const key = element("span", { className: "legend" });
      key.style.setProperty("--colour", colour);
      key.style.setProperty("--dash", place ? "dashed" : "solid");
      return key;
    });
    const figure = element("figure", { className: "plot" },
      element("figcaption", {}, element("strong", { textContent: title }), ...keys), svg);

    function draw() {
      const { width, height } = svg.getBoundingClientRect();
      const curves = trainers.map(({ points }) => points.filter((point) => point[name] !== null));
      const last = curves.map((points) => inWords[kind](points.at(-1)?.[name]));
      keys.forEach((key, i) => { key.textContent = `${trainers[i].label} ${last[i]}`; });
      svg.setAttribute("aria-label", `${title}, against steps. At step ${whole(step())}: ` +
        trainers.map(({ label }, i) => `${label} ${last[i]}`).join(", ") + (mark ? `. ${mark.label}: ${number(mark.value)}` : ""));
      if (!width) return;
      const shown = curves.flat().map((point) => point[name]);
      const em = parseFloat(getComputedStyle(svg).fontSize);
      const [left, right, top, bottom] = [3.2 * em, .8 * em, .7 * em, 1.4 * em];
      const { at, ticks } = SCALES[kind](shown.length ? [...shown, ...(mark ? [mark.value] : [])] : [1, mark?.value ?? 100]);
      const end = Math.max(step(), 1000);
      const x = (steps) => left + ((width - left - right) * steps) / end;
      const y = (value) => top + (height - top - bottom) * (1 - at(value));
      const line = (x1, y1, x2, y2, className) => shape("line", { x1, y1, x2, y2, class: className });
      const text = (at, above, anchor, words) => shape("text", { x: at, y: above, "text-anchor": anchor }, words);
      svg.replaceChildren(
        ...ticks.flatMap(([value, words]) =>
          [line(left, y(value), width - right, y(value), "grid"), text(left - .4 * em, y(value) + .3 * em, "end", words)]),
        ...lab.roundTicks(end).map((steps) => text(x(steps), height - .1 * em, "middle", shortStep(steps))),
        ...changes.map((steps) => line(x(steps), top, x(steps), height - bottom, "change")),
        ...(mark ? [line(left, y(mark.value), width - right, y(mark.value), "mark"),
          text(left + .4 * em, y(mark.value) + 1.05 * em, "start", `${mark.label}: ${number(mark.value)}`)] : []),
        ...curves.map((points, i) => {
          const path = shape("path", {
            class: i ? "curve dashed" : "curve",
            d: points.map((point, k) => `${k ? "L" : "M"}${x(point.step).toFixed(1)} ${y(point[name]).toFixed(1)}`).join(""),
          });
          path.style.setProperty("--colour", trainers[i].colour);
          return path;
        }));
    }
    return { node: figure, draw };
  }

  // --- The gradient's part along the weights ---

  function radialRows(units, layer) {
    const bars = trainers.map((trained) => {
      const [bar, value] = [element("span", { className: "gauge" }), element("b")];
      const row = element("div", { className: "share" }, element("span", { textContent: trained.label }), bar, value);
      row.style.setProperty("--colour", trained.colour);
      function draw() {
        const share = trained.radial?.[layer] ?? NaN, size = Number.isFinite(share) ? share : 0;
        value.textContent = Number.isFinite(share) ? (Math.round(1000 * share) / 1000 || 0).toFixed(3).replace("-", "−") : "–";
        bar.style.setProperty("--from", `${50 + 50 * Math.min(size, 0)}%`);
        bar.style.setProperty("--size", `${50 * Math.abs(size)}%`);
      }
      return { row, draw };
    });
    const node = element("div", {}, element("h3", { textContent: `Hidden layer ${layer + 1}, ${units} units` }),
      ...bars.map(({ row }) => row));
    return { node, draw: () => bars.forEach(({ draw }) => draw()) };
  }

  let drawings = []; // what shows the networks

  function build() {
    const [plots, rows] = [CURVES.map(plot), hidden.map(radialRows)];
    find(".plots").replaceChildren(...plots.map(({ node }) => node));
    find(".radial").replaceChildren(...rows.map(({ node }) => node));
    drawings = [...plots, ...rows];
    show();
  }

  // --- What is said ---

  let waiting = false;
  function show() {
    showState();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const { draw } of drawings) draw();
    });
  }

  function showState() {
    const over = step() >= data.last_step, lost = trainers.every(({ diverged }) => diverged !== null);
    start.textContent = wanted ? "Pause" : "Start";
    start.disabled = !ready || over || lost;
    reset.disabled = !ready;
    scale.disabled = !ready || lost || !hidden.length;
    find(".progress").textContent = `Step ${whole(step())} of ${whole(data.last_step)}` +
      (rate === null ? "" : `, ${whole(rate)} a second`);
    const fates = trainers.map((trained) => [trained.label, fate(trained)]).filter(([, said]) => said);
    const told = [
      refused && `${refused}.`,
      ...fates.map(([label, said]) => `“${label}” ${said}.`),
      !ready ? "Getting ready." : over ? `Stopped at step ${whole(step())}, where the study stops.`
        : lost ? "Press Reset to start again." : wanted && !going() ? "Paused, since the lab is out of sight."
        : wanted ? fates.length < trainers.length && "Training." : looping ? "Pausing." : step() ? `Paused at step ${whole(step())}.`
        : "Nothing is trained yet.",
    ].filter(Boolean).join(" ");
    if (status.textContent !== told) status.textContent = told;
  }

  function showScale(told = "With batch norm the norm of the weights changes no probability.") {
    const text = `× ${number(10 ** scale.valueAsNumber)}`;
    find("output").textContent = text;
    scale.setAttribute("aria-valuetext", text.replace("×", "times"));
    find(".scaled").textContent = told;
  }

  async function rescale() {
    const factor = 10 ** scale.valueAsNumber, at = step();
    const answers = await Promise.all(trainers.map(({ ask }) => ask("scale", { factor })));
    if (answers.includes(null)) return; // of networks before a reset
    const change = Math.max(...answers.map((answer) => answer.change));
    showScale(`At step ${whole(at)} you set the norm to × ${number(factor)}. ` + (change < 1e-6
      ? `No probability changed by more than ${number(change)}.` : `Probabilities changed by up to ${number(change)}.`));
    show();
  }

  // --- The controls ---

  const WANTED = {
    seed: ["seed", "a whole number from 0 to 4,294,967,295"],
    lr: ["learning rate", "a number of at least 0"],
    L2: ["λ", "a number of at least 0"],
  };

  function open() {
    rule.value = state.settings.rule;
    for (const input of [seed, lr, L2]) input.value = state.settings[input.name];
  }

  function markChange() {
    if (step() && changes.at(-1) !== step()) changes.push(step());
  }

  for (const input of [seed, lr, L2]) {
    input.addEventListener("change", () => {
      const [name, expected] = WANTED[input.name];
      refused = input.checkValidity() ? "" : `${name}: expected ${expected}, got ${input.value || "no number"}`;
      if (refused) input.value = state.settings[input.name];
      else state.save({ [input.name]: input.valueAsNumber });
      if (input === seed && !refused) return restart();
      if (!refused) markChange();
      show();
    });
  }
  rule.addEventListener("change", () => {
    state.save({ rule: rule.value });
    restart();
  });
  scale.addEventListener("input", () => {
    showScale(find(".scaled").textContent);
    rescale().catch(fail);
  });
  scale.addEventListener("change", () => {
    markChange();
    show();
  });
  start.addEventListener("click", toggle);
  reset.addEventListener("click", restart);
  for (const form of section.querySelectorAll("form")) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.reset(); // a browser may have kept what was there before
  }
  document.addEventListener("visibilitychange", () => { show(); resume(); });

  rule.replaceChildren(...Object.entries(CHOICES).map(([value, [first, ...rest]]) => element("option", {
    value, textContent: rest.length ? "both" : first.label })));
  rule.parentElement.hidden = Object.keys(CHOICES).length < 2;
  find(".gradient").hidden = !hidden.length;
  find(".failure").textContent = "";
  const choose = (i) => () => {
    if (!rule.options[i]) return;
    rule.selectedIndex = i;
    rule.dispatchEvent(new Event("change"));
  };
  lab.presentable(section, {
    " ": toggle, PageDown: toggle, PageUp: restart, r: restart, 1: choose(0), 2: choose(1), 3: choose(2), 4: choose(3),
  });
  section.classList.add("live");
  open();
  trainers = CHOICES[state.settings.rule].map(trainer);
  build();

  // The workers start when the lab is first seen, and rest while it is not.
  let seen = false;
  new IntersectionObserver((entries) => {
    inSight = entries.at(-1).isIntersecting;
    if (inSight && !seen) {
      seen = true;
      restart();
    }
    if (ready && !failed) show();
    resume();
  }).observe(section);
  new ResizeObserver(show).observe(find(".plots"));

  window.explosion = {
    /** Of each network that is shown, by the name of its batch norm, the points of its curves. */
    get points() { return Object.fromEntries(trainers.map(({ key, points }) => [key, points])); },
  };
})();
