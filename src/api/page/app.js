// The status page: what log-shipper says each second, shown.

import { componentCards } from "./cards.js";
import { drawCharts } from "./charts.js";
import { setAttribute, setText } from "./dom.js";
import { follow } from "./feed.js";
import { clock } from "./format.js";
import { showHealth, showTitle } from "./health.js";
import { History } from "./history.js";
import { liveTail } from "./tail.js";
import { topologyPicture } from "./topology.js";

// Without a status for so long, the charts have a hole: log-shipper remembers what was in it.
const HOLE = 15_000;

const page = (id) => document.getElementById(id);
const history = new History();
const showTopology = topologyPicture(page("topology"));
const showCards = componentCards({
  sink: page("sinks"),
  source: page("sources"),
  transform: page("transforms"),
  transformSection: page("transforms-section"),
}, history);
const showTail = liveTail({
  form: page("tail-form"),
  subject: page("subject"),
  toggle: page("tail-toggle"),
  clear: page("tail-clear"),
  follow: page("tail-follow"),
  note: page("tail-note"),
  list: page("tail"),
});

let latest = null;
let lostAt = null;
let started = null;
let notice = 0;

function show() {
  if (latest === null || document.hidden) return;
  showHealth(latest);
  showTopology(latest);
  showCards(latest);
  showTail(latest);
  drawCharts();
}

async function refill() {
  try {
    const answer = await fetch("api/history");
    if (!answer.ok) return;
    history.fill(await answer.json());
    if (latest !== null) history.add(latest);
    show();
  } catch {
    // The next connection asks again.
  }
}

function banner(kind, text) {
  clearTimeout(notice);
  setAttribute(page("banner"), "data-kind", kind);
  setText(page("banner"), text);
  page("banner").hidden = text === "";
}

follow("api/events", {
  open(status) {
    document.body.classList.remove("stale");
    if (started !== null && started !== status.started) {
      banner("notice", `log-shipper was started again at ${clock(status.started, status.now)}: its counts are from 0 again.`);
      notice = setTimeout(() => banner("", ""), 20_000);
    } else {
      banner("", "");
    }
    started = status.started;
    lostAt = null;
    refill();
  },
  status(status) {
    const isBehind = latest !== null && Date.parse(status.now) - Date.parse(latest.now) > HOLE;
    latest = status;
    history.add(status);
    if (isBehind) refill();
    if (document.hidden) showTitle(status);
    show();
  },
  lost() {
    const now = new Date();
    lostAt ??= latest?.now ?? now;
    document.body.classList.add("stale");
    document.title = "? No answer · log-shipper";
    const what = latest === null
      ? "log-shipper does not answer."
      : `log-shipper has not answered since ${clock(lostAt, now)}. What you see is from then.`;
    banner("lost", `${what} Trying again every second.`);
  },
});

document.addEventListener("visibilitychange", show);
