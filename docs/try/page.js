// Subscribes this page to pushes, and shows each push it receives.

const byId = (id) => document.getElementById(id);

// Advice for the errors that are common at the first try.
const ADVICE = {
  AbortError:
    "Firefox cannot reach its push service. Is the service running, and is dom.push.serverURL its " +
    "address? For ws://, dom.push.testing.allowInsecureServerURL must be true before that is set: " +
    "set it, then change dom.push.serverURL and change it back.",
  InvalidAccessError: "This is not a public key as `bugle vapid` prints it.",
  InvalidCharacterError: "This is not a public key as `bugle vapid` prints it.",
  InvalidStateError: "Unsubscribe first.",
  NotAllowedError:
    "Firefox subscribes only if the page may show notifications. " +
    "Grant this with the icon in the address bar.",
};

function fromBase64url(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

async function subscribe() {
  const key = byId("key").value.trim();
  const options = key ? { applicationServerKey: fromBase64url(key) } : {};
  if ((await Notification.requestPermission()) !== "granted") {
    throw new DOMException("no permission", "NotAllowedError");
  }
  const { pushManager } = await navigator.serviceWorker.ready;
  return pushManager.subscribe({ userVisibleOnly: true, ...options });
}

async function unsubscribe() {
  const { pushManager } = await navigator.serviceWorker.ready;
  await (await pushManager.getSubscription())?.unsubscribe();
}

function show(subscription) {
  byId("subscription").textContent = subscription ? JSON.stringify(subscription, null, 2) : "";
  byId("copy").disabled = !subscription;
}

const act = (action) => async () => {
  byId("state").textContent = "One moment…";
  try {
    show(await action());
    byId("state").textContent = "";
  } catch (error) {
    byId("state").textContent = `${error}\n${ADVICE[error.name] ?? ""}`;
  }
};

async function copy() {
  await navigator.clipboard.writeText(byId("subscription").textContent + "\n");
  byId("state").textContent = "Copied.";
}

byId("subscribe").addEventListener("click", act(subscribe));
byId("unsubscribe").addEventListener("click", act(unsubscribe));
byId("copy").addEventListener("click", copy);
navigator.serviceWorker.addEventListener("message", ({ data }) => {
  byId("pushes").append(`${new Date().toLocaleTimeString()}  ${data}\n`);
});
navigator.serviceWorker.register("worker.js").then(async (registration) => {
  show(await registration.pushManager.getSubscription());
});
