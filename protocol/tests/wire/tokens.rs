//! Endpoint and message tokens: opened whole, or not at all.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::{
    ChannelId, Keyring, MessageId, MessageUrl, PushEndpoint, SubscriptionId, Uaid,
};
use proptest::prelude::*;

const ENDPOINT: PushEndpoint = PushEndpoint {
    uaid: Uaid::from_bytes([1; 16]),
    channel: ChannelId::from_bytes([2; 16]),
    subscription: SubscriptionId::from_bytes([3; 16]),
};
const MESSAGE: MessageUrl = MessageUrl {
    uaid: Uaid::from_bytes([1; 16]),
    id: MessageId::new(7),
};

fn keyring() -> Keyring {
    Keyring::new(&[[9; 32], [8; 32]]).unwrap()
}

/// Every spelling that differs from `token` in one bit, of its characters or
/// of the octets they stand for.
fn neighbours(token: &str) -> Vec<String> {
    let flips = |octets: &[u8]| -> Vec<Vec<u8>> {
        let flip = |bit: usize| {
            let mut changed = octets.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        };
        (0..octets.len() * 8).map(flip).collect()
    };
    let sealed = URL_SAFE_NO_PAD.decode(token).unwrap();
    let of_characters = flips(token.as_bytes())
        .into_iter()
        .filter_map(|octets| String::from_utf8(octets).ok());
    let of_octets = flips(&sealed)
        .into_iter()
        .map(|octets| URL_SAFE_NO_PAD.encode(octets));
    of_characters.chain(of_octets).collect()
}

#[test]
fn one_changed_bit_opens_nothing() {
    let keyring = keyring();
    let (endpoint, message) = (ENDPOINT.seal(&keyring), MESSAGE.seal(&keyring));
    for token in neighbours(&endpoint) {
        assert!(PushEndpoint::open(&keyring, &token).is_err(), "{token}");
    }
    for token in neighbours(&message) {
        assert!(MessageUrl::open(&keyring, &token).is_err(), "{token}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let keyring = keyring();
    let token = ENDPOINT.seal(&keyring);
    for spelling in [
        format!("{token}="),
        format!("{token}=="),
        format!("{token}A"),
        format!("{token}/"),
        format!(" {token}"),
        token[..token.len() - 1].to_owned(),
        token.replacen('_', "/", 1).replacen('-', "+", 1),
        String::new(),
    ] {
        let opened = PushEndpoint::open(&keyring, &spelling);
        assert!(spelling == token || opened.is_err(), "{spelling}");
    }
    assert!(MessageUrl::open(&keyring, &token).is_err());
    assert!(PushEndpoint::open(&keyring, &MESSAGE.seal(&keyring)).is_err());
}

proptest! {
    #[test]
    fn endpoints_are_opened_again(uaid: [u8; 16], channel: [u8; 16], subscription: [u8; 16]) {
        let keyring = keyring();
        let endpoint = PushEndpoint {
            uaid: Uaid::from_bytes(uaid),
            channel: ChannelId::from_bytes(channel),
            subscription: SubscriptionId::from_bytes(subscription),
        };
        let token = endpoint.seal(&keyring);
        prop_assert_eq!(token.len(), 86);
        prop_assert_eq!(PushEndpoint::open(&keyring, &token), Ok(endpoint));
    }

    #[test]
    fn messages_are_opened_again(uaid: [u8; 16], id: u64) {
        let keyring = keyring();
        let message = MessageUrl { uaid: Uaid::from_bytes(uaid), id: MessageId::new(id) };
        let token = message.seal(&keyring);
        prop_assert_eq!(token.len(), 54);
        prop_assert_eq!(MessageUrl::open(&keyring, &token), Ok(message));
    }

    #[test]
    fn unsealed_tokens_do_not_open(text: String, octets: [u8; 64]) {
        let keyring = keyring();
        prop_assert!(PushEndpoint::open(&keyring, &text).is_err());
        prop_assert!(MessageUrl::open(&keyring, &text).is_err());
        let token = URL_SAFE_NO_PAD.encode(octets);
        prop_assert!(PushEndpoint::open(&keyring, &token).is_err());
        prop_assert!(MessageUrl::open(&keyring, &token[..54]).is_err());
    }
}
