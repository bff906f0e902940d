// Questions to the service, with the key of this tab if there is one: a key for each tenant, by where its page is.

const KEY = `graphrec key ${location.pathname}`;

export const key = () => sessionStorage.getItem(KEY) ?? "";

export function useKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** An error that the service explains. */
export class Refusal extends Error {
  constructor(status, parts) {
    super([parts.problem, parts.expected && `expected ${parts.expected}`, parts.got && `got ${parts.got}`, parts.way_out]
      .filter(Boolean).join("; "));
    this.status = status;
  }
}

export async function ask(path, { method = "GET", body, ...parameters } = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined));
  const headers = {};
  if (key()) headers.authorization = `Bearer ${key()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const address = `v1/${path}${query.size ? `?${query}` : ""}`;
  const reply = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refusal(reply.status, answer.error ?? { problem: `the service replied ${reply.status}` });
  return answer;
}

export const act = (path, parameters = {}) => ask(path, { method: "POST", ...parameters });
