// Reads values out of the panels and changes their horizontal axis. The page is complete without it.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg", INSET = 0.02, LONE_APART = 4;
  const form = document.querySelector("form.axis");
  if (!form) return;

  const shown = (value, digits) => {
    if (value === null) return "–";
    const fixed = Math.abs(value) >= 100 ? value.toFixed(1) : value.toFixed(digits);
    return Math.abs(Number(fixed)) < 1 ? fixed.replace("0.", ".") : fixed;
  };
  const pair = (text) => text.split(" ").map(Number); // "step samples"

  class Panel {
    constructor(figure) {
      Object.assign(this, JSON.parse(figure.querySelector("script").textContent));
      this.figure = figure;
      this.svg = figure.querySelector(".plot > svg");
      this.cursor = this.svg.querySelector(".cursor");
      this.reading = figure.querySelector(".reading");
      this.labels = [...figure.querySelectorAll(".legend li[data-curve] .label")].map((e) => e.textContent);
      this.steps = new Map(); // step to samples, of every curve
      for (const curve of this.curves) for (const [step, samples] of curve.points) this.steps.set(step, samples);
      this.order = [...this.steps].sort((a, b) => a[0] - b[0]);
      this.byStep = this.curves.map((curve) => new Map(curve.points.map((p) => [p[0], p])));
      this.axis("samples", "log");
      this.listen();
    }

    // Where a [step, samples] is on the horizontal axis, in units of the drawing.
    x([step, samples]) {
      const { end, linear } = this.scale, value = this.unit === "steps" ? step : samples;
      const place = linear === null ? value / end : Math.log1p(value / linear) / Math.log1p(end / linear);
      return this.frame[0] + this.frame[2] * (INSET + (1 - 2 * INSET) * place);
    }

    y(value) {
      const [, top, , height, low, high] = this.frame;
      return top + (height * (high - value)) / (high - low);
    }

    axis(unit, scale) {
      this.unit = unit;
      this.scale = this.scales[`${unit} ${scale}`];
    }

    // Points that follow each other with a value, as [x, value, low, high]; a lone one is moved aside.
    runs(points, k) {
      const runs = [[]];
      for (const [step, samples, ...values] of points) {
        if (values[0] === null) runs.push([]);
        else runs.at(-1).push([this.x([step, samples]), ...values]);
      }
      for (const run of runs) if (run.length === 1) run[0][0] += LONE_APART * k;
      return runs.filter((run) => run.length);
    }

    line(points, k) {
      const corner = ([x, value]) => `${x.toFixed(1)} ${this.y(value).toFixed(1)}`;
      return this.runs(points, k).map((run) => "M" + run.map(corner).join("L")).join("");
    }

    band(points, k) {
      const at = (x, value) => `${x.toFixed(1)} ${this.y(value).toFixed(1)}`;
      return this.runs(points, k).map((run) => {
        let ends = run.filter((p) => p[2] !== null && p[3] !== null);
        if (ends.length === 1) ends = [-0.6, 0.6].map((apart) => [ends[0][0] + apart, ...ends[0].slice(1)]);
        if (!ends.length) return "";
        const upper = ends.map((p) => at(p[0], p[3])), lower = ends.map((p) => at(p[0], p[2])).reverse();
        return "M" + [...upper, ...lower].join("L") + "Z";
      }).join("");
    }

    redraw() {
      const all = (selector) => this.svg.querySelectorAll(selector);
      for (const e of all("path[data-curve]")) {
        const { points, k } = this.curves[e.dataset.curve];
        e.setAttribute("d", e.classList.contains("band") ? this.band(points, k) : this.line(points, k));
      }
      for (const e of all("[data-points]")) e.setAttribute("d", this.line(JSON.parse(e.dataset.points), 0));
      for (const e of all("[data-at]")) e.setAttribute("transform", `translate(${this.x(pair(e.dataset.at))} ${e.dataset.y})`);
      for (const e of all("[data-from]")) {
        const left = this.x(pair(e.dataset.from)), right = Math.max(this.x(pair(e.dataset.to)), left + 2);
        if (e.tagName === "rect") { e.setAttribute("x", left); e.setAttribute("width", right - left); }
        else if (e.tagName === "path") e.setAttribute("d", `M${left} ${e.dataset.y - 3}v6m0-3H${right}m0-3v6`);
        else {
          const [start, , width] = this.frame;
          e.setAttribute("x", Math.min(Math.max((left + right) / 2, start + 60), start + width - 60));
        }
      }
      this.ticks();
    }

    ticks() {
      const group = this.svg.querySelector(".x-ticks"), bottom = this.frame[1] + this.frame[3];
      group.replaceChildren();
      for (const [value, text] of this.scale.ticks) {
        const x = this.x([value, value]);
        add(group, "path", { d: `M${x} ${bottom}v4` });
        add(group, "text", { x, y: bottom + 17, "text-anchor": "middle" }).textContent = text;
      }
    }

    listen() {
      this.svg.setAttribute("tabindex", "0");
      this.at = null;
      this.svg.addEventListener("pointermove", (event) => this.select(this.nearest(event)));
      this.svg.addEventListener("pointerdown", (event) => this.select(this.nearest(event)));
      this.svg.addEventListener("pointerleave", () => this.hide());
      this.svg.addEventListener("blur", () => this.hide());
      this.svg.addEventListener("focus", () => { if (this.svg.matches(":focus-visible")) this.select(this.order.length - 1); });
      this.svg.addEventListener("keydown", (event) => {
        const last = this.order.length - 1, here = this.at ?? last;
        const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
        if (event.key === "Escape") this.hide();
        if (to === undefined) return;
        event.preventDefault();
        this.select(Math.min(Math.max(to, 0), last));
      });
    }

    nearest(event) {
      const box = this.svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * this.svg.viewBox.baseVal.width;
      let low = 0, high = this.order.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (this.x(this.order[middle]) < x) low = middle; else high = middle;
      }
      if (high < 0) return null;
      return x - this.x(this.order[low]) < this.x(this.order[high]) - x ? low : high;
    }

    select(at) {
      if (at === null || at < 0 || at === this.at) return;
      this.at = at;
      const [step, samples] = this.order[at], x = this.x(this.order[at]), [left, top, width, height] = this.frame;
      this.cursor.replaceChildren();
      this.reading.replaceChildren();
      add(this.cursor, "line", { x1: x, x2: x, y1: top, y2: top + height });
      const head = this.reading.appendChild(document.createElement("b"));
      head.textContent = `step ${step}, ${samples.toLocaleString("en")} samples`;
      this.byStep.forEach((points, i) => {
        const point = points.get(step);
        if (!point) return;
        const [, , value, low, high] = point, row = this.reading.appendChild(document.createElement("div"));
        row.className = `k${this.curves[i].k}`;
        const band = low === null || high === null || value === null ? "" : ` [${shown(low, this.digits)}, ${shown(high, this.digits)}]`;
        row.textContent = `${this.labels[i]}: ${value === null ? "undefined" : shown(value, this.digits) + band}`;
        if (value !== null) add(this.cursor, "circle", { cx: x, cy: this.y(value), r: 4, class: row.className });
      });
      this.cursor.removeAttribute("hidden");
      this.reading.hidden = false;
      const right = x > left + width / 2;
      const part = (x / this.svg.viewBox.baseVal.width) * this.svg.getBoundingClientRect().width;
      this.reading.style.left = right ? "4px" : `${part + 12}px`;
      this.reading.style.maxWidth = `${right ? part - 16 : this.figure.clientWidth - part - 16}px`;
    }

    hide() {
      this.at = null;
      this.cursor.setAttribute("hidden", "");
      this.reading.hidden = true;
    }
  }

  function add(parent, name, attributes) {
    const element = parent.appendChild(document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  const panels = [...document.querySelectorAll("figure.panel")].map((figure) => new Panel(figure));
  const KEY = "clip-align axis"; // a page under way reloads itself: the choice stays
  const change = () => {
    const { unit, scale } = Object.fromEntries(new FormData(form));
    for (const panel of panels) { panel.axis(unit, scale); panel.hide(); panel.redraw(); }
    try { sessionStorage.setItem(KEY, `${unit} ${scale}`); } catch { /* a browser may refuse storage to a file */ }
  };
  try {
    const [unit, scale] = (sessionStorage.getItem(KEY) ?? "samples log").split(" ");
    form.elements.unit.value = unit;
    form.elements.scale.value = scale;
    if (`${unit} ${scale}` !== "samples log") change();
  } catch { /* as above */ }
  form.addEventListener("change", change);
  form.hidden = false;

  const folded = [...document.querySelectorAll("details")];
  window.addEventListener("beforeprint", () => folded.forEach((d) => { d.dataset.was = d.open; d.open = true; }));
  window.addEventListener("afterprint", () => folded.forEach((d) => { d.open = d.dataset.was === "true"; }));
})();
