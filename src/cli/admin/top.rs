//! The lists of the largest holders as text for people.

use std::fmt::Write;

use serde_json::Value;

use super::show::{list, size, text, time};

/// The lists of the response, with their titles.
const LISTS: [(&str, &str); 8] = [
    (
        "user_agents",
        "User agents, by the size of their waiting messages",
    ),
    (
        "subscriptions",
        "Subscriptions, by the size of their waiting messages",
    ),
    (
        "senders",
        "Application servers, by the size of their waiting messages",
    ),
    (
        "addresses",
        "Addresses, by the size of the waiting messages they sent",
    ),
    (
        "receipt_subscriptions",
        "Receipt subscriptions, by their waiting receipts",
    ),
    (
        "receipt_holders",
        "Holders of receipts, by receipt subscriptions and receipts",
    ),
    ("connections", "Addresses, by their connections"),
    (
        "connected",
        "Addresses, by their connected user agents and monitors",
    ),
];

/// Formats each list with its title, leaving out empty ones.
pub(super) fn top(answer: &Value) -> String {
    let mut page = String::new();
    for (name, title) in LISTS {
        let holders = list(&answer[name]);
        if holders.is_empty() {
            continue;
        }
        let gap = if page.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{gap}{title}");
        for holder in holders {
            let _ = writeln!(page, "  {}", line(holder));
        }
    }
    if page.is_empty() {
        "Nobody holds anything".to_owned()
    } else {
        page
    }
}

fn line(holder: &Value) -> String {
    let name = match text(&holder["address"]) {
        "" => text(&holder["handle"]),
        address => address,
    };
    let mut line = format!("{name:<18}");
    for (member, unit) in [
        ("messages", "messages"),
        ("subscriptions", "receipt subscriptions"),
        ("receipts", "receipts"),
        ("connections", "connections"),
        ("user_agents", "user agents"),
    ] {
        if holder[member].is_u64() {
            let _ = write!(line, "  {} {unit}", holder[member]);
        }
    }
    if holder["bytes"].is_u64() {
        let _ = write!(line, "  {}", size(&holder["bytes"]));
    }
    if holder["since"].is_u64() {
        let _ = write!(line, "  since {}", time(&holder["since"]));
    }
    if holder["user_agent"].is_string() {
        let _ = write!(line, "  of {}", text(&holder["user_agent"]));
    }
    if holder["key"].is_string() {
        let _ = write!(line, "  {}", text(&holder["key"]));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_holder_has_a_line_with_its_values() {
        let since = 1_767_225_600_000_u64;
        let page = top(&json!({
            "user_agents": [{ "handle": "60b420bb3851d9d4", "messages": 3, "bytes": 2048, "since": since }],
            "subscriptions": [],
            "receipt_holders": [{
                "address": "192.0.2.7", "subscriptions": 2, "receipts": 9, "since": since,
            }],
            "connections": [{ "address": "2001:db8:1:2::/64", "connections": 12 }],
        }));
        let expected = "User agents, by the size of their waiting messages\n  \
            60b420bb3851d9d4    3 messages  2.0 KiB  since 2026-01-01T00:00:00.000Z\n\n\
            Holders of receipts, by receipt subscriptions and receipts\n  \
            192.0.2.7           2 receipt subscriptions  9 receipts  since 2026-01-01T00:00:00.000Z\n\n\
            Addresses, by their connections\n  \
            2001:db8:1:2::/64   12 connections\n";
        assert_eq!(page, expected);
        assert_eq!(top(&json!({})), "Nobody holds anything");
    }
}
