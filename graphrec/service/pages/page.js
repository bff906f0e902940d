// The page: asks the service at the pace of each section, and says so where it does not answer.

import { ask, key, useKey } from "./api.js";
import { $ } from "./dom.js";
import * as figures from "./figures.js";
import * as operations from "./operations.js";
import * as tryit from "./tryit.js";
import { seconds } from "./words.js";

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
  figures.status(found);
  tryit.status(found);
  $("where").textContent = `${found.directory}, version ${found.version}, up ${seconds(found.uptime_seconds)}`;
  const failing = found.followed.error;
  health(failing ? "bad" : "good", failing ? `following fails: ${failing}` : "answering");
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
        if (!refused) problem(error.status ? error.message : "The service does not answer.");
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
  await every(5, status);
  every(1, figures.live);
  every(30, tryit.users);
  every(5, operations.generations);
  every(3, operations.jobs);
  every(15, operations.quarantine);
  every(60, operations.drift);
}

begin();
