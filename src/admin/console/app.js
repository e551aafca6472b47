// The frame of the page: session and navigation.

import { Refusal, get, token } from "./api.js";
import { $ } from "./dom.js";
import * as manage from "./manage.js";
import * as overview from "./overview.js";
import * as top from "./top.js";
import * as trace from "./trace.js";
import * as tryIt from "./try.js";

const PARTS = ["overview", "top", "trace", "try", "manage"];
const RETRY = 3000;

let role = null;
let following = null;

function alert(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

/** Runs an action and shows its error, if any. Returns whether it succeeded. */
async function attempt(action) {
  alert("");
  try {
    await action();
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    if (error instanceof Refusal && error.status === 401) signOut("The service does not accept this token.");
    else alert(error.message);
    return false;
  }
}

function show(part) {
  for (const id of ["sign-in", ...PARTS]) $(id).hidden = id !== part;
  for (const link of $("tabs").children) {
    if (link.hash === `#${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Updates the overview while it is shown, across restarts of the service. */
async function follow() {
  following = new AbortController();
  const { signal } = following;
  while (!signal.aborted) {
    if (await attempt(() => overview.follow(signal))) alert("The service ended the stream; reconnecting.");
    if (!token.get()) return;
    await new Promise((resolve) => setTimeout(resolve, RETRY));
  }
}

function open() {
  following?.abort();
  if (!role) return show("sign-in");
  const part = PARTS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "overview";
  alert("");
  show(part);
  if (part === "overview") follow();
  if (part === "top") attempt(top.refresh);
  if (part === "manage") attempt(manage.refresh);
}

function signOut(why) {
  token.forget();
  role = null;
  $("tabs").hidden = true;
  $("session").hidden = true;
  open();
  alert(why);
}

async function signIn() {
  const session = await get("session");
  await tryIt.prefill();
  role = session.role;
  $("role").textContent = role === "full" ? "Signed in" : "Signed in, read only";
  for (const control of document.querySelectorAll("[data-changes]")) control.disabled = role !== "full";
  $("tabs").hidden = false;
  $("session").hidden = false;
  open();
}

/** Signs in by a token in the URL (`#token=…`) and removes it from the address bar. */
function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  token.set(given);
  history.replaceState(null, "", location.pathname);
}

$("sign-in-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  token.set($("token").value.trim());
  $("token").value = "";
  attempt(signIn);
});
$("sign-out").addEventListener("click", () => signOut(""));
addEventListener("hashchange", () => {
  takeTokenFromAddress();
  if (role) open();
  else if (token.get()) attempt(signIn);
});
trace.prepare(attempt);
tryIt.prepare(attempt);
manage.prepare(attempt, () => role === "full");
top.prepare(attempt, () => role === "full");

takeTokenFromAddress();
show("sign-in");
if (token.get()) attempt(signIn);
