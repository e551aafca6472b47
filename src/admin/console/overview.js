// The current state of the service, and the last hour.

import { get, stream } from "./api.js";
import { $, element, milliseconds, moment, number, octets, rate } from "./dom.js";
import { plot } from "./plot.js";

const HOUR = 3_600_000;
const NEAR = 0.8;

let samples = [];

function tile(name, value, detail) {
  const said = element("dd", {}, value);
  if (detail) said.append(element("small", {}, detail));
  return element("div", {}, element("dt", {}, name), said);
}

function latency(percentiles) {
  return percentiles ? [milliseconds(percentiles.p50), `p99 ${milliseconds(percentiles.p99)}`] : ["–", "no messages"];
}

function showTiles({ now, totals }) {
  $("tiles").replaceChildren(
    tile("User agents connected", number(now.user_agents), `${number(now.connections)} connections`),
    tile("Accepted per second", rate(now.accepted_per_second), `${number(totals.accepted)} in total`),
    tile("Sent per second", rate(now.delivered_per_second), `${number(totals.delivered)} in total`),
    tile("Time to accept", ...latency(now.accept)),
    tile("Time to deliver", ...latency(now.delivery)),
    tile("Stored messages", number(now.stored_messages), `for ${number(now.subscriptions)} subscriptions`),
    tile("Stored bytes", octets(now.stored_bytes), `${octets(now.disk_bytes)} on disk`),
    tile("Refused per second", rate(now.refused_per_second), `${number(totals.refused)} in total`),
  );
}

function showPlots() {
  if (!samples.length) return;
  const p99 = (of) => (sample) => of(sample)?.p99 ?? null;
  $("plots").replaceChildren(
    plot("User agents", [{ name: "connected", of: (s) => s.user_agents, write: number }], samples),
    plot(
      "Messages per second",
      [
        { name: "accepted", of: (s) => s.accepted_per_second, write: rate },
        { name: "sent", of: (s) => s.delivered_per_second, write: rate },
      ],
      samples,
    ),
    plot(
      "Latency, p99",
      [
        { name: "accept", of: p99((s) => s.accept), write: milliseconds },
        { name: "deliver", of: p99((s) => s.delivery), write: milliseconds },
      ],
      samples,
    ),
    plot(
      "Store",
      [
        { name: "messages", of: (s) => s.stored_bytes, write: octets },
        { name: "on disk", of: (s) => s.disk_bytes, write: octets },
      ],
      samples,
    ),
  );
}

function showRefusals(refusals) {
  const rows = refusals.map(({ reason, total, last_hour: lastHour }) =>
    element("tr", {}, ...[reason, number(lastHour), number(total)].map((text) => element("td", {}, text))),
  );
  const none = element("tr", {}, element("td", { colSpan: 3 }, "Nothing was refused."));
  $("refusals").replaceChildren(...(rows.length ? rows : [none]));
}

function showLimits(limits) {
  const rows = limits.map(({ setting, current, limit }) => {
    const isNear = limit > 0 && current >= NEAR * limit;
    const said = `${number(current)} of ${number(limit)}${isNear ? ", nearly full" : ""}`;
    const meter = element("meter", { max: limit, high: NEAR * limit, value: current, "aria-label": setting });
    return element(
      "li",
      {},
      element("code", {}, setting),
      element("span", { className: isNear ? "near" : "" }, said),
      meter,
    );
  });
  $("limits").replaceChildren(...rows);
}

function show(overview) {
  const going = overview.draining ? "shutting down" : `up since ${moment(overview.started_at)}`;
  $("about").textContent = `Bugle ${overview.version} at ${overview.public_url}, ${going}.`;
  showTiles(overview);
  showRefusals(overview.refusals);
  showLimits(overview.limits);
  const { now } = overview;
  if (samples.at(-1)?.at !== now.at) samples.push(now);
  samples = samples.filter(({ at }) => at > now.at - HOUR);
  showPlots();
}

/** Shows the service live until `signal` aborts. */
export async function follow(signal) {
  samples = (await get("history")).samples;
  await stream("overview/stream", signal, show);
}
