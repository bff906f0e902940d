// The paths of the graph that lead to an item, drawn: user - item of the user - other users who had both - item.

import { el, svg } from "./dom.js";

const ROW = 46;
const PLACES = [0.06, 0.32, 0.65, 0.94]; // of the width: user, own item, other users, item
const CHARACTER = 7; // pixels, about

/** A text cut to so many characters; all of it under the pointer. */
function words(x, y, text, most, anchor = "middle") {
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return svg("text", { x, y, "text-anchor": anchor }, cut, svg("title", {}, text));
}

function edge(from, to, weight) {
  const middle = (from[0] + to[0]) / 2;
  const curve = `M${from[0]} ${from[1]}C${middle} ${from[1]} ${middle} ${to[1]} ${to[0]} ${to[1]}`;
  return svg("path", { class: "edge", d: curve, "stroke-width": weight });
}

/** paths: [{ item, title, witnesses }] of an explanation, strongest first. */
export function drawPaths(node, user, target, paths, otherwise) {
  if (!paths.length) {
    node.replaceChildren(el("p", { class: "note" }, otherwise || "No path of the graph leads there."));
    return;
  }
  const width = Math.max(node.clientWidth, 280);
  const X = PLACES.map((share) => share * width);
  const room = Math.floor((X[2] - X[1]) / CHARACTER) - 1;
  const height = Math.max(paths.length, 2) * ROW + 12;
  const middle = height / 2;
  const most = Math.max(...paths.map((path) => path.witnesses), 1);
  const edges = [];
  const nodes = [];
  paths.forEach((path, place) => {
    const y = middle + (place - (paths.length - 1) / 2) * ROW;
    const weight = (1 + 4 * Math.sqrt(path.witnesses / most)).toFixed(1);
    edges.push(edge([X[0], middle], [X[1], y], 2), edge([X[1], y], [X[2], y], weight), edge([X[2], y], [X[3], middle], weight));
    nodes.push(svg("circle", { class: "node item", cx: X[1], cy: y, r: 7 }));
    nodes.push(words(X[1], y - 11, path.title, room));
    nodes.push(svg("circle", { class: "node users", cx: X[2], cy: y, r: (5 + 7 * Math.sqrt(path.witnesses / most)).toFixed(1) }));
    nodes.push(words(X[2], y - 14, path.witnesses === 1 ? "1 other user" : `${path.witnesses} other users`, room));
  });
  nodes.push(svg("circle", { class: "node user", cx: X[0], cy: middle, r: 10 }), words(2, middle + 26, user, 9, "start"));
  nodes.push(svg("circle", { class: "node target", cx: X[3], cy: middle, r: 10 }, svg("title", {}, target)));
  const told = paths.map((path) => `${user}, ${path.title}, ${path.witnesses} other users, ${target}`).join("; ");
  node.replaceChildren(
    svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Paths: ${told}` }, ...edges, ...nodes),
  );
}
