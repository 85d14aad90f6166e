// Small charts of the last hour, drawn by uPlot while they can be seen.

import { el, setAttribute, setText } from "./dom.js";

const HOUR = 3_600;
const SHORTEST = 300;
const HEIGHT = 92;

const shown = new Set();
const onScreen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const chart = target.chart;
    if (isIntersecting) {
      shown.add(chart);
      chart.draw();
    } else {
      shown.delete(chart);
    }
  }
}, { rootMargin: "120px" });
const sized = new ResizeObserver((entries) => entries.forEach(({ target }) => target.chart.resize()));

let colours = readColours();
for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
  matchMedia(query).addEventListener("change", () => {
    colours = readColours();
    shown.forEach((chart) => chart.redraw());
  });
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return new Map(["ink", "grid", "rate", "errors", "lag", "fill"].flatMap((name) =>
    [[name, read(`--chart-${name}`)], [`${name}-area`, read(`--chart-${name}-area`)]]));
}

/** Draws those charts anew that can be seen. */
export function drawCharts() {
  shown.forEach((chart) => chart.draw());
}

/** A chart of one value of a component. */
export class Chart {
  #history;
  #key;
  #options;
  #plot = null;
  #span = [0, 1];

  /**
   * `options`: `field` in the history, `title`, `colour`, `format` of a value, `least` upper end of the axis, and
   * `together`, the name of the charts that point at the same time.
   */
  constructor(history, key, options) {
    this.#history = history;
    this.#key = key;
    this.#options = options;
    this.value = el("span", { class: "chart-value" });
    this.canvas = el("div", { class: "chart-canvas", role: "img" });
    this.root = el("figure", { class: "chart" },
      el("figcaption", {}, el("span", {}, options.title), this.value), this.canvas);
    this.canvas.chart = this;
    onScreen.observe(this.canvas);
    sized.observe(this.canvas);
  }

  remove() {
    onScreen.unobserve(this.canvas);
    sized.unobserve(this.canvas);
    shown.delete(this);
    this.#plot?.destroy();
  }

  draw() {
    const data = this.#history.of(this.#key, this.#options.field);
    const [times, values] = data;
    if (times.length === 0 || this.canvas.clientWidth === 0) return;
    const now = times.at(-1);
    // Shortly after the start an hour would be an empty chart.
    const first = times[Math.max(0, values.findIndex((value) => value !== null))];
    const span = Math.min(HOUR, Math.max(SHORTEST, now - first));
    this.#span = [now - span, now];
    if (this.#plot === null) {
      this.#plot = new uPlot(this.#plotOptions(), data, this.canvas);
    } else {
      this.#plot.setData(data);
    }
    this.#describe();
  }

  redraw() {
    this.#plot?.redraw(true, true);
  }

  resize() {
    const width = this.canvas.clientWidth;
    if (this.#plot === null) {
      if (shown.has(this)) this.draw();
    } else if (width > 0 && width !== this.#plot.width) {
      this.#plot.setSize({ width, height: HEIGHT });
    }
  }

  #describe() {
    const { title, format } = this.#options;
    const [, values] = this.#plot.data;
    const known = values.filter((value) => value !== null);
    const last = known.length > 0 ? values.at(-1) : null;
    const at = this.#plot.cursor.idx;
    const pointed = this.#plot.cursor.left >= 0 && at !== null && at !== undefined;
    if (pointed) {
      const time = new Date(this.#plot.data[0][at] * 1000).toTimeString().slice(0, 5);
      setText(this.value, `${time}  ${values[at] === null ? "–" : format(values[at])}`);
    } else {
      setText(this.value, last === null || last === undefined ? "–" : format(last));
    }
    const words = known.length === 0
      ? `${title}: nothing yet`
      : `${title} over the last hour: now ${last === null ? "nothing" : format(last)}, at most ${format(Math.max(...known))}`;
    setAttribute(this.canvas, "aria-label", words);
  }

  #plotOptions() {
    const { colour, format, least, most, together } = this.#options;
    const axis = { stroke: () => colours.get("ink"), font: "11px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => colours.get("grid"), width: 1 };
    return {
      width: this.canvas.clientWidth,
      height: HEIGHT,
      padding: [6, 16, 0, 0],
      legend: { show: false },
      select: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 6 },
        sync: { key: together, scales: ["x", null] },
      },
      scales: {
        x: { time: true, range: () => this.#span },
        y: { range: (_, __, max) => [0, most ?? Math.max(least, (max ?? 0) * 1.1)] },
      },
      axes: [
        { ...axis, size: 20, gap: 3, grid: { show: false }, space: 64,
          values: (_, splits) => splits.map((time) => new Date(time * 1000).toTimeString().slice(0, 5)) },
        { ...axis, size: 46, gap: 4, grid, space: 26, values: (_, splits) => splits.map((value) => format(value)) },
      ],
      series: [
        {},
        { stroke: () => colours.get(colour), fill: () => colours.get(`${colour}-area`), width: 1.5,
          // A line needs two: right after the start there are dots.
          points: { show: (_, __, first, last) => last - first < 3, size: 4 } },
      ],
      hooks: { setCursor: [() => this.#plot && this.#describe()] },
    };
  }
}
