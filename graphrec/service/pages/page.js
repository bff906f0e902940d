// The page: asks the service at the pace of each section, and says so where it does not answer.

import { ask, key, useKey } from "./api.js";
import { $ } from "./dom.js";
import * as figures from "./figures.js";
import * as operations from "./operations.js";
import * as tryit from "./tryit.js";
import { seconds } from "./words.js";

let away = ""; // why the service did not answer, while that is shown

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function health(state, text) {
  $("health").className = state;
  $("health-text").textContent = text;
}

async function status() {
  const found = await ask("status");
  tryit.status(found);
  $("where").textContent = `${found.directory}, version ${found.version}, up ${seconds(found.uptime_seconds)}`;
  $("where").title = found.directory;
}

async function live() {
  const failing = await figures.live();
  health(failing ? "bad" : "good", failing ? `following fails: ${failing}` : "answering");
  if (away) problem("");
  away = "";
}

/** Ask now, then every so many seconds while the page is seen; a refusal is told and tried again. */
function every(pause, work) {
  const again = async () => {
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        const refused = error.status === 401 || error.status === 403;
        health("bad", refused ? "a key with the scope admin is needed" : "no answer");
        away = refused ? "" : error.status ? error.message : "The service does not answer.";
        problem(away);
      }
    }
    setTimeout(again, pause * 1e3);
  };
  return again();
}

async function begin() {
  figures.begin();
  operations.begin();
  tryit.begin(problem);
  $("key-button").addEventListener("click", () => {
    $("key-input").value = key();
    $("key-dialog").showModal();
  });
  $("key-dialog").addEventListener("close", () => {
    if ($("key-dialog").returnValue !== "yes") return;
    useKey($("key-input").value.trim());
    location.reload();
  });
  await every(60, status); // it counts the log
  every(1, live);
  every(30, tryit.users);
  every(5, async () => figures.learned(await operations.generations()));
  every(3, operations.jobs);
  every(60, () => operations.jobs(true));
  every(15, operations.quarantine);
  every(60, operations.drift);
}

begin();
