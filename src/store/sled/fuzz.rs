//! Decoding of stored records, for `crate::fuzzing`.

use super::broadcasts;
use super::keys::{parse_message_key, parse_subscription_key, parse_user_agent_key};
use super::record::{
    decode, decode_message, decode_receipt, decode_receipt_subscription, decode_subscription,
    decode_user_agent, encode_message, encode_receipt, encode_subscription, encode_user_agent,
};
use crate::store::days::Days;

/// Decodes a record as each kind. Whatever decodes must survive encoding and decoding again.
pub fn fuzz_record(key: &[u8], record: &[u8]) {
    // These must not panic; the result is ignored.
    let _ = (decode::<u64>(record), decode::<Days>(record));
    let _ = (
        parse_message_key(key),
        parse_subscription_key(key),
        parse_user_agent_key(key),
    );
    let _ = (
        decode_receipt_subscription(key, record),
        broadcasts::read(key, record),
    );
    if let Ok(message) = decode_message(record) {
        let again = encode_message(&message).map(|record| decode_message(&record));
        assert!(again.is_ok_and(|again| again == Ok(message)));
    }
    if let Ok((subscription, used)) = decode_subscription(key, record) {
        let again = encode_subscription(&subscription, used);
        let again = again.map(|record| decode_subscription(key, &record));
        assert!(again.is_ok_and(|again| again == Ok((subscription, used))));
    }
    if let Ok(user_agent) = decode_user_agent(record) {
        let again = encode_user_agent(&user_agent).map(|record| decode_user_agent(&record));
        assert!(again.is_ok_and(|again| again == Ok(user_agent)));
    }
    if let Ok((id, stored)) = decode_receipt(key, record) {
        let again = encode_receipt(&stored).map(|record| decode_receipt(key, &record));
        assert!(again.is_ok_and(|again| again == Ok((id, stored))));
    }
}
