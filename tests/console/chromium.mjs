// Uses the console in Chromium like an operator: with its controls and the keyboard, in light
// and dark, on a screen and on a phone.
//
//   node chromium.mjs CHROMIUM CONSOLE TOKEN READ-ONLY-TOKEN SCREENSHOTS
//
// Writes screenshots to the folder, and fails with the problems found.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, console_, token, readOnlyToken, screenshots] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WAIT = 20_000;

const browser = await chromium.launch({
  executablePath,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** A page that records its errors and the origins that it contacts. */
async function newPage() {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.problems = [];
  page.asked = new Set();
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
  page.on("request", (request) => page.asked.add(new URL(request.url()).origin));
  page.on("websocket", (socket) => page.asked.add(new URL(socket.url()).origin.replace(/^ws/, "http")));
  return page;
}

/** Asserts that axe finds no violation. */
async function isAccessible(page, what) {
  const session = await page.context().newCDPSession(page);
  // Through the debugger, because the page's CSP allows only its own scripts.
  await session.send("Runtime.evaluate", { expression: axe });
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(said, [], `${what} is not accessible`);
}

async function looksRight(page, name) {
  for (const [size, width] of [["screen", 1200], ["phone", 360]]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await isAccessible(page, `${name}, ${size}, ${colorScheme}`);
      await page.screenshot({ path: join(screenshots, `${name}-${size}-${colorScheme}.png`), fullPage: true });
    }
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(widths[0] <= widths[1], `${name} is wider than a ${size}: ${widths}`);
  }
  await page.setViewportSize({ width: 1200, height: 900 });
}

const says = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => document.querySelector(selector)?.textContent.includes(text), [selector, text]);

/** Presses Tab until the element has the focus, like a person without a mouse. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 60; presses += 1) {
    if (await page.evaluate((selector) => document.activeElement?.matches(selector), selector)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${selector} cannot be reached by the keyboard`);
}

async function signsInByKeyboard(page) {
  await page.goto(console_);
  await looksRight(page, "sign-in");
  await tabTo(page, "#token");
  await page.keyboard.type("wrong");
  await page.keyboard.press("Enter");
  await says(page, "#alert", "does not accept this token");
  // The browser logs the expected refusal as an error.
  page.problems.length = 0;
  await tabTo(page, "#token");
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#tiles dd");
}

async function triesByKeyboard(page) {
  await tabTo(page, 'a[href="#try"]');
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#try-server").value);
  await tabTo(page, "#try-subscribe");
  await page.keyboard.press("Enter");
  await says(page, "#try-state", "Subscribed");
  await tabTo(page, "#send-text");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("ein Gruß");
  await page.keyboard.press("Enter");
  await says(page, "#pushes", "ein Gruß");
  await says(page, "#send-state", "201");
  await looksRight(page, "try");
  return JSON.parse(await page.inputValue("#try-subscription")).endpoint;
}

async function traces(page, endpoint) {
  await page.click('a[href="#trace"]');
  await page.fill("#trace-subject", endpoint);
  await page.click("#trace-form button");
  await says(page, "#trace-messages", "acknowledged, code 100");
  await looksRight(page, "trace");
}

/** Signs a VAPID token with a new key (RFC 8292 §2). */
async function sign(origin) {
  const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
  const base64url = (octets) => Buffer.from(octets).toString("base64url");
  const claims = { aud: origin, exp: Math.floor(Date.now() / 1000) + 3600 };
  const signed = [{ typ: "JWT", alg: "ES256" }, claims].map((part) => base64url(JSON.stringify(part))).join(".");
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, privateKey, Buffer.from(signed));
  const key = base64url(await crypto.subtle.exportKey("raw", publicKey));
  return `vapid t=${signed}.${base64url(signature)}, k=${key}`;
}

/** Pushes to a subscription that is never read; returns a function that repeats the push. */
async function fillsUp(endpoint) {
  const subscribed = await fetch(new URL("/subscribe", endpoint), { method: "POST" });
  const resource = /<([^>]*)>; rel="urn:ietf:params:push"/.exec(subscribed.headers.get("link"))[1];
  const headers = { TTL: "600", Prefer: "respond-async", Authorization: await sign(new URL(endpoint).origin) };
  const push = async () => (await fetch(resource, { method: "POST", headers })).status;
  for (let sent = 0; sent < 3; sent += 1) assert.equal(await push(), 202);
  return push;
}

/** Activates a button and confirms its dialog with the keyboard. */
async function chooses(page, button) {
  await tabTo(page, button);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#confirm[open]");
  await tabTo(page, "#confirm-yes");
  await page.keyboard.press("Enter");
}

async function looksAtTheLargest(page, endpoint) {
  await tabTo(page, 'a[href="#top"]');
  await page.keyboard.press("Enter");
  await says(page, "#top-user_agents", "None.");
  const push = await fillsUp(endpoint);
  await tabTo(page, "#top-limit");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("5");
  await page.keyboard.press("Enter");
  await says(page, "#top-user_agents td", "3");
  await says(page, "#top-addresses th[scope=row]", "127.0.0.1");
  await looksRight(page, "top");
  await chooses(page, '#top-senders button[aria-label^="Block"]');
  await says(page, "#top-note", "Done: block");
  assert.equal(await push(), 403, "its key is blocked");
  await chooses(page, "#top-user_agents button");
  await says(page, "#top-user_agents", "None.");
  await page.click('a[href="#manage"]');
  await page.click("#blocks button");
  await says(page, "#blocks", "Nobody is blocked");
  assert.equal(await push(), 410, "the user agent was dropped");
}

async function manages(page, endpoint) {
  await page.click('a[href="#manage"]');
  await page.fill("#block-value", "192.0.2.0/24");
  await page.fill("#block-note", "a test");
  await page.click("#block-form button");
  await says(page, "#blocks", "192.0.2.0/24");
  await page.click("#blocks button");
  await says(page, "#blocks", "Nobody is blocked");
  await page.fill("#broadcast-id", "a/b");
  await page.fill("#broadcast-version", "7");
  await page.click("#broadcast-form button");
  await says(page, "#broadcasts", "version 7");
  await page.fill("#find-subject", endpoint);
  await page.click("#find-form button");
  await says(page, "#found-about", "connected");
  await looksRight(page, "manage");
  await page.click("#drop-subscription");
  await page.click('#confirm button[value="no"]');
  assert.ok(await page.isVisible("#found"), "cancelling drops nothing");
  await page.click("#drop-subscription");
  await page.click("#confirm-yes");
  await says(page, "#manage-note", "Dropped");
  await says(page, "#audit", "dropSubscription");
  const { status } = await fetch(endpoint, { method: "POST", headers: { TTL: "0" } });
  assert.equal(status, 410, "the endpoint is gone");
}

async function showsTheService(page) {
  await page.click('a[href="#overview"]');
  await page.waitForSelector("#plots svg");
  await says(page, "#about", "up since");
  await looksRight(page, "overview");
}

async function staysSignedInForTheTab(page) {
  await page.reload();
  await page.waitForSelector("#tiles dd");
  await page.click("#sign-out");
  assert.ok(await page.isVisible("#sign-in"));
  await page.reload();
  assert.ok(await page.isVisible("#sign-in"), "the token is forgotten");
}

async function looksOnly() {
  const page = await newPage();
  await page.goto(`${console_}#token=${readOnlyToken}`);
  await says(page, "#role", "read only");
  assert.ok(!page.url().includes(readOnlyToken), "the token leaves the address");
  await page.click('a[href="#manage"]');
  for (const control of await page.$$("[data-changes]")) assert.ok(await control.isDisabled());
  assert.deepEqual(page.problems, []);
}

try {
  const page = await newPage();
  await signsInByKeyboard(page);
  const endpoint = await triesByKeyboard(page);
  await traces(page, endpoint);
  await looksAtTheLargest(page, endpoint);
  await manages(page, endpoint);
  await showsTheService(page);
  await staysSignedInForTheTab(page);
  assert.deepEqual(page.problems, []);
  const known = [new URL(console_).origin, new URL(endpoint).origin].sort();
  assert.deepEqual([...page.asked].sort(), known, "the page asks nobody else");
  await looksOnly();
} finally {
  await browser.close();
}
