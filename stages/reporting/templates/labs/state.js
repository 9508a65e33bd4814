// The state of the page's parts in its address, #part?name=value&…, and the buttons [data-link] that copy such an address.

const pageState = (() => {
  const parts = new Map(); // id → { fields, settings, open }

  function addressed() {
    const [, id = "", query = ""] = /^#([^?]*)\??(.*)$/s.exec(location.hash) ?? [];
    return { id, texts: new URLSearchParams(query) };
  }

  /** Of each field what the texts say; what it is `otherwise` where they say nothing, or nonsense. */
  function read(fields, texts) {
    return Object.fromEntries(Object.entries(fields).map(([name, { parse, otherwise }]) =>
      [name, (texts.has(name) ? parse(texts.get(name)) : undefined) ?? otherwise]));
  }

  function address(id) {
    const { fields = {}, settings = {} } = parts.get(id) ?? {};
    const said = Object.entries(settings).filter(([name, value]) => value !== fields[name].otherwise);
    const query = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString();
    return `${location.href.split("#")[0]}#${id}${query && `?${query}`}`;
  }

  /** A browser may refuse: in a frame without an address, or after too many changes in a few seconds. */
  function show(href) {
    try {
      history.replaceState(history.state, "", href);
    } catch {
      // The page works without.
    }
  }

  /** Keeps a part's settings in the address. `fields`: name → { parse, otherwise }; `open` is called with the settings of
   *  every later address that names the part. */
  function part(id, fields, open) {
    const { id: named, texts } = addressed();
    const kept = { fields, open, settings: read(fields, named === id ? texts : new URLSearchParams()) };
    parts.set(id, kept);
    return {
      get settings() { return kept.settings; },
      save(settings) {
        const before = address(id);
        Object.assign(kept.settings, settings);
        if (address(id) !== before) show(address(id));
      },
    };
  }

  /** A browser looks for an element whose id is the whole of #part?name=value. */
  function scrollTo(id) {
    if (location.hash.includes("?")) document.getElementById(id)?.scrollIntoView();
  }

  document.addEventListener("DOMContentLoaded", () => scrollTo(addressed().id));
  addEventListener("hashchange", () => {
    const { id, texts } = addressed(), kept = parts.get(id);
    if (kept) {
      kept.settings = read(kept.fields, texts);
      kept.open(kept.settings);
    }
    scrollTo(id);
  });

  document.addEventListener("click", async ({ target }) => {
    const button = target.closest?.("[data-link]");
    if (!button) return;
    const href = address(button.dataset.link);
    show(href);
    const name = button.dataset.name ??= button.textContent;
    try {
      await navigator.clipboard.writeText(href);
      button.textContent = "Link copied";
    } catch {
      button.textContent = "The link is in the address bar";
    }
    setTimeout(() => { button.textContent = name; }, 2500);
  });

  return {
    part,
    wholeNumber: (least, most) => (text) =>
      (/^\d{1,15}$/.test(text) && Number(text) >= least && Number(text) <= most ? Number(text) : undefined),
    notNegative: (text) => (/^\d*\.?\d+(e[+-]?\d{1,3})?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : undefined),
    oneOf: (values) => (text) => (values.includes(text) ? text : undefined),
  };
})();
