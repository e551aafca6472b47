// A plot of one or two series over the last hour.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 130;

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** The path through the values. A missing value interrupts it, and a single value is a dot. */
function line(values, samples, span, top) {
  const end = samples.at(-1).at;
  let path = "";
  let isBroken = true;
  values.forEach((value, index) => {
    if (value === null) {
      isBroken = true;
      return;
    }
    const x = WIDTH * (1 - (end - samples[index].at) / span);
    const y = HEIGHT - (HEIGHT - 4) * (value / top) - 2;
    path += isBroken ? `M${x.toFixed(1)} ${y.toFixed(1)}h.1` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    isBroken = false;
  });
  return path;
}

/** The smallest round number that is at least `value`. */
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** Plots one or two `series`, each `{ name, of(sample), write(value) }`. */
export function plot(title, series, samples) {
  const all = series.map(({ of }) => samples.map(of));
  const present = all.flat().filter((value) => value !== null);
  const top = roundUp(Math.max(0, ...present));
  const span = Math.max(60_000, samples.at(-1).at - samples[0].at);
  const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  for (const part of [0, 0.5, 1]) {
    const y = HEIGHT - (HEIGHT - 4) * part - 2;
    drawing.append(shape("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
  }
  const legend = series.map(({ name, write }, index) => {
    const values = all[index].filter((value) => value !== null);
    drawing.append(shape("path", { class: index ? "two" : "one", d: line(all[index], samples, span, top) }));
    const last = values.length ? write(values.at(-1)) : "–";
    return { name, last, most: values.length ? write(Math.max(...values)) : "–" };
  });
  const said = legend.map(({ name, last, most }) => `${name} ${last}, at most ${most}`).join("; ");
  drawing.setAttribute("aria-label", `${title}: ${said}`);
  const captions = legend.map(({ name, last }, index) =>
    element("span", { className: index ? "two" : "one" }, `${name} ${last}`),
  );
  const minutes = Math.round(span / 60_000);
  return element(
    "figure",
    {},
    element("figcaption", {}, element("b", {}, title), ...captions),
    element("div", { className: "scale", "aria-hidden": "true" }, element("span", {}, series[0].write(top))),
    drawing,
    element(
      "div",
      { className: "scale", "aria-hidden": "true" },
      element("span", {}, `${minutes} min ago`),
      element("span", {}, "now"),
    ),
  );
}
