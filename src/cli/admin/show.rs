//! Responses of the admin API as text for people.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytesize::ByteSize;
use serde_json::Value;

/// Maximum number of limits and of refusal reasons shown.
const SHOWN: usize = 5;

/// A string of a response; empty if it is missing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn size(value: &Value) -> ByteSize {
    ByteSize::b(value.as_u64().unwrap_or(0))
}

/// A time of a response, in UTC.
pub(super) fn time(value: &Value) -> String {
    let since = Duration::from_millis(value.as_u64().unwrap_or(0));
    let time: SystemTime = UNIX_EPOCH + since;
    humantime_serde::re::humantime::format_rfc3339_millis(time).to_string()
}

fn percentiles(value: &Value) -> String {
    match value {
        Value::Null => "none recently".to_owned(),
        it => format!(
            "half within {} ms, 99 of 100 within {} ms",
            it["p50"], it["p99"]
        ),
    }
}

/// Writes a row with a padded left column.
fn row(page: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{name:<16}{value}");
}

pub(super) fn log(answer: &Value) -> String {
    let (filter, configured) = (text(&answer["filter"]), text(&answer["configured"]));
    if filter == configured {
        return format!("The log filter is {filter}, as it is configured");
    }
    format!("The log filter is {filter}; at a start it is {configured}")
}

pub(super) fn overview(answer: &Value) -> String {
    let (now, totals) = (&answer["now"], &answer["totals"]);
    let leaving = answer["draining"] == true;
    let state = if leaving { ", draining" } else { "" };
    let mut page = format!(
        "Bugle {} at {}, since {}{state}\n\n",
        text(&answer["version"]),
        text(&answer["public_url"]),
        time(&answer["started_at"])
    );
    for (name, value) in [
        (
            "Connected",
            format!(
                "{} user agents, {} monitors, {} connections in all",
                now["user_agents"], now["monitors"], now["connections"]
            ),
        ),
        (
            "Per second",
            format!(
                "{} pushes accepted, {} delivered, {} acknowledged, {} refusals",
                now["accepted_per_second"],
                now["delivered_per_second"],
                now["acknowledged_per_second"],
                now["refused_per_second"]
            ),
        ),
        ("Accepting", percentiles(&now["accept"])),
        ("Delivering", percentiles(&now["delivery"])),
        (
            "Stored",
            format!(
                "{} messages ({}), {} subscriptions; {} on disk",
                now["stored_messages"],
                size(&now["stored_bytes"]),
                now["subscriptions"],
                size(&now["disk_bytes"])
            ),
        ),
        (
            "Since the start",
            format!(
                "{} accepted, {} delivered, {} acknowledged, {} expired, {} dropped",
                totals["accepted"],
                totals["delivered"],
                totals["acknowledged"],
                totals["expired"],
                totals["dropped"]
            ),
        ),
    ] {
        row(&mut page, name, &value);
    }
    for (at, refusal) in list(&answer["refusals"]).iter().take(SHOWN).enumerate() {
        let name = if at == 0 { "Refused" } else { "" };
        let value = format!(
            "{} times: {} ({} in the last hour)",
            refusal["total"],
            text(&refusal["reason"]),
            refusal["last_hour"]
        );
        row(&mut page, name, &value);
    }
    for (at, bound) in list(&answer["limits"]).iter().take(SHOWN).enumerate() {
        let name = if at == 0 { "Nearest limits" } else { "" };
        let value = format!(
            "{} of {} {}",
            bound["current"],
            bound["limit"],
            text(&bound["setting"])
        );
        row(&mut page, name, &value);
    }
    page
}

pub(super) fn trace(answer: &Value) -> String {
    let mut page = String::new();
    for message in list(&answer["messages"]) {
        let _ = writeln!(
            page,
            "message {} to {} ({} bytes, urgency {}): {}",
            text(&message["message"]),
            text(&message["user_agent"]),
            message["size"],
            text(&message["urgency"]),
            text(&message["state"])
        );
        for event in list(&message["events"]) {
            let code = event["code"].as_u64().map(|code| format!(" {code}"));
            let _ = writeln!(
                page,
                "  {}  {}{}",
                time(&event["at"]),
                text(&event["event"]),
                code.unwrap_or_default()
            );
        }
    }
    page + &format!(
        "The history before {} may be incomplete.\n",
        time(&answer["since"])
    )
}

pub(super) fn user_agent(answer: &Value) -> String {
    let connected = if answer["connected"] == true {
        "connected"
    } else {
        "not connected"
    };
    let waiting = &answer["waiting"];
    let mut page = format!(
        "{}: {connected}, {} messages ({}) wait\n",
        text(&answer["handle"]),
        waiting["messages"],
        size(&waiting["bytes"])
    );
    for subscription in list(&answer["subscriptions"]) {
        let key = subscription["key"].as_str().unwrap_or("any key");
        let _ = writeln!(
            page,
            "  {}  channel {}  {key}",
            text(&subscription["handle"]),
            text(&subscription["channel"])
        );
    }
    page
}

pub(super) fn blocks(answer: &Value) -> String {
    let mut page = String::new();
    for kind in ["keys", "addresses"] {
        for block in list(&answer[kind]) {
            let (value, note) = (text(&block["value"]), text(&block["note"]));
            let _ = writeln!(page, "{value}  since {}  {note}", time(&block["since"]));
        }
    }
    if page.is_empty() {
        "Nobody is blocked".to_owned()
    } else {
        page
    }
}

pub(super) fn broadcasts(answer: &Value) -> String {
    let mut page = String::new();
    for (id, version) in answer["broadcasts"].as_object().into_iter().flatten() {
        let _ = writeln!(page, "{id}  {}", text(version));
    }
    if page.is_empty() {
        "No broadcast is set".to_owned()
    } else {
        page
    }
}

pub(super) fn audit(answer: &Value) -> String {
    let mut page = String::new();
    for entry in list(&answer["entries"]) {
        let _ = writeln!(
            page,
            "{}  {}  {}  {} {}  {}",
            time(&entry["at"]),
            text(&entry["peer"]),
            text(&entry["role"]),
            text(&entry["action"]),
            text(&entry["subject"]),
            text(&entry["outcome"])
        );
    }
    if page.is_empty() {
        "Nothing was changed since the start".to_owned()
    } else {
        page
    }
}
