// Subscribes this page, and shows what is pushed to it.

const byId = (id) => document.getElementById(id);

function fromBase64url(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("Firefox needs the permission to show notifications before it subscribes.");
  }
  const { pushManager } = await navigator.serviceWorker.ready;
  const key = byId("key").value.trim();
  const options = key ? { applicationServerKey: fromBase64url(key) } : {};
  return pushManager.subscribe({ userVisibleOnly: true, ...options });
}

async function unsubscribe() {
  const { pushManager } = await navigator.serviceWorker.ready;
  await (await pushManager.getSubscription())?.unsubscribe();
}

const show = (subscription) => {
  byId("subscription").textContent = subscription ? JSON.stringify(subscription, null, 2) : "";
};
const act = (action) => () =>
  action().then(show, (error) => (byId("subscription").textContent = String(error)));

byId("subscribe").addEventListener("click", act(subscribe));
byId("unsubscribe").addEventListener("click", act(unsubscribe));
navigator.serviceWorker.addEventListener("message", ({ data }) => {
  byId("pushes").append(`${new Date().toLocaleTimeString()}  ${data}\n`);
});
navigator.serviceWorker.register("worker.js").then(async (registration) => {
  show(await registration.pushManager.getSubscription());
});
