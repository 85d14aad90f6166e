// The last hour of every component: what log-shipper remembers, and what has come since.

import { bufferFill, nameOf } from "./component.js";

const HOUR = 3_600;
const FIELDS = ["received", "sent", "errors", "buffered", "buffer_fill", "lag_secs"];

/** Values of all components at the same times, the last of which is the step that is not over yet. */
export class History {
  step = 10;
  times = [];
  series = new Map();
  // What the open step has so far: by component, sums and how many.
  open = new Map();

  /** Starts anew with what log-shipper remembers. */
  fill(history) {
    this.step = history.step_secs || 10;
    this.times = [...history.times];
    this.series = new Map(Object.entries(history.components).map(([key, values]) =>
      [key, Object.fromEntries(FIELDS.map((field) => [field, [...(values[field] ?? [])]]))]));
    this.open = new Map();
  }

  /** Takes in a status. */
  add(status) {
    const now = Date.parse(status.now) / 1000;
    const end = Math.ceil(now / this.step) * this.step;
    if (this.times.length === 0 || end > this.times.at(-1)) {
      this.times.push(end);
      this.open = new Map();
    }
    const oldest = this.times.findIndex((time) => time > end - HOUR);
    this.times.splice(0, oldest);
    const keys = new Set();
    for (const component of status.components) {
      const key = nameOf(component);
      keys.add(key);
      this.#addTo(key, component, oldest);
    }
    for (const key of this.series.keys()) {
      if (!keys.has(key)) this.series.delete(key);
    }
  }

  #addTo(key, component, oldest) {
    let values = this.series.get(key);
    if (!values) {
      values = Object.fromEntries(FIELDS.map((field) => [field, []]));
      this.series.set(key, values);
    } else {
      FIELDS.forEach((field) => values[field].splice(0, oldest));
    }
    const open = this.open.get(key) ?? { samples: 0, received: 0, sent: 0, errors: 0, lag_secs: null };
    this.open.set(key, open);
    open.samples += 1;
    for (const field of ["received", "sent", "errors"]) {
      open[field] += component.rates[field];
      put(values[field], this.times.length, open[field] / open.samples);
    }
    if (component.lag_secs !== null) open.lag_secs = Math.max(open.lag_secs ?? 0, component.lag_secs);
    put(values.lag_secs, this.times.length, open.lag_secs);
    put(values.buffered, this.times.length, component.buffered);
    put(values.buffer_fill, this.times.length, bufferFill(component));
  }

  /** The times and a component's values. */
  of(key, field) {
    const values = this.series.get(key)?.[field] ?? [];
    return [this.times, values.length === this.times.length ? values : this.times.map((_, at) => values[at] ?? null)];
  }
}

function put(values, length, value) {
  while (values.length < length) values.push(null);
  values[length - 1] = value;
}
