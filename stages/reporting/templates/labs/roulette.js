(() => {
  const { element, shape, percent } = lab;
  const FRAMES = 100; // at most so many draws are shown one by one; more of them go faster

  const section = document.getElementById("roulette");
  const find = (selector) => section.querySelector(selector);
  const { experiments, best, studies, others } = JSON.parse(find("#roulette-data").textContent);
  const [slider, exact, status] = [find("[name=runs]"), find("[name=exact]"), find("[role=status]")];
  const finite = (values) => values.filter((value) => value !== null); // null is a run that diverged
  const right = experiments.findIndex(({ key }) => key === best);

  const state = pageState.part("roulette", {
    n: { parse: pageState.wholeNumber(1, studies.length), otherwise: 1 },
    seed: { parse: pageState.wholeNumber(0, 2 ** 32 - 1) },
    draws: { parse: pageState.wholeNumber(0, 10_000), otherwise: 0 },
  }, open);

  let random, drawn, won; // chance; how many studies were drawn, and how many of them name each experiment
  let last; // of the last study: of each experiment the accuracies drawn and their mean, and the index of the best
  let pending = 0; // studies still to be drawn

  function drawStudy() {
    const runs = experiments.map(({ accuracies }) =>
      Array.from({ length: state.settings.n }, () => accuracies[Math.floor(random() * accuracies.length)]));
    const means = runs.map((values) =>
      values.includes(null) ? null : values.reduce((sum, value) => sum + value) / values.length);
    const highest = Math.max(...finite(means));
    const named = means.flatMap((mean, i) => (mean !== null && highest - mean < 1e-12 ? [i] : []));
    last = { runs, means, named: named.length ? named[Math.floor(random() * named.length)] : null };
    drawn += 1;
    if (last.named !== null) won[last.named] += 1;
  }

  function clear() {
    random = randomNumbers(state.settings.seed);
    [drawn, won, last, pending] = [0, experiments.map(() => 0), null, 0];
  }

  function open({ n, seed, draws }) {
    if (seed === undefined) state.settings.seed = Math.floor(Math.random() * 2 ** 32);
    slider.value = exact.value = n;
    clear();
    for (let i = 0; i < draws; i++) drawStudy();
    showChoice();
    show();
  }

  /** Draws so many more, for all to see; at once where no motion is wanted. */
  function draw(times) {
    const waiting = pending > 0;
    pending += times;
    if (!waiting) go();
  }

  function go() {
    const now = lab.reducedMotion() ? pending : Math.min(pending, Math.ceil(pending / FRAMES));
    for (let i = 0; i < now; i++) drawStudy();
    pending -= now;
    show();
    if (pending) requestAnimationFrame(go);
    else state.save({ draws: drawn });
  }

  // --- What is shown ---

  const all = experiments.flatMap(({ accuracies, published }) => finite([...accuracies, published]));
  const [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
  const margin = (high - low) * 0.03 || 0.005;
  const [from, to] = [low - margin, high + margin];
  const place = (share) => `${(100 * (share - from)) / (to - from)}%`;

  const rows = experiments.map(({ key, label, colour, accuracies, published }, i) => {
    const svg = shape("svg", { role: "img" });
    const [mean, count, bar] = [element("span", { className: "mean" }), element("span"), element("span", { className: "gauge" })];
    const row = element("div", { className: "row" }, element("span", { textContent: label }), mean,
      element("span", { className: "strip" }, svg), element("span", { className: "tally" }, bar, count));
    row.dataset.key = key;
    row.style.setProperty("--colour", colour);
    const diverged = accuracies.length - finite(accuracies).length;
    const marks = [shape("line", { x2: "100%", y1: "50%", y2: "50%", class: "base" }),
      ...finite(accuracies).map((share) => shape("circle", { cx: place(share), cy: "50%", r: ".3em", class: "dot" }))];
    const own = published === null ? [] : [shape("svg", { x: place(published), y: "50%", overflow: "visible" })];
    own[0]?.append(shape("rect", { x: "-.4em", y: "-.4em", width: ".8em", height: ".8em", transform: "rotate(45)", class: "published" }));

    function fill() {
      const runs = finite(last?.runs[i] ?? []), value = last?.means[i];
      const rings = runs.map((share) => shape("circle", { cx: place(share), cy: "50%", r: ".5em", class: "drawn" }));
      const line = runs.length > 1
        ? [shape("line", { x1: place(value), x2: place(value), y1: "0", y2: "100%", class: "mean-line" })] : [];
      svg.replaceChildren(...marks, ...own, ...rings, ...line);
      svg.setAttribute("aria-label", `${label}: ${finite(accuracies).length} runs` +
        (diverged ? `, ${diverged} more diverged` : "") +
        (published === null ? "" : `; the study’s own ${percent(published, 2)}`) +
        (runs.length ? `; drawn ${runs.map((share) => percent(share, 2)).join(", ")}` : ""));
      row.classList.toggle("named", last?.named === i);
      mean.textContent = !last ? "–" : value === null ? "diverged" : percent(value, 2);
      count.textContent = `${won[i]} of ${drawn}`;
      bar.style.setProperty("--won", `${drawn ? (100 * won[i]) / drawn : 0}%`);
      bar.style.setProperty("--expected", `${100 * studies[state.settings.n - 1][i]}%`);
    }
    return { row, fill };
  });

  const runsOfEach = (n) => `${n} run${n === 1 ? "" : "s"} of each`;

  function show() {
    for (const { fill } of rows) fill();
    find(".clear").disabled = !drawn;
    if (!last) status.textContent = "Nothing is drawn yet.";
    else if (pending) status.textContent = "Drawing.";
    else if (drawn > 1 && right >= 0) {
      status.textContent = `${won[right]} of ${drawn} studies name ${experiments[right].label}, the best over all our runs.`;
    } else if (last.named === null) status.textContent = "A run of every experiment diverged: nothing to name.";
    else {
      const verdict = right < 0 ? "" : last.named === right ? " It is right."
        : ` Over all our runs ${experiments[right].label} is the best.`;
      status.textContent = `This study names ${experiments[last.named].label}, with ${percent(last.means[last.named], 2)}.${verdict}`;
    }
  }

  /** The sentence and the curve of how often studies of n runs are right. */
  function showChoice() {
    const { n } = state.settings, share = studies[n - 1][right];
    const bold = (textContent) => element("strong", { textContent });
    find(".answer").replaceChildren(...(right < 0 ? ["No experiment is the best alone over all our runs."] : [
      "With ", bold(runsOfEach(n)), ", ", bold(percent(share, n === 1 ? 1 : 0)), " of such studies name ",
      bold(experiments[right].label), ", which is the best over all our runs."]));
    drawCurve();
  }

  function drawCurve() {
    const svg = find(".power"), { n } = state.settings;
    svg.toggleAttribute("hidden", right < 0);
    const { width, height } = svg.getBoundingClientRect();
    if (right < 0 || !width) return;
    const em = parseFloat(getComputedStyle(svg).fontSize);
    const [left, top, bottom] = [3.2 * em, 1.2 * em, 2.6 * em];
    const x = (runs) => left + ((width - left - em) * (runs - 1)) / Math.max(studies.length - 1, 1);
    const y = (share) => top + (height - top - bottom) * (1 - share);
    const line = (x1, y1, x2, y2, name) => shape("line", { x1, y1, x2, y2, class: name });
    const label = (at, above, anchor, text) => shape("text", { x: at, y: above, "text-anchor": anchor }, text);
    const shares = studies.map((row) => row[right]);
    svg.replaceChildren(
      ...[0, .5, 1].flatMap((share) => [line(left, y(share), width - em, y(share), "grid"),
        label(left - .4 * em, y(share) + .3 * em, "end", percent(share, 0))]),
      ...[1, ...lab.roundTicks(studies.length).filter((runs) => runs > 1)].map((runs) =>
        label(x(runs), height - 1.5 * em, "middle", String(runs))),
      label((left + width) / 2, height - .3 * em, "middle", "runs of each experiment"),
      shape("path", { class: "line", d: shares.map((share, i) => `${i ? "L" : "M"}${x(i + 1)} ${y(share)}`).join("") }),
      line(x(n), y(0), x(n), y(shares[n - 1]), "drop"),
      shape("circle", { cx: x(n), cy: y(shares[n - 1]), r: .4 * em, class: "now" }));
    svg.setAttribute("aria-label", "The share of studies that name the best experiment, against the runs of each: " +
      [1, 3, 5, 10, 20, 30].filter((runs) => runs <= studies.length)
        .map((runs) => `${runs}: ${percent(shares[runs - 1], 0)}`).join(", "));
  }

  function choose(n) {
    if (n === state.settings.n) return;
    slider.value = exact.value = n;
    state.save({ n, draws: 0 });
    clear();
    showChoice();
    show();
  }

  slider.addEventListener("input", () => choose(slider.valueAsNumber));
  exact.addEventListener("change", () => {
    if (exact.checkValidity()) choose(exact.valueAsNumber);
    else exact.value = state.settings.n;
  });
  for (const button of section.querySelectorAll("[data-times]")) {
    button.addEventListener("click", () => draw(Number(button.dataset.times)));
  }
  function startAnew() {
    state.save({ seed: Math.floor(Math.random() * 2 ** 32), draws: 0 });
    clear();
    show();
  }
  find(".clear").addEventListener("click", startAnew);

  find(".rows").replaceChildren(...rows.map(({ row }) => row));
  find(".axis").replaceChildren(element("span", {},
    ...[from, (from + to) / 2, to].map((share) => element("small", { textContent: percent(share) }))));
  find(".published-key").hidden = experiments.every(({ published }) => published === null);
  find(".elsewhere").hidden = !others.length;
  find(".others").replaceChildren(...others.map(([who, key]) => {
    const named = experiments.find((one) => one.key === key);
    const item = element("li", { textContent: `${who}: ${named?.label ?? key}` });
    item.style.setProperty("--colour", named?.colour ?? "var(--muted)");
    return item;
  }));
  const step = (by) => () => choose(Math.min(Math.max(state.settings.n + by, 1), studies.length));
  lab.presentable(section, {
    " ": () => draw(1), PageDown: () => draw(1), 1: () => draw(1), 2: () => draw(10), 3: () => draw(100),
    ArrowRight: step(1), ArrowLeft: step(-1), PageUp: startAnew, r: startAnew,
  });
  section.classList.add("live");
  open(state.settings);
  new ResizeObserver(drawCurve).observe(find(".power"));
})();
