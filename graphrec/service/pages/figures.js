// What the service does now and did lately: tiles, and charts of ten minutes or a day.

import { ask } from "./api.js";
import { Chart } from "./chart.js";
import { $ } from "./dom.js";
import { count, percent, seconds, short } from "./words.js";

const SPAN = { seconds: 600, minutes: 86400 };
const ROLLING = { seconds: 60, minutes: 900 }; // seconds of next events that one point of the quality is over

const CHARTS = [
  { title: "Events a second", series: [{ name: "events", label: "followed" }], text: short },
  { title: "Questions a second", series: [{ name: "questions", label: "answered" }], text: short },
  { title: "Latency", series: [{ name: "p50", label: "p50" }, { name: "p99", label: "p99" }], text: seconds },
  { title: "Freshness", series: [{ name: "freshness", label: "commit to answers" }], text: seconds },
  { title: "Certified lists", series: [{ name: "certified", label: "share" }], text: percent, most: 1 },
  { title: "Backlog", series: [{ name: "backlog", label: "events" }], text: short },
  {
    title: "Held back",
    series: [{ name: "held_back", label: "now" }, { name: "epsilon", label: "epsilon" }],
    text: short,
  },
  { title: "Index overlay", series: [{ name: "overlay", label: "rows" }], text: short },
];
const QUALITY = {
  title: "hit@20 of next events",
  series: [{ name: "hit", label: "graphrec" }, { name: "popular", label: "recently popular" }],
  text: percent,
};

const points = { seconds: [], minutes: [] };
let kind = "seconds";
let now = 0;
let learnedUntil = 0;
const charts = [];
const TILES = ["events", "freshness", "latency", "certified", "backlog", "index", "model", "log"];
const tiles = Object.fromEntries(TILES.map((name) => [name, $(`tile-${name}`)]));

export function begin() {
  for (const chart of CHARTS) charts.push(new Chart($("charts"), chart));
  charts.push(new Chart($("quality-charts"), QUALITY));
  $("range").addEventListener("change", (event) => {
    kind = event.target.value;
    show();
  });
}

/** Every second: what has come since the last time; returns what keeps the service from following, null = nothing. */
export async function live() {
  const newest = (name) => points[name].at(-1)?.at ?? 0;
  const found = await ask("live", { since: newest("seconds"), minutes_since: newest("minutes") });
  now = found.now;
  for (const name of Object.keys(points)) {
    points[name].push(...found[name]);
    while (points[name].length && points[name][0].at < now - SPAN[name]) points[name].shift();
  }
  show();
  standing(found.standing);
  return found.standing.error;
}

/** What the live generation has learned, to tell what is new since. */
export function learned(until) {
  learnedUntil = until;
}

function standing(found) {
  const overlay = points.seconds.at(-1)?.overlay ?? 0;
  tiles.index.textContent = found.index_items === null ? "no model yet" : `${count(found.index_items)} · ${count(overlay)}`;
  tiles.model.textContent = `${found.generation ?? "none"} · ${count(found.offset - learnedUntil)}`;
  tiles.log.textContent = `${short(found.offset)} · ${short(found.users)} · ${short(found.items)}`;
}

function show() {
  const from = now - SPAN[kind];
  const held = (point) => ({ ...point, held_back: point.held_back < 0 ? null : point.held_back });
  const shown = rolling(points[kind].map(held), ROLLING[kind]);
  for (const chart of charts) chart.show(shown, from, now);
  const lately = points.seconds.slice(-10);
  const last = lately.at(-1);
  if (!last) return;
  const newest = (name) => points.seconds.findLast((point) => point[name] !== null)?.[name];
  tiles.events.textContent = short(lately.reduce((sum, point) => sum + point.events, 0) / lately.length);
  tiles.freshness.textContent = seconds(newest("freshness"));
  tiles.latency.textContent = `${seconds(newest("p50"))} · ${seconds(newest("p99"))}`;
  tiles.certified.textContent = percent(newest("certified"));
  tiles.backlog.textContent = `${count(last.backlog)} · ${short(last.epsilon)}`;
}

/** Shares of next events over the seconds before each point, instead of over the point alone. */
function rolling(list, span) {
  let first = 0;
  const sum = { asked: 0, hit: 0, popular: 0 };
  const add = (point, sign) => {
    sum.asked += sign * point.asked;
    sum.hit += sign * point.asked * (point.hit ?? 0);
    sum.popular += sign * point.asked * (point.popular ?? 0);
  };
  return list.map((point) => {
    add(point, 1);
    while (list[first].at < point.at - span) add(list[first++], -1);
    const share = (value) => (sum.asked > 0 ? value / sum.asked : null);
    return { ...point, hit: share(sum.hit), popular: share(sum.popular) };
  });
}
