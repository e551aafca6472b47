// Uses Node's http or https, with or without persistent connections (the argument selects), and
// sends four pushes concurrently, as application servers do; see README.md.

import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";

const [count, authority, base64, good, ...refused] = readFileSync(0, "utf8").trim().split("\n");
const body = Buffer.from(base64, "base64");
const library = good.startsWith("https:") ? https : http;
const ca = authority === "-" ? undefined : readFileSync(authority);
const agent = new library.Agent({ keepAlive: process.argv[2] === "keep-alive", maxSockets: 4, ca });
const headers = { TTL: "0", "Content-Encoding": "aes128gcm", "Content-Length": body.length };

function push(target) {
  return new Promise((resolve) => {
    const request = library.request(target, { method: "POST", agent, headers, timeout: 30_000 });
    request.on("response", (response) => {
      response.resume().on("end", () => resolve(response.statusCode)).on("error", resolve);
    });
    request.on("error", resolve).on("timeout", () => request.destroy(new Error("timeout")));
    // Write head and body separately.
    request.flushHeaders();
    request.end(body);
  });
}

const outcomes = new Array(Number(count));
let next = 0;
async function sender() {
  while (next < outcomes.length) {
    const nth = next++;
    const target = nth % 3 === 2 ? refused[Math.floor(nth / 3) % refused.length] : good;
    outcomes[nth] = await push(target);
  }
}
await Promise.all([sender(), sender(), sender(), sender()]);
agent.destroy();
for (const outcome of outcomes) console.log(String(outcome));
