//! Lists the largest holders of stored data and of connections, so that an operator can find the
//! one that exhausts a limit. Capabilities are identified by their handles.

use std::net::IpAddr;

use bugle_protocol::PublicKey;
use serde_json::{Map, Value, json};

use super::{AdminError, Request, json_reply};
use crate::gate::fairness::ShareHolder;
use crate::http::Reply;
use crate::service::PushService;
use crate::store::{Held, HeldReceipts, Holder};

/// The length of each list, unless the request sets `limit`.
const DEFAULT_LENGTH: usize = 10;
/// The maximum length of each list.
const MAX_LENGTH: usize = 100;

/// Shows the largest holders of each kind, largest first.
pub(super) async fn show(request: Request<'_>) -> Result<Reply, AdminError> {
    let most = limit(request.parts.uri.query().unwrap_or_default())?;
    let (admin, service) = (request.admin, &request.admin.app.service);
    let largest = service.largest(most).await?;
    Ok(json_reply(&json!({
        "user_agents": held(&largest.user_agents, |uaid| {
            json!({ "handle": service.handle(*uaid) })
        }),
        "subscriptions": held(&largest.subscriptions, |endpoint| json!({
            "handle": service.subscription_handle(endpoint),
            "user_agent": service.handle(endpoint.uaid),
        })),
        "senders": held(&largest.senders, |key| sender(service, key)),
        "addresses": held(&largest.addresses, |network| address(*network)),
        "receipt_subscriptions": receipts(&largest.receipt_subscriptions, |id| {
            json!({ "handle": service.receipts_handle(*id) })
        }),
        "receipt_holders": receipts(&largest.receipt_holders, |holder| match holder {
            Holder::Key(key) => sender(service, key),
            Holder::Network(network) => address(*network),
        }),
        "connections": slots(&admin.app.gate.connections.largest(most), "connections"),
        "connected": slots(&admin.app.gate.most_connected(most), "user_agents"),
    })))
}

/// The `limit` parameter of the query.
fn limit(query: &str) -> Result<usize, AdminError> {
    let mut fields = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, limit)) = fields.find(|(name, _)| name == "limit") else {
        return Ok(DEFAULT_LENGTH);
    };
    let limit = limit
        .parse()
        .ok()
        .filter(|limit| (1..=MAX_LENGTH).contains(limit));
    limit.ok_or(AdminError::Count(MAX_LENGTH))
}

fn held<T>(holders: &[Held<T>], name: impl Fn(&T) -> Value) -> Vec<Value> {
    let shown = |held: &Held<T>| {
        let amounts = json!({
            "messages": held.messages,
            "bytes": held.bytes,
            "since": held.since.as_millis(),
        });
        with(name(&held.holder), amounts)
    };
    holders.iter().map(shown).collect()
}

fn receipts<T>(holders: &[HeldReceipts<T>], name: impl Fn(&T) -> Value) -> Vec<Value> {
    let shown = |held: &HeldReceipts<T>| {
        let amounts = json!({
            "subscriptions": held.subscriptions,
            "receipts": held.receipts,
            "since": held.since.as_millis(),
        });
        with(name(&held.holder), amounts)
    };
    holders.iter().map(shown).collect()
}

/// Addresses with their number of slots, in a member called `name`.
fn slots(holders: &[(ShareHolder, usize)], name: &str) -> Vec<Value> {
    let shown = |(owner, slots): &(ShareHolder, usize)| match owner {
        ShareHolder::Address(network) => Some(with(address(*network), json!({ name: slots }))),
        // No key holds connections.
        ShareHolder::Key(_) => None,
    };
    holders.iter().filter_map(shown).collect()
}

fn sender(service: &PushService, key: &PublicKey) -> Value {
    json!({ "handle": service.key_handle(key), "key": key.to_base64url() })
}

/// A network in the notation of a block: an IPv4 address, or an IPv6 /64.
fn address(network: IpAddr) -> Value {
    match network {
        IpAddr::V4(address) => json!({ "address": address.to_string() }),
        IpAddr::V6(address) => json!({ "address": format!("{address}/64") }),
    }
}

/// Merges the members of two objects.
fn with(name: Value, amounts: Value) -> Value {
    let members = [name, amounts].into_iter().filter_map(|value| match value {
        Value::Object(members) => Some(members),
        _ => None,
    });
    Value::Object(members.flatten().collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_number_from_1_to_100() {
        for (query, expected) in [
            ("", Ok(10)),
            ("x=5", Ok(10)),
            ("limit=1", Ok(1)),
            ("x=5&limit=100", Ok(100)),
            ("limit=0", Err(AdminError::Count(100))),
            ("limit=101", Err(AdminError::Count(100))),
            ("limit=", Err(AdminError::Count(100))),
            ("limit=-1", Err(AdminError::Count(100))),
        ] {
            assert_eq!(limit(query), expected, "{query}");
        }
    }

    #[test]
    fn an_address_is_written_in_the_notation_of_a_block() {
        let written = |text: &str| text.parse().map(address).ok();
        assert_eq!(
            written("192.0.2.7"),
            Some(json!({ "address": "192.0.2.7" }))
        );
        let network = Some(json!({ "address": "2001:db8:1:2::/64" }));
        assert_eq!(written("2001:db8:1:2::"), network);
    }
}
