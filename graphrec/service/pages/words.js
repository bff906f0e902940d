// Numbers and moments as people read them.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => (value === null || value === undefined ? "–" : COUNT.format(value));

export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e5) return `${(value / 1e3).toPrecision(3)} k`;
  if (size >= 1000) return COUNT.format(value);
  if (size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

export const percent = (share) =>
  share === null || share === undefined ? "–" : `${Number((100 * share).toPrecision(3))} %`;

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 1) return `${Number((value * 1e3).toPrecision(3))} ms`;
  if (value < 120) return `${Number(value.toPrecision(3))} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${Math.round(value / 3600)} h`;
  return `${Math.round(value / 86400)} days`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  for (; value >= 1000 && place < units.length - 1; place += 1) value /= 1000;
  return `${Number(value.toPrecision(3))} ${units[place]}`;
}

export const moment = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?(\+00:00|Z)$/, "") : "–");

/** Any value of a report: numbers short, the rest as it is. */
export function plain(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? count(value) : short(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
