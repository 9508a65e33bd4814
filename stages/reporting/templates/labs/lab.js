// What the labs share: elements, numbers in words, the axes of plots, and a mode for the projector.

const lab = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MISSING = "–";

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function shape(tag, attributes, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  }

  // --- Numbers in words; what is no number is a dash ---

  const minus = (text) => text.replace("-", "−");
  const power = (exponent) => `10${[...String(exponent)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
  const whole = (value) => (Number.isFinite(value) ? minus(Math.round(value).toLocaleString("en")) : MISSING);
  const percent = (share, digits = 1) => (Number.isFinite(share) ? `${(100 * share).toFixed(digits)}\u00a0%` : MISSING);

  /** Four significant digits; a power of ten where very small or very large. */
  function number(value) {
    if (!Number.isFinite(value)) return MISSING;
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e6)) {
      const [digits, exponent] = value.toExponential(2).split("e");
      return minus(`${digits}\u00a0×\u00a0${power(Number(exponent))}`);
    }
    return size < 1000 ? minus(String(+value.toPrecision(4))) : whole(value);
  }

  // --- Axes ---

  /** Round numbers from 0 to about the largest, at most five. */
  function roundTicks(largest) {
    const rough = largest / 4, decade = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * decade >= rough) * decade;
    return Array.from({ length: Math.floor(largest / step) + 1 }, (_, i) => i * step);
  }

  /** The powers of ten to label, at most so many, from the lowest one on. */
  function powers(low, high, most) {
    const every = Math.ceil((high - low) / (most - 1));
    return Array.from({ length: high - low + 1 }, (_, i) => low + i).filter((exponent) => (exponent - low) % every === 0);
  }

  const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** The section's button .present shows it alone, on the whole screen and in large type; Escape ends it. Meanwhile
   *  `keys`, a key → what it does, work wherever the focus is. */
  function presentable(section, keys) {
    const button = section.querySelector(".present"), name = button.textContent;
    const presented = () => section.classList.contains("presented");

    function present(on) {
      section.classList.toggle("presented", on);
      button.textContent = on ? "Leave (Esc)" : name;
      if (on) section.requestFullscreen?.()?.catch?.(() => {}); // without it the section fills the window
      else if (document.fullscreenElement === section) document.exitFullscreen();
      if (on) section.querySelector(".stage button:enabled")?.focus();
    }

    button.addEventListener("click", () => present(!presented()));
    document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) present(false); });
    document.addEventListener("keydown", (event) => {
      if (!presented() || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.key === "Escape") return present(false);
      if (event.target.closest?.("input, select, summary") || (event.key === " " && event.target.closest?.("button"))) return;
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    section.classList.remove("presented"); // of a page that was saved like that
  }

  return { element, shape, whole, percent, number, power, roundTicks, powers, reducedMotion, presentable };
})();
