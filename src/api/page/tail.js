// The live tail. Log lines come from anyone: they are only ever set as text, with what cannot be seen written out.

import { el, setText } from "./dom.js";
import { many, visible } from "./format.js";

const MOST_LINES = 500;
const LONGEST_LINE = 4_000;
const SHOW_EVERY = 100;
const RETRY_AFTER = 2_000;

/** Runs the live tail of the page. */
export function liveTail(page) {
  const { form, subject, toggle, clear, follow, note, list } = page;
  let source = null;
  let wanted = false;
  let isAllowed = true;
  let waiting = [];
  let skipped = 0;
  let timer = 0;
  let retry = 0;
  let isFollowing = true;

  function start() {
    stop();
    wanted = true;
    skipped = 0;
    const filter = subject.value.trim();
    source = new EventSource(`api/tail${filter ? `?subject=${encodeURIComponent(filter)}` : ""}`);
    say(filter ? `Waiting for events on ${visible(filter)}` : "Waiting for events");
    source.addEventListener("open", () => say(filter ? `Showing ${visible(filter)}` : "Showing all subjects"));
    source.addEventListener("line", (event) => take(event.data));
    source.addEventListener("skipped", (event) => skip(JSON.parse(event.data).skipped));
    source.addEventListener("error", refused);
    setText(toggle, "Pause");
  }

  function stop() {
    wanted = false;
    source?.close();
    source = null;
    clearTimeout(retry);
    setText(toggle, list.childElementCount > 0 ? "Go on" : "Start");
  }

  // An error says nothing of its reason, so log-shipper is asked once more in a way that shows it.
  async function refused() {
    const { url } = source;
    source.close();
    const asked = new AbortController();
    try {
      const answer = await fetch(url, { signal: asked.signal, headers: { accept: "text/event-stream" } });
      const text = answer.ok ? "" : (await answer.text()).trim();
      asked.abort();
      if (answer.status >= 400 && answer.status < 500) {
        stop();
        say(visible(text).slice(0, 300) || `log-shipper refuses this: ${answer.status}`);
        return;
      }
    } catch {
      // There is no connection: the banner says so.
    }
    if (wanted) {
      say("The connection was lost: trying again");
      retry = setTimeout(() => wanted && start(), RETRY_AFTER);
    }
  }

  function take(data) {
    waiting.push(data);
    // In a tab that nobody looks at, nothing is drawn, and only the newest are kept.
    if (waiting.length > MOST_LINES) waiting.shift();
    if (!document.hidden && timer === 0) timer = setTimeout(show, SHOW_EVERY);
  }

  function skip(number) {
    skipped += number;
    say(`Showing as much as can be read: ${many(skipped, "event")} left out. A narrower subject shows all.`);
  }

  function show() {
    timer = 0;
    if (document.hidden || waiting.length === 0) return;
    const lines = waiting.map((data) => line(JSON.parse(data)));
    waiting = [];
    list.append(...lines);
    const before = list.scrollHeight;
    let excess = list.childElementCount - MOST_LINES;
    while (excess > 0) {
      list.firstElementChild.remove();
      excess -= 1;
    }
    if (isFollowing) {
      list.scrollTop = list.scrollHeight;
    } else {
      // What one reads stays where it is when older lines go.
      list.scrollTop -= before - list.scrollHeight;
    }
  }

  function say(text) {
    setText(note, text);
  }

  function goToNewest() {
    isFollowing = true;
    follow.hidden = true;
    list.scrollTop = list.scrollHeight;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (wanted && source) {
      stop();
      say("Paused");
    } else {
      start();
    }
  });
  subject.addEventListener("change", () => wanted && start());
  clear.addEventListener("click", () => {
    waiting = [];
    list.replaceChildren();
    goToNewest();
    if (!wanted) setText(toggle, "Start");
  });
  follow.addEventListener("click", goToNewest);
  list.addEventListener("scroll", () => {
    isFollowing = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
    follow.hidden = isFollowing;
  });
  document.addEventListener("visibilitychange", show);

  return (status) => {
    if (status.tail === isAllowed) return;
    isAllowed = status.tail;
    for (const control of [subject, toggle, clear]) control.disabled = !isAllowed;
    if (isAllowed) {
      say("");
    } else {
      stop();
      say("The live tail is off, because it shows what applications log to whoever can open this page. "
        + "To switch it on, set tail = true in the table api of the configuration, or API_TAIL=true.");
    }
  };
}

function line(event) {
  const level = visible(String(event.level ?? ""));
  const time = new Date(event.time);
  const text = visible(String(event.message ?? ""));
  return el("div", { class: "line", "data-level": level || null },
    el("time", { datetime: time.toISOString() }, time.toTimeString().slice(0, 8)), " ",
    el("span", { class: "level" }, level || "–"), " ",
    el("span", { class: "subject" }, visible(String(event.subject ?? event.app ?? ""))), " ",
    el("span", { class: "message" }, text.length > LONGEST_LINE ? `${text.slice(0, LONGEST_LINE)}…` : text));
}
