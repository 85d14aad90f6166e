// The top of the page: whether logs flow, since when not, and what to do.

import { el, mark, markPath, setAttribute, setText } from "./dom.js";
import { ago, clock, count, duration, many, rate, visible } from "./format.js";

const page = (id) => document.getElementById(id);

/** Shows a status at the top of the page. */
export function showHealth(status) {
  const { state, headline, announcement } = verdict(status);
  setAttribute(page("health"), "data-state", state);
  setAttribute(page("health").querySelector("path"), "d", markPath(state));
  setText(page("headline"), headline);
  // Only what changed for good is announced: a rate changes every second.
  setText(page("announcement"), announcement);
  setText(page("version"), status.version);
  setText(page("uptime"), `up for ${duration(status.uptime_secs)}`);
  setAttribute(page("uptime"), "title", `since ${clock(status.started, status.now)}`);
  showTitle(status);
  showReasons(status);
  showTotals(status);
}

/** Says the same in the title, which can be seen while another tab is in front. */
export function showTitle(status) {
  const { state, announcement } = verdict(status);
  const title = `${{ working: "✓", warning: "!", failing: "✗" }[state]} ${announcement} · log-shipper`;
  if (document.title !== title) document.title = title;
}

function verdict(status) {
  const { health, components } = status;
  const sinks = components.filter((component) => component.kind === "sink" && !component.dead_letters);
  const fatal = health.reasons.find((reason) => reason.fatal);
  if (!health.healthy) {
    const what = fatal ?? health.reasons[0];
    const who = what ? `: ${name(what.component)} ${isFed(what.component) ? "fails" : "cannot receive"}` : "";
    return { state: "failing", headline: `No logs flow${who}`, announcement: `No logs flow${who}` };
  }

  const sent = sinks.reduce((sum, sink) => sum + sink.rates.sent, 0);
  const received = components.filter((component) => component.kind === "source")
    .reduce((sum, source) => sum + source.rates.received, 0);
  const failing = sinks.filter((sink) => sink.state === "failing");
  const receiving = many(sinks.length - failing.length, "destination");
  const flow = received > 0 || sent > 0
    ? `${rate(received).replace("/s", "")} events/s to ${receiving}`
    : "no events come in at the moment";
  if (health.reasons.length > 0) {
    const who = failing.length === 0 ? name(health.reasons[0].component)
      : failing.length <= 2 ? failing.map((sink) => sink.id).join(" and ")
      : many(failing.length, "destination");
    const announcement = failing.length > 0
      ? `Logs are flowing, but not to ${who}`
      : `Logs are flowing, but look at ${who}`;
    return { state: "warning", headline: `${announcement}: ${flow}`, announcement };
  }
  if (components.every((component) => component.received === 0)) {
    return { state: "working", headline: "Ready: nothing has come in yet", announcement: "Ready: nothing has come in yet" };
  }
  if (received === 0 && sent === 0) {
    const last = components.filter((component) => component.kind === "source" && component.last_event)
      .map((component) => component.last_event).sort().at(-1);
    const when = last ? `: the last event came ${ago(last, status.now)}` : "";
    return { state: "working", headline: `All is well, and quiet${when}`, announcement: "All is well, and quiet" };
  }
  return { state: "working", headline: `Logs are flowing: ${flow}`, announcement: "Logs are flowing" };
}

function name(component) {
  return component.slice(component.indexOf(".") + 1);
}

function isFed(component) {
  return !component.startsWith("sources.");
}

function showReasons({ health, now }) {
  const list = page("reasons");
  list.hidden = health.reasons.length === 0;
  const rows = health.reasons.map((reason) => {
    const since = reason.since
      ? el("span", { class: "quiet" }, "since ", el("time", { datetime: reason.since }, clock(reason.since, now)), ` (${ago(reason.since, now)})`)
      : null;
    return el("li", { "data-state": reason.fatal ? "failing" : "warning" },
      mark(reason.fatal ? "failing" : "warning"),
      el("div", {},
        el("p", {}, el("a", { href: `#${encodeURIComponent(reason.component)}` }, reason.component), " ", since),
        el("p", { class: "problem" }, visible(reason.problem)),
        reason.advice ? el("p", { class: "advice" }, visible(reason.advice)) : null));
  });
  // A link that has the focus must not lose it every second.
  const next = rows.map((row) => row.outerHTML).join("");
  if (list.dataset.shown !== next) {
    const focused = [...list.querySelectorAll("a")].findIndex((link) => link === document.activeElement);
    list.dataset.shown = next;
    list.replaceChildren(...rows);
    list.querySelectorAll("a")[focused]?.focus();
  }
}

function showTotals({ totals, components }) {
  const received = components.filter((component) => component.kind === "source")
    .reduce((sum, source) => sum + source.received, 0);
  const dropped = Object.values(totals.dropped).reduce((sum, number) => sum + number, 0);
  const rows = [
    ["received", "Received", received, "Events that came in"],
    ["delivered", "Delivered", totals.delivered, "Events that the destinations have; one that goes to two counts twice"],
    ["buffered", "On their way", totals.buffered, "Events that are buffered or being sent"],
    ["rejected", "Rejected", totals.rejected, "Events that destinations refused for good"],
    ["dropped", "Dropped", dropped, reasonsText(totals.dropped) || "Events given up"],
    ["dead-letters", "Dead letters", totals.dead_letters, "Refused events that were kept"],
    ["lost", "Lost", totals.lost, "Events lost that nobody chose to lose"],
  ];
  const list = page("totals");
  if (list.childElementCount !== rows.length) {
    list.replaceChildren(...rows.map(([id, title, , hint]) =>
      el("div", { id: `total-${id}`, title: hint }, el("dt", {}, title), el("dd", {}))));
  }
  rows.forEach(([id, , number, hint], at) => {
    const row = list.children[at];
    setText(row.lastElementChild, count(number));
    setAttribute(row, "title", hint);
    setAttribute(row, "data-state", id === "lost" && number > 0 ? "failing" : null);
  });
}

/** Reasons with their counts: "412 buffer full, 2 too large". */
export function reasonsText(dropped) {
  return Object.entries(dropped).filter(([, number]) => number > 0)
    .map(([reason, number]) => `${count(number)} ${reason.replaceAll("_", " ")}`).join(", ");
}
