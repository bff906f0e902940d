// Try it: a user's history and list, the reasons drawn, and what an event does to the list.

import { act, ask } from "./api.js";
import { $, el } from "./dom.js";
import { drawPaths } from "./path.js";
import { moment, percent } from "./words.js";

const LENGTH = 10;
const HISTORY = 30;
const RECENT = 86400; // a log whose newest event is older is one of the past, and new events are dated in its time

const KINDS = { view: "View", cart: "Cart", purchase: "Buy" };

let user = null;
let before = []; // the ids of the list before the event
let dated = 0; // seconds since 1970 of the newest event sent from here
let newest = 0; // and of the log
let problem = () => {};

export function begin(tell) {
  problem = tell;
  $("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    user = $("try-user").value;
    before = [];
    guarded(() => show());
  });
  $("event-form").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(() => add($("event-item").value, $("event-kind").value));
  });
}

/** The time of the log, from the status of the service. */
export function status(found) {
  newest = found.last_event ? Date.parse(found.last_event) / 1e3 : 0;
}

/** The most frequent users, and the first of them shown. */
export async function users() {
  const found = await ask("frequent", { k: 30 });
  $("try-users").replaceChildren(...found.users.map((id) => el("option", { value: id })));
  if (user === null && found.users.length) {
    [user] = found.users;
    $("try-user").value = user;
    await show();
  }
}

async function guarded(work) {
  try {
    await work();
    problem("");
  } catch (error) {
    problem(error.message);
  }
}

async function show(told = "") {
  const asked = user;
  const started = performance.now();
  const list = await ask("recommend", { user: asked, k: LENGTH, impression: false });
  const took = performance.now() - started;
  const profile = await ask("profile", { user: asked, k: HISTORY });
  if (asked !== user) return;
  const proof = list.certified ? "certified" : "not certified";
  const rest = `list in ${took.toFixed(0)} ms: generation ${list.generation ?? "none"}, log offset ${list.offset}, ${proof}`;
  $("try-note").textContent = [told, rest, list.note].filter(Boolean).join("; ");
  drawList(list.items);
  drawHistory(profile);
  $("event-items").replaceChildren(
    ...list.items.map((item) => el("option", { value: item.item }, item.title)),
  );
  if (list.items.length) await why(list.items[0]);
  else drawPaths($("path"), asked, "", [], "The list is empty.");
}

async function add(item, kind) {
  const now = Date.now() / 1e3;
  const start = now - newest < RECENT ? now : newest + 1;
  dated = Math.max(dated + 1, start); // two events of one moment and content would be one
  const timestamp = new Date(dated * 1e3).toISOString();
  before = [...$("try-list").children].map((row) => row.dataset.item);
  const started = performance.now();
  const done = await act("events", { body: { user, item, kind, timestamp } });
  const took = (performance.now() - started).toFixed(0);
  const known = done.visible ? "durable and in every answer" : "durable, not in the answers yet";
  await show(`${KINDS[kind]} ${item}: ${known} in ${took} ms`);
}

/** How a place has changed since the list before the event. */
function change(item, place) {
  if (!before.length) return null;
  const was = before.indexOf(item);
  if (was < 0) return el("span", { class: "mark new" }, "new");
  if (was === place) return null;
  const up = was > place;
  const words = `${up ? "up" : "down"} ${Math.abs(was - place)}`;
  return el("span", { class: `mark ${up ? "up" : "down"}`, "aria-label": words }, `${up ? "▲" : "▼"} ${Math.abs(was - place)}`);
}

function drawList(items) {
  const rows = items.map((item, place) => {
    const mark = change(item.item, place);
    const reason = item.reasons[0]?.text ?? item.sources.join(", ");
    const row = el(
      "li",
      { class: mark ? "moved" : "" },
      el("div", { class: "what" }, el("b", {}, item.title || item.item), " ", mark, el("span", { class: "reason" }, reason)),
      el(
        "div",
        { class: "acts" },
        el("button", { type: "button", on: { click: () => guarded(() => why(item)) }, "aria-label": `Why ${item.title || item.item}` }, "Why"),
        ...Object.entries(KINDS).map(([kind, word]) =>
          el("button", { type: "button", on: { click: () => guarded(() => add(item.item, kind)) }, "aria-label": `${word} ${item.title || item.item}` }, word)),
      ),
    );
    row.dataset.item = item.item;
    return row;
  });
  $("try-list").replaceChildren(...rows);
}

function drawHistory(profile) {
  const rows = profile.newest.map((touched) =>
    el("li", {}, el("b", {}, touched.title || touched.item), el("span", { class: "reason" }, `${moment(touched.last)}, ${percent(touched.share)} of what speaks for the user`)));
  $("try-history").replaceChildren(...(rows.length ? rows : [el("li", { class: "note" }, "Nothing is known of this user.")]));
}

async function why(item) {
  const found = await ask("explain", { user, item: item.item });
  const paths = found.reasons
    .filter((reason) => reason.item !== null && reason.witnesses > 0)
    .map((reason) => ({ item: reason.item, witnesses: reason.witnesses, title: title(reason) }));
  $("path-title").textContent = found.title || found.item;
  drawPaths($("path"), user, found.title || found.item, paths, found.reasons.map((reason) => reason.text).join("; "));
}

/** What a path's item is called, out of its sentence. */
const title = (reason) => reason.text.match(/^you had (.*); [^;]* had both$/)?.[1] ?? reason.item;
