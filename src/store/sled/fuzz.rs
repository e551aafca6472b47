//! Stored records, for `crate::fuzzing`.

use super::broadcasts;
use super::keys::{parse_message_key, parse_subscription_key};
use super::record::{
    decode, decode_message, decode_receipt, decode_receipt_subscription, decode_subscription,
    encode_message, encode_receipt, encode_subscription,
};

/// Reads a record as each kind there is; what can be read is written and read
/// back the same.
pub fn fuzz_record(key: &[u8], record: &[u8]) {
    // Whether these can be read is not the question.
    let _ = (decode::<u64>(record), decode::<u32>(record));
    let _ = (parse_message_key(key), parse_subscription_key(key));
    let _ = (
        decode_receipt_subscription(key, record),
        broadcasts::read(key, record),
    );
    if let Ok(message) = decode_message(record) {
        let again = encode_message(&message).map(|record| decode_message(&record));
        assert!(again.is_ok_and(|again| again == Ok(message)));
    }
    if let Ok(subscription) = decode_subscription(key, record) {
        let again = encode_subscription(&subscription);
        let again = again.map(|record| decode_subscription(key, &record));
        assert!(again.is_ok_and(|again| again == Ok(subscription)));
    }
    if let Ok((id, kept)) = decode_receipt(key, record) {
        let again = encode_receipt(&kept).map(|record| decode_receipt(key, &record));
        assert!(again.is_ok_and(|again| again == Ok((id, kept))));
    }
}
