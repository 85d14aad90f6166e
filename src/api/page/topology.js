// The topology as a picture: sources, transforms and sinks in columns, or one below the other where there is no room.

import { nameOf, stateOf } from "./component.js";
import { markPath, setAttribute, setText, svg } from "./dom.js";
import { rate } from "./format.js";

const GAP = 84;
const WIDEST = 230;
const NARROWEST = 128;
const MARGIN = 4;
const PADDING = 12;

const canvas = document.createElement("canvas").getContext("2d");

/** Keeps a picture of the topology in an element. */
export function topologyPicture(container) {
  let drawn = null;
  let status = null;

  const draw = () => {
    if (status === null || container.clientWidth <= 2 * PADDING) return;
    const width = container.clientWidth - 2 * PADDING;
    const shape = JSON.stringify([width, status.components.map((c) => [c.kind, c.id, c.type, c.inputs, c.dead_letters])]);
    if (drawn?.shape !== shape) {
      drawn = { shape, ...picture(status.components, width, getComputedStyle(container).fontFamily) };
      container.replaceChildren(drawn.root);
    }
    status.components.forEach((component, at) => update(drawn, component, at));
  };

  new ResizeObserver(draw).observe(container);
  return (next) => {
    status = next;
    draw();
  };
}

// Which component feeds which, by their places: `id.output` is an output of `id`.
function connections(components) {
  const places = new Map(components.map((component, at) => [component.id, at]));
  const edges = [];
  components.forEach((component, to) => {
    for (const input of component.inputs) {
      let id = input;
      while (!places.has(id) && id.includes(".")) {
        id = id.slice(0, id.lastIndexOf("."));
      }
      if (places.has(id)) {
        edges.push({ from: places.get(id), to, output: input === id ? null : input.slice(id.length + 1) });
      }
    }
  });
  const letters = components.findIndex((component) => component.dead_letters);
  if (letters >= 0) {
    components.forEach((component, from) => {
      if (component.kind === "sink" && from !== letters) {
        edges.push({ from, to: letters, output: null, isDead: true });
      }
    });
  }
  return edges;
}

// The longest way from a source: the column of a component. Sinks share one, dead letters come behind them.
function depths(components, edges) {
  const depth = components.map(() => 0);
  const flow = edges.filter((edge) => !edge.isDead);
  for (let round = 0; round < components.length; round += 1) {
    for (const { from, to } of flow) {
      depth[to] = Math.max(depth[to], depth[from] + 1);
    }
  }
  const last = Math.max(1, ...depth);
  return components.map((component, at) => {
    if (component.kind !== "sink") return depth[at];
    return component.dead_letters ? last + 1 : last;
  });
}

function picture(components, width, font) {
  const edges = connections(components);
  const depth = depths(components, edges);
  const columns = Math.max(...depth) + 1;
  const box = Math.min(WIDEST, (width - 2 * MARGIN - (columns - 1) * GAP) / columns);
  const layout = box < NARROWEST ? listed(components, edges, depth, width) : inColumns(components, edges, depth, width, box);

  const label = { role: "group", "aria-label": "Sources, transforms and sinks, and what feeds what" };
  const root = svg("svg", { ...label, width, height: layout.height, viewBox: `0 0 ${width} ${layout.height}` });
  root.append(svg("defs", {}, arrowhead("arrow"), arrowhead("arrow-failing")));

  const lines = svg("g", { "aria-hidden": "true" });
  layout.edges.forEach((path, at) => {
    const edge = edges[at];
    const title = `${components[edge.from].id}${edge.output ? `.${edge.output}` : ""} to ${components[edge.to].id}`;
    path.append(svg("title", {}, edge.isDead ? `${title}: what it refuses` : title));
    path.setAttribute("class", edge.isDead ? "edge dead" : "edge");
    lines.append(path);
  });
  root.append(lines);

  const nodes = components.map((component, at) => node(component, layout.boxes[at], font));
  root.append(...nodes.map((one) => one.root));
  return { root, nodes, edges, paths: layout.edges };
}

function arrowhead(id) {
  const size = { viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8 };
  return svg("marker", { id, ...size, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0 0.5 8 4 0 7.5z" }));
}

function inColumns(components, edges, depth, width, box) {
  const boxes = [];
  const isDense = Math.max(...depth.map((column) => depth.filter((other) => other === column).length)) > 8;
  const [height, gap] = isDense ? [32, 8] : [52, 18];

  // A line that passes a column has a place in it like a component, or it would go behind one: one place for all lines
  // of the same component.
  const columns = Array.from({ length: Math.max(...depth) + 1 }, () => []);
  const items = components.map((_, at) => ({ at, height, from: [] }));
  items.forEach((item) => columns[depth[item.at]].push(item));
  const passages = new Map();
  const ways = edges.map(({ from, to, isDead }) => {
    const way = [items[from]];
    for (let column = depth[from] + 1; column < depth[to]; column += 1) {
      const key = `${from} ${column}`;
      if (!passages.has(key)) {
        passages.set(key, { height: 6, from: [way.at(-1)] });
        columns[column].push(passages.get(key));
      }
      way.push(passages.get(key));
    }
    if (!isDead) items[to].from.push(way.at(-1));
    return [...way, items[to]];
  });

  // What is fed from above stands above: fewer lines cross.
  const tall = (column) => column.reduce((sum, item) => sum + item.height + gap, -gap);
  const total = Math.max(...columns.map(tall)) + 2 * MARGIN;
  const step = columns.length > 1 ? (width - 2 * MARGIN - box) / (columns.length - 1) : 0;
  columns.forEach((column, number) => {
    column.forEach((item, place) => {
      item.wish = item.from.reduce((sum, one) => sum + one.middle, 0) / (item.from.length || 1);
      item.place = place;
    });
    column.sort((a, b) => a.wish - b.wish || a.place - b.place);
    let y = (total - tall(column)) / 2;
    for (const item of column) {
      item.x = MARGIN + number * step;
      item.middle = y + item.height / 2;
      if (item.at !== undefined) boxes[item.at] = { x: item.x, y, width: box, height, isDense, rateAbove: number > 0 };
      y += item.height + gap;
    }
  });

  const paths = ways.map((way) => {
    let d = `M${way[0].x + box} ${way[0].middle}`;
    way.slice(1).forEach((item, number) => {
      const [from, isLast] = [way[number], number === way.length - 2];
      const [x1, x2] = [from.x + box, isLast ? item.x - 1 : item.x];
      const bend = Math.max(30, (x2 - x1) / 2);
      d += `C${x1 + bend} ${from.middle} ${x2 - bend} ${item.middle} ${x2} ${item.middle}`;
      if (!isLast) d += `H${item.x + box}`;
    });
    return svg("path", { d });
  });
  return { boxes, edges: paths, height: total };
}

// One below the other; the line of each component that feeds others goes down a lane of its own on the left.
function listed(components, edges, depth, width) {
  const order = components.map((_, at) => at).sort((a, b) => depth[a] - depth[b] || a - b);
  const feeding = order.filter((at) => edges.some((edge) => edge.from === at && !edge.isDead));
  const lane = Math.min(14, 90 / Math.max(1, feeding.length));
  const [height, gap] = [44, 8];
  const left = MARGIN + feeding.length * lane + 12;
  const dead = edges.some((edge) => edge.isDead) ? 16 : 0;
  const boxes = [];
  order.forEach((at, row) => {
    const y = MARGIN + row * (height + gap);
    boxes[at] = { x: left, y, width: width - left - MARGIN - dead, height, isDense: false, rateAbove: false, rateInside: true };
  });
  const paths = edges.map(({ from, to, isDead }) => {
    const [y1, y2] = [boxes[from].y + height / 2, boxes[to].y + height / 2];
    if (isDead) {
      // Only the first goes all the way: dashes on dashes would be no dashes.
      const [right, x] = [boxes[from].x + boxes[from].width, width - MARGIN - 4];
      const isFirst = from === order.find((at) => edges.some((edge) => edge.isDead && edge.from === at));
      return svg("path", { d: `M${right} ${y1}H${x}${isFirst ? `V${y2}H${right + 1}` : ""}`, "data-joins": !isFirst });
    }
    const x = MARGIN + feeding.indexOf(from) * lane;
    return svg("path", { d: `M${left} ${y1}H${x + 5}Q${x} ${y1} ${x} ${y1 + 5}V${y2 - 5}Q${x} ${y2} ${x + 5} ${y2}H${left - 1}` });
  });
  return { boxes, edges: paths, height: 2 * MARGIN + order.length * (height + gap) - gap };
}

function node(component, box, font) {
  const middle = box.y + box.height / 2;
  const mark = svg("g", { transform: `translate(${box.x + 10} ${middle - 9}) scale(0.75)` }, svg("path", { class: "mark-path" }));
  const room = box.width - 44;
  const hasRate = box.rateInside || (box.isDense && component.kind !== "sink");
  const name = svg("text", { class: "name", x: box.x + 36, y: box.isDense ? middle + 4.5 : middle - 4 });
  name.textContent = fitting(component.id, room - (hasRate ? 62 : 0), `600 13px ${font}`);
  const about = box.isDense ? null : svg("text", { class: "about", x: box.x + 36, y: middle + 14 });
  const above = box.rateAbove
    ? svg("text", { class: "rate in", x: box.x - 12, y: middle - 6, "text-anchor": "end" })
    : null;
  const inside = hasRate
    ? svg("text", { class: "rate", x: box.x + box.width - 10, y: box.isDense ? middle + 4.5 : middle - 4, "text-anchor": "end" })
    : null;
  const root = svg("a", { class: "node", href: `#${encodeURIComponent(nameOf(component))}` },
    svg("title", {}, `${component.id} (${component.type})`),
    svg("rect", { class: "box", x: box.x, y: box.y, width: box.width, height: box.height, rx: 7 }),
    svg("rect", { class: "stripe", x: box.x, y: box.y + 8, width: 3, height: box.height - 16 }),
    mark, name, about, above, inside);
  return { root, mark: mark.firstChild, about, above, inside, room, font };
}

function fitting(text, room, font) {
  canvas.font = font;
  if (canvas.measureText(text).width <= room) return text;
  let length = text.length;
  while (length > 1 && canvas.measureText(`${text.slice(0, length)}…`).width > room) {
    length -= 1;
  }
  return `${text.slice(0, length)}…`;
}

// The first text that fits, or what does of the last.
function fittingOf(texts, room, font) {
  return texts.find((text) => fitting(text, room, font) === text) ?? fitting(texts.at(-1), room, font);
}

function update(drawn, component, at) {
  const { root, mark, about, above, inside, room, font } = drawn.nodes[at];
  const out = rate(component.rates.sent);
  const state = stateOf(component);
  setAttribute(root, "data-state", component.state);
  setAttribute(root, "data-kind", component.dead_letters ? "dead" : component.kind);
  setAttribute(mark, "d", markPath(component.state));
  const what = component.kind === "transform" ? component.type : `${component.type} · ${state}`;
  if (about) setText(about, fittingOf([component.dead_letters ? `${component.type} · dead letters` : what, state], room, `12px ${font}`));
  if (above) setText(above, rate(component.rates.received));
  if (inside) setText(inside, out);
  const verb = component.kind === "sink" ? "delivers" : "passes on";
  setAttribute(root, "aria-label", `${component.kind} ${component.id} (${component.type}): ${state}, ${verb} ${out}`);

  drawn.edges.forEach((edge, number) => {
    if (edge.to !== at) return;
    const path = drawn.paths[number];
    const isFailing = component.state === "failing" && !edge.isDead;
    setAttribute(path, "data-state", isFailing ? "failing" : component.rates.received > 0 ? "flowing" : "idle");
    setAttribute(path, "marker-end", `url(#${isFailing ? "arrow-failing" : "arrow"})`);
    setAttribute(path, "stroke-width", edge.isDead ? 1.2 : (1.2 + Math.min(3, Math.log10(1 + component.rates.received) * 0.7)).toFixed(1));
  });
}
