// Lists the largest holders, with buttons to drop or block them.

import { change, get } from "./api.js";
import { $, confirmed, element, moment, number, octets } from "./dom.js";

const STORED = [
  ["Messages", (held) => number(held.messages)],
  ["Size", (held) => octets(held.bytes)],
  ["Since", (held) => moment(held.since)],
];
const RECEIPTS = [
  ["Subscriptions", (held) => number(held.subscriptions)],
  ["Receipts", (held) => number(held.receipts)],
  ["Since", (held) => moment(held.since)],
];

/** The holder: an application server by its handle, or an address. */
const maker = ({ handle, address }) => address ?? handle;

const block = {
  name: "Block",
  question: "From now on its requests get 403. Manage lists the blocks and removes them.",
  act: ({ key, address }) =>
    change("PUT", `blocks/${key ? `keys/${key}` : `addresses/${encodeURIComponent(address)}`}`, { note: "from the list of the largest" }),
};

const dropUserAgent = drop("user-agents", "All its subscriptions and waiting messages are deleted. It subscribes again at its next hello.");
const dropSubscription = drop("subscriptions", "The subscription and its waiting messages are deleted.");
const dropMessages = drop("senders", "The waiting messages that it signed are deleted. It can push again until it is blocked.");
const dropReceipts = drop("receipt-subscriptions", "The receipt subscription and its receipts are deleted.");

const LISTS = [
  { id: "user_agents", title: "User agents", by: "By the size of their waiting messages.", columns: STORED, actions: [dropUserAgent] },
  { id: "subscriptions", title: "Subscriptions", by: "By the size of their waiting messages.", columns: STORED, actions: [dropSubscription] },
  { id: "senders", title: "Application servers", by: "By the size of their waiting messages.", columns: STORED, actions: [dropMessages, block] },
  { id: "addresses", title: "Addresses", by: "By the size of the waiting messages that they sent.", columns: STORED, actions: [block] },
  { id: "receipt_subscriptions", title: "Receipt subscriptions", by: "By the number of waiting receipts.", columns: RECEIPTS.slice(1), actions: [dropReceipts] },
  { id: "receipt_holders", title: "Creators of receipt subscriptions", by: "By receipt subscriptions and receipts.", columns: RECEIPTS, actions: [block] },
  { id: "connections", title: "Connections", by: "By the connections of each address.", columns: [
    ["Connections", (held) => number(held.connections)],
  ], actions: [block] },
  { id: "connected", title: "Connected user agents", by: "By the WebSockets and monitors (held GETs) of each address.", columns: [
    ["User agents", (held) => number(held.user_agents)],
  ], actions: [block] },
];

/** The action that drops the holder with a handle. */
function drop(what, question) {
  return { name: "Drop", question, act: ({ handle }) => change("POST", `${what}/drop`, { subject: handle }) };
}

let context = null;

function button({ name, question, act }, held) {
  const { attempt, isAllowed } = context;
  const made = element("button", { type: "button", className: "danger", disabled: !isAllowed() }, name);
  made.setAttribute("aria-label", `${name} ${maker(held)}`);
  made.addEventListener("click", () =>
    attempt(async () => {
      if (!(await confirmed(`${name} ${maker(held)}? ${question}`, name))) return;
      await act(held);
      await refresh();
      $("top-note").textContent = `Done: ${name.toLowerCase()} ${maker(held)}.`;
      $("top-title").focus();
    }),
  );
  return made;
}

function row(list, held) {
  const cells = list.columns.map(([, write]) => element("td", { className: "number" }, write(held)));
  const buttons = list.actions.map((action) => button(action, held));
  return element(
    "tr",
    {},
    element("th", { scope: "row", className: "mono" }, maker(held)),
    ...cells,
    ...(buttons.length ? [element("td", {}, element("div", { className: "buttons" }, ...buttons))] : []),
  );
}

function table(list, holders) {
  const heads = ["Holder", ...list.columns.map(([name]) => name), ...(list.actions.length ? ["Action"] : [])];
  const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)));
  const body = element("tbody", {}, ...holders.map((held) => row(list, held)));
  const made = element("table", {}, element("thead", {}, head), body);
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": list.title }, made);
}

function section(list, holders) {
  const said = holders.length ? table(list, holders) : element("p", {}, "None.");
  const about = element("p", { className: "quiet" }, list.by);
  return element("div", { id: `top-${list.id}` }, element("h3", {}, list.title), about, said);
}

export async function refresh() {
  const largest = await get(`top?limit=${$("top-limit").value}`);
  $("top-lists").replaceChildren(...LISTS.map((list) => section(list, largest[list.id])));
  $("top-note").textContent = `As of ${new Date().toLocaleTimeString()}.`;
}

export function prepare(attempt, isAllowed) {
  context = { attempt, isAllowed };
  $("top-form").addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    attempt(refresh);
  });
}
