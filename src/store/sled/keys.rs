//! Keys of the tree.
//!
//! | key | record |
//! |---|---|
//! | `s` uaid channel | the subscription |
//! | `u` uaid | how many subscriptions it has, and when it was last connected |
//! | `m` uaid id | a message, or its first part |
//! | `m` uaid id part | a further part of it |
//! | `b` id | the version of a broadcast |
//! | `R` receipt subscription | when it ends |
//! | `r` receipt subscription, id | a receipt |
//! | `!ids` | the bound below which message ids are reserved |
//! | `!days` | the count of days of service |
//!
//! Numbers in keys are big-endian, so a log is sorted by id, and the parts of each message follow
//! its first part.

use bugle_protocol::{ChannelId, MessageId, ReceiptSubscriptionId, Uaid};

use super::record::Damaged;
use crate::store::ReceiptId;
use crate::store::broadcasts::Label;

/// The key of the record of reserved ids.
pub(super) const IDS_KEY: &[u8] = b"!ids";
/// The key of the record of the days of service.
pub(super) const DAYS_KEY: &[u8] = b"!days";
/// First byte of a subscription's key.
pub(super) const SUBSCRIPTION: u8 = b's';
/// First byte of a message's key.
pub(super) const MESSAGE: u8 = b'm';
/// First byte of a broadcast's key.
pub(super) const BROADCAST: u8 = b'b';
/// First byte of a receipt subscription's key.
pub(super) const RECEIPT_SUBSCRIPTION: u8 = b'R';
/// First byte of a receipt's key.
pub(super) const RECEIPT: u8 = b'r';
/// First byte of a user agent's key.
pub(super) const USER_AGENT: u8 = b'u';

/// The key of a message, or of its first part.
pub(super) type MessageKey = [u8; 25];

pub(super) fn subscription_key(uaid: Uaid, channel: ChannelId) -> [u8; 33] {
    let mut key = [SUBSCRIPTION; 33];
    key[1..17].copy_from_slice(uaid.as_bytes());
    key[17..].copy_from_slice(channel.as_bytes());
    key
}

/// The prefix of the keys of a user agent's subscriptions.
pub(super) fn subscriptions_prefix(uaid: Uaid) -> [u8; 17] {
    let mut prefix = [SUBSCRIPTION; 17];
    prefix[1..].copy_from_slice(uaid.as_bytes());
    prefix
}

pub(super) fn user_agent_key(uaid: Uaid) -> [u8; 17] {
    let mut key = [USER_AGENT; 17];
    key[1..].copy_from_slice(uaid.as_bytes());
    key
}

pub(super) fn message_key(uaid: Uaid, id: MessageId) -> MessageKey {
    let mut key = [MESSAGE; 25];
    key[1..17].copy_from_slice(uaid.as_bytes());
    key[17..].copy_from_slice(&id.get().to_be_bytes());
    key
}

pub(super) fn broadcast_key(id: &Label) -> Vec<u8> {
    [&[BROADCAST], id.as_str().as_bytes()].concat()
}

/// Parses the key of a broadcast.
pub(super) fn parse_broadcast_key(key: &[u8]) -> Result<Label, Damaged> {
    let id = key.strip_prefix(&[BROADCAST]).ok_or(Damaged)?;
    let id = str::from_utf8(id).map_err(|_| Damaged)?;
    Label::new(id).ok_or(Damaged)
}

pub(super) fn receipt_subscription_key(id: ReceiptSubscriptionId) -> [u8; 17] {
    let mut key = [RECEIPT_SUBSCRIPTION; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

pub(super) fn receipt_key(subscription: ReceiptSubscriptionId, id: ReceiptId) -> [u8; 25] {
    let mut key = [RECEIPT; 25];
    key[1..17].copy_from_slice(subscription.as_bytes());
    key[17..].copy_from_slice(&id.get().to_be_bytes());
    key
}

/// Returns the keys of all parts of a message, in order.
pub(super) fn part_keys(key: MessageKey, parts: u16) -> impl Iterator<Item = Vec<u8>> {
    (0..parts).map(move |part| match part {
        0 => key.to_vec(),
        _ => [key.as_slice(), &u32::from(part).to_be_bytes()].concat(),
    })
}

/// Parses the key of a subscription.
pub(super) fn parse_subscription_key(key: &[u8]) -> Result<(Uaid, ChannelId), Damaged> {
    let (uaid, channel) = split_key(key, SUBSCRIPTION)?;
    let channel = channel.try_into().map_err(|_| Damaged)?;
    Ok((Uaid::from_bytes(uaid), ChannelId::from_bytes(channel)))
}

/// Parses the key of a user agent.
pub(super) fn parse_user_agent_key(key: &[u8]) -> Result<Uaid, Damaged> {
    match split_key(key, USER_AGENT)? {
        (uaid, []) => Ok(Uaid::from_bytes(uaid)),
        _ => Err(Damaged),
    }
}

/// Parses the key of a message's first part, which has 25 bytes.
pub(super) fn parse_message_key(key: &[u8]) -> Result<(Uaid, MessageId), Damaged> {
    let (uaid, id) = split_key(key, MESSAGE)?;
    let id = id.try_into().map_err(|_| Damaged)?;
    Ok((
        Uaid::from_bytes(uaid),
        MessageId::new(u64::from_be_bytes(id)),
    ))
}

/// Splits a key into the 16 bytes after its kind, and the rest.
pub(super) fn split_key(key: &[u8], kind: u8) -> Result<([u8; 16], &[u8]), Damaged> {
    let rest = key.strip_prefix(&[kind]).ok_or(Damaged)?;
    let (id, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    Ok((*id, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UAID: Uaid = Uaid::from_bytes([0xaa; 16]);

    #[test]
    fn keys_sort_by_id_and_then_by_part() {
        let keys: Vec<_> = [1, 255, 256, u64::MAX]
            .into_iter()
            .flat_map(|id| part_keys(message_key(UAID, MessageId::new(id)), 300))
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(
            parse_message_key(&keys[300]),
            Ok((UAID, MessageId::new(255)))
        );
        assert_eq!(parse_message_key(&keys[301]), Err(Damaged));
    }
}
