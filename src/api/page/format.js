// Numbers, times and text as people read them.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** A count: all its digits while they can be read. */
export function count(number) {
  return number < 10_000_000 ? WHOLE.format(number) : COMPACT.format(number);
}

/** So many of something: "1 event", "2 events". */
export function many(number, name) {
  return `${count(number)} ${name}${number === 1 ? "" : "s"}`;
}

/** A number that is measured: two or three digits say enough. */
export function measured(number) {
  const value = Math.max(0, number);
  if (value === 0) return "0";
  if (value < 0.1) return "<0.1";
  if (value < 9.95) return value.toFixed(1).replace(".0", "");
  return value < 9_999.5 ? WHOLE.format(value) : COMPACT.format(value);
}

/** A rate. */
export function rate(number) {
  return `${measured(number)}/s`;
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** A number of bytes. */
export function bytes(number) {
  let value = number;
  let unit = 0;
  while (value >= 1024 && unit < BYTES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? WHOLE.format(value) : value.toFixed(1)} ${BYTES[unit]}`;
}

/** A part of a whole. */
export function percent(part) {
  const value = 100 * Math.min(1, Math.max(0, part));
  return value > 0 && value < 1 ? "<1 %" : `${WHOLE.format(value)} %`;
}

/** A length of time: "850 ms", "2.5 s", "11 min", "3 h 2 min", "4 d 2 h". */
export function duration(seconds) {
  const value = Math.max(0, seconds);
  if (value < 0.9995) return `${WHOLE.format(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1).replace(".0", "")} s`;
  if (value < 119.5) return `${WHOLE.format(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${count(Math.floor(hours / 24))} d ${hours % 24} h`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A time on the clock, with the day if it is not today. */
export function clock(time, now) {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date(now).toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)}, ${CLOCK.format(date)}`;
}

/** How long ago a time is. */
export function ago(time, now) {
  const seconds = (Date.parse(now) - Date.parse(time)) / 1000;
  return seconds < 1.5 ? "just now" : `${duration(Math.round(seconds))} ago`;
}

// Control characters could hide what a line says, and those that turn the direction of text could make it look like another.
const HIDDEN = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u001b": "\\e" };

/** Text with what cannot be seen written out. */
export function visible(text) {
  return text.replace(HIDDEN, (char) => {
    const code = char.codePointAt(0);
    return SHORT[char] ?? (code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`);
  });
}
