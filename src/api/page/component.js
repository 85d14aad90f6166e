// What is said of a component, in the words of the page.

/** Its name as it stands in the configuration: `sinks.loki`. */
export function nameOf(component) {
  const { kind, id } = component;
  return kind === "sink" && id === "dead_letters" ? id : `${kind}s.${id}`;
}

/** What its state is called. */
export function stateOf(component) {
  return component.kind === "source" && component.state === "working" ? "connected" : component.state;
}

/** How full a sink's buffer is, from 0 to 1; nothing if it has none. */
export function bufferFill({ buffer }) {
  if (!buffer) return null;
  if (buffer.max_bytes) return buffer.bytes / buffer.max_bytes;
  if (buffer.max_events) return buffer.events / buffer.max_events;
  return null;
}
