// What one engineer looks after: generations, jobs, drift, quarantine.

import { act, ask } from "./api.js";
import { Chart } from "./chart.js";
import { $, confirmed, draw, el, table } from "./dom.js";
import { bytes, count, moment, plain, seconds, short } from "./words.js";

const JOBS = ["train", "update", "learn", "rebuild", "snapshot", "prune"];
const DRIFT = {
  title: "Drift since the generation",
  series: [{ name: "vector_move", label: "vectors, 1 - cosine" }, { name: "kinds_drift", label: "kinds, bits" }],
  text: short,
};

let chart = null;
let live = null;
let older = [];
let called = [];

export function begin() {
  chart = new Chart($("quality-charts"), DRIFT);
  $("rollback").addEventListener("click", () => {
    const text = `Generation ${older[0]} answers instead of ${live}, from the next question on; newer ones are set aside.`;
    change("Roll back?", text, "Roll back", () => act("generations/rollback"), $("generations-note"), generations);
  });
  $("measure").addEventListener("click", async () => {
    $("measure").disabled = true;
    await told($("measure-note"), "measuring …", () => act("drift"), () => "measured");
    $("measure").disabled = false;
    await drift();
  });
  for (const job of JOBS) {
    const ask = () => change(`Run ${job}?`, `The job ${job} runs now, beside the answers.`, "Run", () => act(`jobs/${job}`), $("jobs-note"), jobs);
    $("job-buttons").append(el("button", { type: "button", on: { click: ask } }, `Run ${job}`));
  }
}

async function change(title, text, yes, work, note, after) {
  if (!(await confirmed(title, text, yes))) return;
  await told(note, "working …", work, (done) => (done.generation ? `generation ${done.generation} is live` : "begun"));
  await after();
}

async function told(note, meanwhile, work, afterwards) {
  note.textContent = meanwhile;
  try {
    note.textContent = afterwards(await work());
  } catch (error) {
    note.textContent = error.message;
  }
}

/** Returns up to where the live generation has learned. */
export async function generations() {
  const found = await ask("generations");
  live = found.live;
  older = found.generations.filter((one) => one.state === "kept" && one.number < live).map((one) => one.number);
  $("rollback").disabled = !older.length;
  draw($("generation-table"), found, () => [
    table(
      ["", "made by", "made", "log offset", "size", "gate", "figures", ""],
      found.generations.map((one) => [
        el("b", { class: `state ${one.state}` }, `${one.number} ${one.state === "kept" ? "" : one.state}`),
        one.made_by,
        moment(one.created),
        count(one.offset),
        bytes(one.bytes),
        gate(one.gate),
        report("figures", one.metrics),
        one.state === "live" ? "" : publish(one.number),
      ]),
      "There is no generation yet: run train.",
    ),
    ...(found.rejected.length
      ? [el("h3", {}, "Rejected by the gate"), table(["when", "made by", "report"], found.rejected.map((row) => [moment(row.at), row.made_by, gate(row)]), "")]
      : []),
  ]);
  return found.generations.find((one) => one.state === "live")?.learned_until ?? 0;
}

function publish(number) {
  const text = `Generation ${number} answers from the next question on, whatever the gate has said.`;
  const ask = () => change(`Make ${number} live?`, text, "Make live", () => act(`generations/${number}/publish`), $("generations-note"), generations);
  return el("button", { type: "button", on: { click: ask } }, "Make live");
}

function gate(row) {
  if (!row) return "not asked";
  const { comparisons = [], findings = [], reasons = [] } = row.report ?? {};
  return el(
    "details",
    {},
    el("summary", {}, row.verdict),
    el("p", {}, reasons.join("; ") || "nothing speaks against it"),
    objects(comparisons),
    objects(findings.map(({ passed, verdict, ...figures }) => ({ ...figures, outcome: passed ? "passed" : verdict }))),
  );
}

/** Rows of like objects, a column a field. */
function objects(rows) {
  if (!rows.length) return null;
  const fields = Object.keys(rows[0]);
  return table(fields.map((name) => name.replaceAll("_", " ")), rows.map((row) => fields.map((name) => plain(row[name]))), "");
}

function report(name, values) {
  const flat = Object.entries(values ?? {}).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.entries(value).map(([inner, one]) => [`${key}, ${inner}`, one])
      : [[key, value]]);
  if (!flat.length) return "–";
  const entries = flat.map(([key, value]) => [key.replaceAll("_", " "), plain(value)]);
  return el("details", {}, el("summary", {}, name), table(["figure", "value"], entries, ""));
}

/** With `due` also what the trigger calls for, which costs the service more; it is kept until the next time. */
export async function jobs(due = false) {
  const found = await ask("jobs", { due });
  called = found.due ?? called;
  const running = found.running && found.running.state !== "gone" ? `running: ${found.running.task} since ${moment(found.running.since)}, process ${found.running.pid}` : "nothing runs";
  const leader = found.leader ? `; the schedule is kept by process ${found.leader.pid} on ${found.leader.host}` : "";
  const calls = called.map((one) => `${one.job} is called for: ${one.reason}`).join("; ");
  draw($("jobs-note"), [running, leader, calls], () => [running + leader + (calls ? `; ${calls}` : "")]);
  draw($("schedule"), found.schedule, (plan) =>
    table(["job", "when", "why"], plan.map((one) => [one.job, one.due ? "now" : moment(one.at), one.reason]),
      "Nothing is scheduled: [schedule] in graphrec.toml says when, as \"0 3 * * *\" or \"every 50000 events\"."));
  draw($("runs"), found.runs, (runs) =>
    table(["began", "job", "outcome", "took", "made"], runs.map((run) => [
      moment(run.started), run.job,
      el("span", { class: `outcome ${run.outcome}`, title: run.error ?? run.note }, run.outcome + (run.error ? `: ${run.error.split("\n")[0]}` : "")),
      seconds(run.seconds), run.generation ? `generation ${run.generation}` : run.note || "–",
    ]), "Nothing has run yet."));
}

export async function drift() {
  const { measured } = await ask("drift");
  const rows = measured.slice(-20).reverse();
  const points = measured.map((row) => ({ ...row, at: Date.parse(row.at) / 1e3 }));
  const now = Date.now() / 1e3;
  chart.show(points, Math.min(points[0]?.at ?? now - 3600, now - 60), now);
  draw($("drift"), rows, () =>
    table(["measured", "generation", "new events", "kinds, bits", "vectors, 1 - cos", "hit@20 at first", "lately", "z"],
      rows.map((row) => [moment(row.at), row.generation, count(row.new_events), short(row.kinds_drift), short(row.vector_move),
        short(row.quality?.at_first), short(row.quality?.lately), short(row.quality?.z)]),
      "Not measured yet: it takes some seconds of a core."));
}

export async function quarantine() {
  const found = await ask("quarantine");
  draw($("quarantine-table"), found, () => [
    table(["file", "size", "written"], found.files.map((file) => [file.name, bytes(file.bytes), moment(new Date(file.written * 1e3).toISOString())]),
      "No row is in the quarantine."),
    ...(found.rows.length
      ? [table(["source", "line", "field", "expected", "got"], found.rows.map((row) => [row.source.split("/").at(-1), row.line, row.field, row.expected, row.got]), "")]
      : []),
  ]);
}
