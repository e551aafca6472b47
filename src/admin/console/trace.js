// Shows the history of messages.

import { change } from "./api.js";
import { $, element, moment, octets, time } from "./dom.js";

const CODES = { 100: "decrypted", 101: "could not be decrypted", 102: "not wanted" };

function event({ at, event: name, code }, first) {
  const said = code ? `${name}, code ${code} (${CODES[code] ?? "unknown"})` : name;
  const later = at === first ? "" : ` (+${at - first} ms)`;
  return element("li", {}, `${time(at)}${later}: ${said}`);
}

function message(traced) {
  const { urgency, size, expires_at: expires, signed } = traced;
  const about = `${urgency}, ${octets(size)}, ${signed ? "signed" : "not signed"}, expires ${moment(expires)}`;
  return element(
    "li",
    {},
    element("span", { className: "state" }, traced.state),
    ` · message ${traced.message} · accepted ${moment(traced.accepted_at)}`,
    element("div", { className: "quiet" }, about),
    element("div", { className: "quiet mono" }, `user agent ${traced.user_agent} · subscription ${traced.subscription}`),
    element("ol", {}, ...traced.events.map((one) => event(one, traced.events[0].at))),
  );
}

async function trace() {
  $("trace-messages").replaceChildren();
  $("trace-note").textContent = "";
  const found = await change("POST", "trace", { subject: $("trace-subject").value.trim() });
  const count = found.messages.length;
  const said = count === 1 ? "One message" : `${count || "No"} messages`;
  $("trace-note").textContent = `${said}. The trace may lack messages from before ${moment(found.since)}.`;
  $("trace-messages").replaceChildren(...found.messages.map(message));
}

export function prepare(attempt) {
  $("trace-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    attempt(trace);
  });
}
