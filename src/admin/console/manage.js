// The changes that an operator makes through the admin API.

import { change, get } from "./api.js";
import { $, confirmed, element, moment, number, octets } from "./dom.js";

const KEY = /^[A-Za-z0-9_-]{87}=?$/;

let found = null;

function say(text) {
  $("manage-note").textContent = text;
}

async function find() {
  const subject = $("find-subject").value.trim();
  $("found").hidden = true;
  const agent = await change("POST", "user-agents/find", { subject });
  found = subject;
  const { messages, bytes } = agent.waiting;
  $("found-about").textContent =
    `User agent ${agent.handle}: ${agent.connected ? "connected" : "not connected"}, ` +
    `${number(messages)} messages waiting (${octets(bytes)}).`;
  const rows = agent.subscriptions.map(({ handle, channel, key }) =>
    element("tr", {}, ...[handle, channel, key ?? "no key"].map((text) => element("td", { className: "mono" }, text))),
  );
  $("found-subscriptions").replaceChildren(...rows);
  $("drop-subscription").hidden = !subject.includes("/");
  $("found").hidden = false;
}

async function drop(what, question) {
  if (!(await confirmed(question, "Drop"))) return;
  const dropped = await change("POST", `${what}/drop`, { subject: found });
  $("found").hidden = true;
  say(`Dropped: ${dropped.subscriptions} subscriptions of user agent ${dropped.handle}.`);
  await refresh();
}

/** The path of a block; keys and addresses have different ones. */
function blockPath(value) {
  const kind = KEY.test(value) ? "keys" : "addresses";
  return `blocks/${kind}/${encodeURIComponent(value.replace(/=$/, ""))}`;
}

function row(text, detail, action, onClick, attempt, isAllowed) {
  const button = element("button", { type: "button", className: "danger", disabled: !isAllowed }, action);
  button.setAttribute("aria-label", `${action} ${text}`);
  button.addEventListener("click", () => attempt(onClick));
  const about = element("div", {}, element("code", {}, text), element("div", { className: "quiet" }, detail));
  return element("li", {}, about, button);
}

function showBlocks(blocks, attempt, isAllowed) {
  const rows = [...blocks.keys, ...blocks.addresses].map(({ value, note, since }) => {
    const unblock = async () => {
      await change("DELETE", blockPath(value));
      say(`Unblocked: ${value}.`);
      await refresh();
    };
    return row(value, `since ${moment(since)}${note ? `: ${note}` : ""}`, "Unblock", unblock, attempt, isAllowed);
  });
  $("blocks").replaceChildren(...(rows.length ? rows : [element("li", {}, "Nobody is blocked.")]));
}

function showBroadcasts({ broadcasts }, attempt, isAllowed) {
  const rows = Object.entries(broadcasts).map(([id, version]) => {
    const remove = async () => {
      await change("DELETE", `broadcasts/${encodeURIComponent(id)}`);
      say(`Removed: ${id}.`);
      await refresh();
    };
    return row(id, `version ${version}`, "Remove", remove, attempt, isAllowed);
  });
  $("broadcasts").replaceChildren(...(rows.length ? rows : [element("li", {}, "No broadcast is set.")]));
}

function showAudit({ entries }) {
  const rows = entries.map(({ at, role, peer, action, subject, outcome }) =>
    element("tr", {}, ...[moment(at), `${role}, ${peer}`, action, subject, outcome].map((text) => element("td", {}, text))),
  );
  const none = element("tr", {}, element("td", { colSpan: 5 }, "Nothing has been changed since the start."));
  $("audit").replaceChildren(...(rows.length ? rows : [none]));
}

let context = null;

export async function refresh() {
  const { attempt, isAllowed } = context;
  const [blocks, broadcasts, audit] = await Promise.all(["blocks", "broadcasts", "audit"].map(get));
  showBlocks(blocks, attempt, isAllowed());
  showBroadcasts(broadcasts, attempt, isAllowed());
  showAudit(audit);
}

async function block() {
  const value = $("block-value").value.trim();
  await change("PUT", blockPath(value), { note: $("block-note").value });
  $("block-form").reset();
  say(`Blocked: ${value}.`);
  await refresh();
}

async function setBroadcast() {
  const id = $("broadcast-id").value;
  await change("PUT", `broadcasts/${encodeURIComponent(id)}`, { version: $("broadcast-version").value });
  $("broadcast-form").reset();
  say(`Set: ${id}.`);
  await refresh();
}

async function drain() {
  if (!(await confirmed("Shut Bugle down? All user agents disconnect. It runs again only if systemd's bugle.socket, Docker or you start it.", "Shut down"))) return;
  await change("POST", "drain");
  say("The service is draining and will shut down.");
}

export function prepare(attempt, isAllowed) {
  context = { attempt, isAllowed };
  const onSubmit = (form, action) =>
    $(form).addEventListener("submit", (submitted) => {
      submitted.preventDefault();
      attempt(action);
    });
  onSubmit("find-form", find);
  onSubmit("block-form", block);
  onSubmit("broadcast-form", setBroadcast);
  $("drop-user-agent").addEventListener("click", () =>
    attempt(() => drop("user-agents", "All its subscriptions and waiting messages are deleted. It subscribes again at its next hello.")),
  );
  $("drop-subscription").addEventListener("click", () =>
    attempt(() => drop("subscriptions", "The subscription and its waiting messages are deleted.")),
  );
  $("drain").addEventListener("click", () => attempt(drain));
}
