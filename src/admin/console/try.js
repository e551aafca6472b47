// A first push for newcomers: this page subscribes, sends and receives.

import { get } from "./api.js";
import { $, element, time } from "./dom.js";
import { UserAgent } from "./user_agent.js";
import { VapidKeys, encrypt } from "./webpush.js";

const KEPT = 50;

let agent = null;
let vapid = null;
let sentAt = null;

function showPush({ text, problem }) {
  const took = sentAt === null ? "" : `, ${Math.round(performance.now() - sentAt)} ms after it was sent`;
  sentAt = null;
  const said = element("span", { className: "state" }, problem ?? (text || "(a push without data)"));
  $("pushes").prepend(element("li", {}, said, element("div", { className: "quiet" }, `${time(Date.now())}${took}`)));
  while ($("pushes").children.length > KEPT) $("pushes").lastChild.remove();
}

function show(state) {
  const isSubscribed = agent !== null;
  $("try-state").textContent = state;
  $("try-subscribe").disabled = isSubscribed;
  $("try-unsubscribe").disabled = !isSubscribed;
  $("try-subscribed").hidden = !isSubscribed;
}

async function subscribe() {
  if (!globalThis.crypto?.subtle) {
    throw new Error("Browsers allow cryptography only on localhost and over https: open the console at such an address.");
  }
  show("Subscribing …");
  vapid = await VapidKeys.make();
  const onEnd = (why) => {
    agent = null;
    show(`Not subscribed. ${why}`);
  };
  agent = await UserAgent.subscribe($("try-server").value, vapid.publicKey, { onPush: showPush, onEnd });
  $("try-subscription").value = JSON.stringify(agent.subscription, null, 2);
  $("try-vapid").value = JSON.stringify(vapid, null, 2);
  $("pushes").replaceChildren();
  $("send-state").textContent = "";
  show("Subscribed. The push server holds a connection to this page.");
}

function unsubscribe() {
  agent.unsubscribe();
  agent = null;
  show("Not subscribed. The endpoint has ended.");
}

async function send() {
  const { endpoint } = agent.subscription;
  const message = $("send-text").value;
  const headers = {
    TTL: $("send-ttl").value,
    Urgency: $("send-urgency").value,
    Authorization: await vapid.authorization(endpoint),
  };
  if ($("send-topic").value) headers.Topic = $("send-topic").value;
  if (message) headers["Content-Encoding"] = "aes128gcm";
  const body = message ? await encrypt(agent.subscription, message) : undefined;
  sentAt = performance.now();
  const answer = await fetch(endpoint, { method: "POST", headers, body });
  const took = Math.round(performance.now() - sentAt);
  if (!answer.ok) {
    sentAt = null;
    const refusal = await answer.json().catch(() => ({ message: answer.statusText }));
    throw new Error(`${answer.status}: ${refusal.message}`);
  }
  const location = answer.headers.get("Location");
  $("send-state").textContent = `${answer.status} after ${took} ms${location ? `: ${location}` : ""}`;
}

/** Fills in the URL of the push server, unless the user changed it. */
export async function prefill() {
  if ($("try-server").value) return;
  const { public_url: origin } = await get("overview");
  $("try-server").value = `${origin.replace(/^http/, "ws")}/`;
}

export function prepare(attempt) {
  $("try-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    attempt(subscribe).then((isDone) => isDone || agent || show("Not subscribed."));
  });
  $("try-unsubscribe").addEventListener("click", () => attempt(unsubscribe));
  $("send-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    attempt(send);
  });
}
