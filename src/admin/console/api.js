// The admin API, as docs/openapi.yaml describes it.

const KEY = "bugle-token";

/** A refusal, with the message of the service. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`admin/v1/${path}`, {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The service cannot be reached.");
  });
  if (!answer.ok) {
    const text = await answer.text();
    let message = text;
    try {
      message = JSON.parse(text).message;
    } catch {
      // The response is not from the service but from a proxy: show it unchanged.
    }
    throw new Refusal(answer.status, message || `${answer.status}`);
  }
  return answer;
}

export async function get(path) {
  return (await request(path)).json();
}

/** Returns the body of the response, or null if it has none. */
export async function change(method, path, body) {
  const text = await (await request(path, { method, body })).text();
  return text ? JSON.parse(text) : null;
}

/**
 * Calls `onEvent` with the data of each Server-Sent Event until the stream ends.
 * EventSource cannot send a token, so this uses fetch.
 */
export async function stream(path, signal, onEvent) {
  const answer = await request(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (pending + value.replaceAll("\r\n", "\n")).split("\n\n");
    pending = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) onEvent(JSON.parse(data.map((line) => line.slice(5)).join("\n")));
    }
  }
}
