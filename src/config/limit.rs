//! The limits that cause refusals or end connections. `docs/limits.md` lists them with all others.

use std::fmt;
use std::time::Duration;

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `limits.connections`
    Connections,
    /// `limits.bodies`
    Bodies,
    /// `limits.requests`
    Requests,
    /// `limits.pushes_at_once`
    PushesAtOnce,
    /// `limits.user_agents`
    UserAgents,
    /// `limits.connections_per_address`
    ConnectionsPerAddress,
    /// `limits.subscriptions_per_user_agent`
    SubscriptionsPerUserAgent,
    /// `limits.subscriptions`
    Subscriptions,
    /// `limits.messages_per_user_agent`
    MessagesPerUserAgent,
    /// `limits.bytes_per_user_agent`
    BytesPerUserAgent,
    /// `limits.stored_bytes`
    StoredBytes,
    /// `limits.receipt_subscriptions`
    ReceiptSubscriptions,
    /// `limits.receipts`
    Receipts,
    /// `limits.waiting_for_disk`
    WaitingForDisk,
    /// `limits.broadcasts`
    Broadcasts,
    /// `admin.blocks`
    Blocks,
    /// `store.min_free`
    FreeSpace,
    /// `limits.body_bytes`
    BodyBytes,
    /// `limits.body_timeout`
    BodyTimeout,
    /// `limits.idle_timeout`
    IdleTimeout,
    /// `limits.handshake_timeout`
    HandshakeTimeout,
    /// `limits.header_bytes`
    HeaderBytes,
    /// `limits.discard_bytes`
    DiscardBytes,
    /// `limits.frame_bytes`
    FrameBytes,
    /// `user_agent.hello_timeout`
    HelloTimeout,
    /// `user_agent.pong_timeout`
    PongTimeout,
    /// `user_agent.write_timeout`
    WriteTimeout,
    /// `limits.key_rate`
    KeyRate,
    /// `limits.subscription_rate`
    SubscriptionRate,
    /// `limits.address_rate`
    AddressRate,
    /// `limits.failed_signature_rate`
    FailedSignatureRate,
}

impl Limit {
    /// The name of the setting.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Connections => "limits.connections",
            Self::Bodies => "limits.bodies",
            Self::Requests => "limits.requests",
            Self::PushesAtOnce => "limits.pushes_at_once",
            Self::UserAgents => "limits.user_agents",
            Self::ConnectionsPerAddress => "limits.connections_per_address",
            Self::SubscriptionsPerUserAgent => "limits.subscriptions_per_user_agent",
            Self::Subscriptions => "limits.subscriptions",
            Self::MessagesPerUserAgent => "limits.messages_per_user_agent",
            Self::BytesPerUserAgent => "limits.bytes_per_user_agent",
            Self::StoredBytes => "limits.stored_bytes",
            Self::ReceiptSubscriptions => "limits.receipt_subscriptions",
            Self::Receipts => "limits.receipts",
            Self::WaitingForDisk => "limits.waiting_for_disk",
            Self::Broadcasts => "limits.broadcasts",
            Self::Blocks => "admin.blocks",
            Self::FreeSpace => "store.min_free",
            Self::BodyBytes => "limits.body_bytes",
            Self::BodyTimeout => "limits.body_timeout",
            Self::IdleTimeout => "limits.idle_timeout",
            Self::HandshakeTimeout => "limits.handshake_timeout",
            Self::HeaderBytes => "limits.header_bytes",
            Self::DiscardBytes => "limits.discard_bytes",
            Self::FrameBytes => "limits.frame_bytes",
            Self::HelloTimeout => "user_agent.hello_timeout",
            Self::PongTimeout => "user_agent.pong_timeout",
            Self::WriteTimeout => "user_agent.write_timeout",
            Self::KeyRate => "limits.key_rate",
            Self::SubscriptionRate => "limits.subscription_rate",
            Self::AddressRate => "limits.address_rate",
            Self::FailedSignatureRate => "limits.failed_signature_rate",
        }
    }

    /// When to try again: requests in progress end soon, stored data stays longer.
    pub const fn retry_after(self) -> Duration {
        Duration::from_secs(match self {
            Self::Bodies | Self::Requests | Self::PushesAtOnce | Self::WaitingForDisk => 1,
            Self::Connections | Self::UserAgents | Self::ConnectionsPerAddress => 10,
            _ => 60,
        })
    }
}

/// The kind of holder whose share is used up, in the words of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The address of the client, or the IPv6 /64 that it is in.
    Address,
    /// The application server, by its VAPID key.
    Key,
}

impl Holder {
    /// One word, for `share` in an error body.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Key => "sender",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "this address",
            Self::Key => "this application server key",
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::DEFAULTS;
    use crate::observe::metrics::Metrics;

    const PAGE: &str = include_str!("../../docs/limits.md");

    /// The rows of the tables: setting to default and metrics.
    fn rows() -> BTreeMap<&'static str, (&'static str, Vec<&'static str>)> {
        let cells = PAGE.lines().filter_map(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            let [_, setting, default, _, metrics] = cells[..] else {
                return None;
            };
            let metrics = metrics.trim_end_matches(" |").split(", ");
            let metrics = metrics.map(|metric| metric.trim_matches('`')).collect();
            let setting = setting.trim_matches('`');
            Some((setting, (default.trim_matches('`'), metrics)))
        });
        cells.filter(|(setting, _)| setting.contains('.')).collect()
    }

    #[test]
    fn the_page_has_a_row_for_every_limit_with_its_default() {
        let mut rows = rows();
        let defaults: toml::Table = DEFAULTS.parse().unwrap();
        for (section, keys) in &defaults {
            let all = ["limits", "user_agent"].contains(&section.as_str());
            for (key, value) in keys.as_table().unwrap() {
                let setting = format!("{section}.{key}");
                match rows.remove(setting.as_str()) {
                    Some((default, _)) => assert_eq!(default, value.to_string(), "{setting}"),
                    None => assert!(!all, "{setting} has no row"),
                }
            }
        }
        assert!(rows.is_empty(), "no such settings: {rows:?}");
    }

    #[test]
    fn the_metrics_in_limits_md_exist() {
        for (setting, (_, metrics)) in rows() {
            for metric in metrics {
                let name = metric.strip_prefix("bugle_").expect(setting);
                let name = name.strip_suffix("_total").unwrap_or(name);
                assert!(Metrics::NAMES.contains(&name), "{setting}: {metric}");
            }
        }
    }
}
