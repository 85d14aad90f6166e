// Elements without markup: whatever comes from outside is set as text, so that it can never become part of the page.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a string becomes text, what is nothing is left out. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of a picture. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets the text, if it is another: most of what is on the page stays the same from one second to the next. */
export function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Sets or removes an attribute, if it is another. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) {
    element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

// The shape tells the state without the colour.
const MARKS = {
  working: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20M7.5 12.5l3 3 6-7",
  warning: "M12 2.8 1.8 21h20.4zM12 10v5M12 18v.4",
  failing: "M7.8 2h8.4L22 7.8v8.4L16.2 22H7.8L2 16.2V7.8zM8.5 8.5l7 7M15.5 8.5l-7 7",
  starting: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20M7.5 12h.2M12 12h.2M16.5 12h.2",
};

/** The outline of a state's mark, in a box of 24 by 24. */
export function markPath(state) {
  return MARKS[state] ?? MARKS.starting;
}

/** A state's mark as a picture beside text that says the same. */
export function mark(state) {
  return svg("svg", { class: "mark", viewBox: "0 0 24 24", "aria-hidden": "true", "data-state": state },
    svg("path", { d: markPath(state) }));
}
