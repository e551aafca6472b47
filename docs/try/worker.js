// Shows each push as a notification, and forwards its text to the open pages.

self.addEventListener("push", (event) => {
  const text = event.data?.text() ?? "(no data)";
  const show = async () => {
    for (const page of await self.clients.matchAll({ includeUncontrolled: true })) {
      page.postMessage(text);
    }
    await self.registration.showNotification("A push", { body: text });
  };
  event.waitUntil(show());
});
