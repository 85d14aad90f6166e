// A card for each destination and each source, and a row for each transform.

import { Chart } from "./charts.js";
import { bufferFill, nameOf, stateOf } from "./component.js";
import { el, mark, markPath, setAttribute, setText } from "./dom.js";
import { ago, bytes, clock, count, duration, measured, percent, rate, visible } from "./format.js";
import { reasonsText } from "./health.js";

const SINK_CHARTS = [
  { field: "sent", title: "Delivered", colour: "rate", format: rate, least: 1 },
  { field: "errors", title: "Errors", colour: "errors", format: rate, least: 1 },
  { field: "lag_secs", title: "Lag", colour: "lag", format: duration, least: 1 },
  { field: "buffer_fill", title: "Buffer", colour: "fill", format: percent, least: 1, most: 1 },
];
const SOURCE_CHARTS = [
  { field: "received", title: "Received", colour: "rate", format: rate, least: 1 },
  { field: "errors", title: "Errors", colour: "errors", format: rate, least: 1 },
];

/** Keeps the cards and rows of a page's lists. */
export function componentCards(lists, history) {
  const shown = new Map();
  return (status) => {
    const keys = new Set(status.components.map(nameOf));
    for (const [key, one] of shown) {
      if (!keys.has(key)) {
        one.remove();
        shown.delete(key);
      }
    }
    for (const component of status.components) {
      const key = nameOf(component);
      if (!shown.has(key)) {
        const one = component.kind === "transform" ? new Row(component) : new Card(component, history);
        shown.set(key, one);
        lists[component.kind].append(one.root);
      }
      shown.get(key).update(component, status.now);
    }
    lists.transformSection.hidden = lists.transform.childElementCount === 0;
  };
}

class Card {
  constructor(component, history) {
    const key = nameOf(component);
    const title = `title-${key}`;
    this.mark = mark(component.state);
    this.type = el("span", { class: "type" }, component.type);
    this.state = el("p", { class: "state" });
    this.trouble = new TroubleBox();
    this.facts = new Facts();
    const charts = component.kind === "source" ? SOURCE_CHARTS : SINK_CHARTS;
    this.charts = charts.map((options) => new Chart(history, key, { ...options, together: key }));
    this.root = el("article", { class: "card", id: key, "aria-labelledby": title, tabindex: "-1" },
      el("header", {}, this.mark, el("h3", { id: title }, component.id, " ", this.type), this.state),
      this.trouble.root, this.facts.root,
      el("div", { class: "charts" }, this.charts.map((chart) => chart.root)));
  }

  remove() {
    this.charts.forEach((chart) => chart.remove());
    this.root.remove();
  }

  update(component, now) {
    setAttribute(this.root, "data-state", component.state);
    setAttribute(this.mark, "data-state", component.state);
    setAttribute(this.mark.firstChild, "d", markPath(component.state));
    setText(this.type, component.dead_letters ? `${component.type}, dead letters` : component.type);
    const since = component.since ? ` for ${duration(Math.round((Date.parse(now) - Date.parse(component.since)) / 1000))}` : "";
    setText(this.state, stateOf(component) + since);
    setAttribute(this.state, "title", component.since ? `since ${clock(component.since, now)}` : null);
    this.trouble.update(component, now);
    this.facts.update(component.kind === "source" ? sourceFacts(component, now) : sinkFacts(component, now));
  }
}

function sinkFacts(sink, now) {
  const fill = bufferFill(sink);
  return [
    ["Delivered", rate(sink.rates.sent), `${count(sink.sent)} in all`],
    ["Errors", rate(sink.rates.errors), `${count(sink.errors)} in all`, sink.rates.errors > 0 ? "warning" : null],
    ["Lag", sink.lag_secs === null ? "–" : duration(sink.lag_secs), "event to delivery"],
    ["Buffer", fill === null ? "–" : percent(fill), bufferText(sink.buffer), fill > 0.8 ? "warning" : null, fill],
    ["On their way", count(sink.buffered), sink.held_batches ? `${count(sink.held_batches)} ${sink.held_batches === 1 ? "batch" : "batches"} held` : "events"],
    ["Rejected", count(sink.rejected), "refused for good", sink.rejected > 0 ? "warning" : null],
    droppedFact(sink.dropped),
    ["Last delivery", sink.last_event ? ago(sink.last_event, now) : "–", sink.last_event ? clock(sink.last_event, now) : "none yet"],
  ];
}

function sourceFacts(source, now) {
  const facts = [
    ["Received", rate(source.rates.received), `${count(source.received)} in all`],
    ["Bytes", bytes(source.received_bytes), "of payloads"],
    ["Last event", source.last_event ? ago(source.last_event, now) : "–", source.last_event ? clock(source.last_event, now) : "none yet"],
    ["Disconnects", count(source.disconnects), "since the start", source.disconnects > 0 ? "warning" : null],
    ["Errors", rate(source.rates.errors), `${count(source.errors)} in all`, source.rates.errors > 0 ? "warning" : null],
    ["Pending", count(source.pending), "wait in the stream"],
  ];
  if (Object.keys(source.dropped).length > 0) facts.push(droppedFact(source.dropped));
  return facts;
}

function droppedFact(dropped) {
  const total = Object.values(dropped).reduce((sum, number) => sum + number, 0);
  return ["Dropped", count(total), reasonsText(dropped) || "none", total > 0 ? "warning" : null];
}

function bufferText(buffer) {
  if (!buffer) return "none";
  const where = { memory: "in memory", disk: "on disk", overflow: "memory, then disk" }[buffer.kind] ?? buffer.kind;
  if (buffer.max_bytes) return `${bytes(buffer.bytes)} of ${bytes(buffer.max_bytes)} ${where}`;
  if (buffer.max_events) return `${measured(buffer.events)} of ${count(buffer.max_events)} events ${where}`;
  return where;
}

/** Names with a value and a remark each. */
class Facts {
  root = el("dl", { class: "facts" });
  #rows = new Map();

  update(facts) {
    for (const [name, value, remark, state, part] of facts) {
      if (!this.#rows.has(name)) {
        const row = {
          value: el("span", { class: "value" }),
          remark: el("span", { class: "remark" }),
          bar: part === undefined ? null : el("span", { class: "fill-bar", "aria-hidden": "true" }, el("span", {})),
        };
        row.root = el("div", {}, el("dt", {}, name), el("dd", {}, row.value, row.bar, row.remark));
        this.#rows.set(name, row);
        this.root.append(row.root);
      }
      const row = this.#rows.get(name);
      setText(row.value, value);
      setText(row.remark, remark);
      setAttribute(row.remark, "title", remark);
      setAttribute(row.root, "data-state", state);
      if (row.bar) row.bar.firstChild.style.width = `${100 * Math.min(1, part ?? 0)}%`;
    }
  }
}

/** What went wrong last, when, and what to do. */
class TroubleBox {
  root = el("div", { class: "trouble", hidden: true });
  #title = el("span", { class: "trouble-title" });
  #ago = el("span", {});
  #time = el("time", {});
  #text = el("p", { class: "problem" });
  #advice = el("p", { class: "advice" });

  constructor() {
    this.root.append(el("p", { class: "when" }, this.#title, " ", this.#ago, ", ", this.#time), this.#text, this.#advice);
  }

  update({ trouble, state }, now) {
    this.root.hidden = trouble === null;
    if (trouble === null) return;
    setAttribute(this.root, "data-state", state);
    setText(this.#title, state === "failing" ? "Error" : "Last error");
    setText(this.#ago, ago(trouble.at, now));
    setText(this.#time, clock(trouble.at, now));
    setAttribute(this.#time, "datetime", trouble.at);
    setText(this.#text, visible(trouble.text));
    setText(this.#advice, visible(trouble.advice));
    this.#advice.hidden = trouble.advice === "";
  }
}

class Row {
  constructor(component) {
    this.cells = Array.from({ length: 5 }, () => el("td", {}));
    this.root = el("tr", { id: nameOf(component), tabindex: "-1" },
      el("th", { scope: "row" }, component.id, " ", el("span", { class: "type" }, component.type)), this.cells);
  }

  remove() {
    this.root.remove();
  }

  update(component, now) {
    const { trouble, dropped } = component;
    const texts = [
      `${rate(component.rates.received)} · ${count(component.received)}`,
      `${rate(component.rates.sent)} · ${count(component.sent)}`,
      reasonsText(dropped) || "0",
      count(component.errors),
      trouble ? `${ago(trouble.at, now)}: ${visible(trouble.text)}` : "–",
    ];
    texts.forEach((text, at) => setText(this.cells[at], text));
  }
}
