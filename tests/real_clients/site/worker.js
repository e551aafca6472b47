// Reports every push event to the test's own server.

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("push", (event) => {
  event.waitUntil(
    fetch("/received", {
      method: "POST",
      body: JSON.stringify({
        scope: new URL(self.registration.scope).pathname,
        text: event.data ? event.data.text() : null,
      }),
    }),
  );
});
