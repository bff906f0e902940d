// Small line charts in SVG: a gap where nothing is known, the value under the pointer in the legend.

import { el, svg } from "./dom.js";

const HEIGHT = 132;
const LEFT = 52;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

/** The least round number that is not below a value. */
function rounded(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value * (1 - 1e-9)) * power;
}

function clock(at) {
  return new Date(at * 1e3).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export class Chart {
  /** series: [{ name, label }], a point's field each. `text` writes a value; `most` fixes the top of the scale. */
  constructor(parent, { title, series, text, most }) {
    this.series = series;
    this.text = text;
    this.most = most;
    this.points = [];
    this.at = null;
    this.values = series.map((one, place) => {
      const value = el("b", {}, "–");
      return [el("span", { class: `key s${place}` }, one.label, " ", value), value];
    });
    this.drawing = svg("svg", { role: "img", height: HEIGHT, width: "100%" });
    this.title = title;
    parent.append(
      el(
        "figure",
        { class: "chart" },
        el("figcaption", {}, el("span", {}, title), el("span", { class: "keys" }, ...this.values.map(([node]) => node))),
        this.drawing,
      ),
    );
    this.drawing.addEventListener("pointermove", (event) => this.look(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => this.look(null));
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /** points: [{ at, … }], oldest first; shown from `from` to `to`, seconds since 1970. */
  show(points, from, to) {
    Object.assign(this, { points: points.filter((point) => point.at >= from), from, to });
    this.draw();
  }

  look(x) {
    this.x = x;
    this.draw();
  }

  draw() {
    const width = this.drawing.clientWidth;
    if (!width || this.from === undefined) return;
    const known = this.points.flatMap((point) => this.series.map((one) => point[one.name])).filter((v) => v !== null);
    const top = this.most ?? rounded(Math.max(0, ...known));
    const inside = width - LEFT - RIGHT;
    const right = (at) => LEFT + (inside * (at - this.from)) / Math.max(this.to - this.from, 1);
    const down = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(Math.max(value / top, 0), 1));
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = down(share * top);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
      parts.push(svg("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, this.text(share * top)));
    }
    for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]]) {
      const at = this.from + share * (this.to - this.from);
      parts.push(svg("text", { x: LEFT + share * inside, y: HEIGHT - 4, "text-anchor": anchor }, clock(at)));
    }
    const chosen = this.x === null || this.x === undefined ? this.points.at(-1) : this.nearest(this.x, right);
    this.series.forEach((one, place) => {
      const steps = [];
      let drawn = false;
      this.points.forEach((point, index) => {
        const value = point[one.name];
        if (value === null) {
          drawn = false;
          return;
        }
        const [x, y] = [right(point.at).toFixed(1), down(value).toFixed(1)];
        const alone = !drawn && (this.points[index + 1]?.[one.name] ?? null) === null;
        if (alone) parts.push(svg("circle", { class: `dot s${place}`, cx: x, cy: y, r: 2 }));
        else steps.push(`${drawn ? "L" : "M"}${x} ${y}`);
        drawn = !alone;
      });
      parts.push(svg("path", { class: `line s${place}`, d: steps.join("") || "M0 0" }));
      this.values[place][1].textContent = this.text(chosen?.[one.name] ?? null);
    });
    if (chosen && this.x !== null && this.x !== undefined) {
      const x = right(chosen.at);
      parts.push(svg("line", { class: "cross", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    const newest = this.series.map((one) => `${one.label} ${this.text(this.points.at(-1)?.[one.name] ?? null)}`);
    this.drawing.setAttribute("aria-label", `${this.title}: ${newest.join(", ")}`);
    this.drawing.replaceChildren(...parts);
  }

  nearest(x, right) {
    const distance = (point) => Math.abs(right(point.at) - x);
    return this.points.reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), undefined);
  }
}
