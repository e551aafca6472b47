// npm install web-push
import { readFileSync } from "node:fs";
import webpush from "web-push";

const subscription = JSON.parse(readFileSync("subscription.json", "utf8"));
const { publicKey, privateKey } = JSON.parse(readFileSync("vapid.json", "utf8"));

try {
  const answer = await webpush.sendNotification(subscription, "hello from Node", {
    TTL: 3600,
    urgency: "normal",
    vapidDetails: { subject: "mailto:push@example.org", publicKey, privateKey },
  });
  console.log(answer.statusCode, answer.headers.location);
} catch (refusal) {
  // 404 and 410: delete the subscription. 429 and 503: try again after Retry-After seconds.
  console.error(refusal.statusCode, refusal.body ?? refusal.message);
  process.exitCode = 1;
}
