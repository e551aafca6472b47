// Sends Web Push messages with npm's web-push, as an application server would.
//
// Reads a JSON array of jobs from standard input:
//   { subscription, payload?, ttl, encoding, topic?, vapid?: { publicKey, privateKey } }
// and writes an array of responses, { status, headers, body }, in the same order.

import { readFileSync } from "node:fs";
import webpush from "web-push";

async function send({ subscription, payload, ttl, encoding, topic, vapid }) {
  const options = { TTL: ttl, contentEncoding: encoding, timeout: 20_000 };
  if (topic) options.topic = topic;
  if (vapid) options.vapidDetails = { subject: "mailto:test@example.com", ...vapid };
  try {
    const answer = await webpush.sendNotification(subscription, payload ?? null, options);
    return { status: answer.statusCode, headers: answer.headers, body: answer.body };
  } catch (error) {
    // An error status is a response too; any other error (no connection, TLS) fails the run.
    if (error.statusCode === undefined) throw error;
    return { status: error.statusCode, headers: error.headers, body: error.body };
  }
}

const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) answers.push(await send(job));
process.stdout.write(JSON.stringify(answers));
