// Both peers of RFC 8030 with Node's own HTTP/2 client: a user agent that receives server
// pushes, and an application server that requests a receipt.
//
// Reads { origin, payload } from standard input and writes the result of each step in
// order as one JSON object. The user agent's subscription is restricted (RFC 8292 §4) and
// belongs to a set, which the user agent monitors (RFC 8030 §6.1).

import { createECDH, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import ece from "http_ece";
import webpush from "web-push";

const LIMIT_MS = 30_000;

const { origin, payload } = JSON.parse(readFileSync(0, "utf8"));
const report = {};

/** Opens a connection; calls `promised` with each server push once it is complete. */
function connect(promised) {
  const session = http2.connect(origin);
  session.on("stream", (stream, request) => {
    stream.on("push", (headers) => {
      body(stream).then((data) => promised({ request, status: headers[":status"], headers, data }));
    });
  });
  return session;
}

async function body(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Sends a request; resolves with its complete response. */
function send(session, method, url, headers = {}, content = undefined) {
  const { pathname } = new URL(url, origin);
  const stream = session.request({ ":method": method, ":path": pathname, ...headers });
  stream.end(content);
  return new Promise((resolve, reject) => {
    stream.on("error", reject);
    stream.on("response", (headers) => {
      body(stream).then((data) => resolve({ status: headers[":status"], headers, data }), reject);
    });
  });
}

/** The target of the Link with this relation type (RFC 8288); Node joins fields with commas. */
function link(headers, relation) {
  const links = [headers.link ?? []].flat().join(", ").matchAll(/<([^>]*)>;\s*rel="([^"]*)"/g);
  return [...links].find(([, , rel]) => rel === `urn:ietf:params:${relation}`)?.[1];
}

/** A promise and the function that resolves it. */
function awaited() {
  let fulfil;
  const promise = new Promise((resolve) => (fulfil = resolve));
  return [promise, fulfil];
}

async function run() {
  const ecdh = createECDH("prime256v1");
  const keys = { p256dh: ecdh.generateKeys("base64url"), auth: randomBytes(16).toString("base64url") };
  const vapid = webpush.generateVAPIDKeys();

  // The user agent subscribes; no message is stored yet.
  const [message, messageCame] = awaited();
  const userAgent = connect(messageCame);
  const options = { "content-type": "application/webpush-options+json" };
  const made = await send(userAgent, "POST", "/subscribe", options, JSON.stringify({ vapid: vapid.publicKey }));
  const endpoint = link(made.headers, "push");
  const set = link(made.headers, "push:set");
  report.subscribed = { status: made.status, subscription: made.headers.location, endpoint, set };
  report.empty = (await send(userAgent, "GET", set, { prefer: "wait=0" })).status;

  // The user agent monitors the set, and the application server pushes.
  send(userAgent, "GET", set);
  const [receipt, receiptCame] = awaited();
  const applicationServer = connect(receiptCame);
  const details = webpush.generateRequestDetails({ endpoint, keys }, payload, {
    TTL: 60,
    contentEncoding: "aes128gcm",
    vapidDetails: { subject: "mailto:test@example.com", ...vapid },
  });
  const headers = { ...details.headers, prefer: "respond-async" };
  const accepted = await send(applicationServer, "POST", endpoint, headers, details.body);
  const { location, ttl } = accepted.headers;
  const receipts = link(accepted.headers, "push:receipt");
  report.accepted = { status: accepted.status, message: location, ttl, receipts };

  // The message arrives by server push, and the user agent acknowledges it.
  const pushed = await message;
  const key = { version: "aes128gcm", privateKey: ecdh, authSecret: keys.auth };
  report.pushed = {
    ...promise(pushed),
    endpoint: link(pushed.headers, "push"),
    promisedEndpoint: link(pushed.request, "push"),
    encoding: pushed.headers["content-encoding"],
    lastModified: pushed.headers["last-modified"],
    text: ece.decrypt(pushed.data, key).toString(),
  };
  report.acknowledged = (await send(userAgent, "DELETE", location)).status;

  // The application server receives the receipt.
  if (receipts) {
    const waiting = send(applicationServer, "GET", receipts);
    report.receipt = { ...promise(await receipt), octets: (await receipt).data.length };
    report.receiptsRemoved = (await send(applicationServer, "DELETE", receipts)).status;
    report.receiptsEnded = (await waiting).status;
  }

  // No message arrives twice; removing the subscription ends its held GETs.
  report.emptyAgain = (await send(userAgent, "GET", set, { prefer: "wait=0" })).status;
  const monitoring = send(userAgent, "GET", set);
  report.removed = (await send(userAgent, "DELETE", set)).status;
  report.monitoringEnded = (await monitoring).status;
  report.gone = (await send(userAgent, "GET", made.headers.location, { prefer: "wait=0" })).status;
}

/** The promised request and the status of its response (RFC 8030 §6, §6.3). */
function promise({ request, status }) {
  const url = `${request[":scheme"]}://${request[":authority"]}${request[":path"]}`;
  return { method: request[":method"], url, status };
}

setTimeout(() => {
  console.error(`no answer within ${LIMIT_MS / 1000} s; up to then: ${JSON.stringify(report)}`);
  process.exit(1);
}, LIMIT_MS);
await run();
process.stdout.write(JSON.stringify(report), () => process.exit(0));
