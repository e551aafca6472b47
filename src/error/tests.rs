//! `docs/errors.md` has a row for every refusal, and none for anything else.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::collections::BTreeSet;

use bugle_protocol::session::Close;

use super::*;

const PAGE: &str = include_str!("../../docs/errors.md");

/// Every variant that has an answer of its own. The `match` is to fail with a
/// new one, which then belongs into the list too.
fn all() -> Vec<Error> {
    use Error::*;
    match NotFound {
        NotFound
        | Set
        | Receipts
        | Link(_)
        | Options
        | ServerPush
        | MethodNotAllowed(_)
        | UnknownEndpoint
        | Gone(_)
        | NoMessage
        | Unauthorized
        | OtherKey
        | Vapid(_)
        | BlockedKey
        | BlockedAddress
        | NoBlock
        | Header(_)
        | Body(_)
        | TooLarge(_)
        | Incomplete
        | BodyTimeout(_)
        | HeaderFields(_)
        | Host
        | TransferCoding
        | WebSocketVersion
        | Handshake(_)
        | BroadcastId
        | BroadcastVersion
        | NoBroadcast
        | NotNamed
        | NoUserAgent
        | NoSubscription
        | Admin(_)
        | Address
        | Token
        | Password
        | Limit(_)
        | Full(_)
        | Share { .. }
        | Rate { .. }
        | KeyRequired
        | Unavailable => {}
    }
    vec![
        NotFound,
        Set,
        Receipts,
        Link(LinkError::Malformed),
        Options,
        ServerPush,
        MethodNotAllowed("GET"),
        UnknownEndpoint,
        Gone(StatusCode::GONE),
        Gone(StatusCode::NOT_FOUND),
        NoMessage,
        Unauthorized,
        OtherKey,
        Vapid(VapidError::Repeated("Authorization")),
        Vapid(VapidError::Signature),
        BlockedKey,
        BlockedAddress,
        NoBlock,
        Header(HeaderError::TtlMissing),
        Header(HeaderError::TtlMalformed),
        Header(HeaderError::Urgency),
        Header(HeaderError::Topic),
        Body(BodyError::Coding(CodingError::Unknown)),
        Body(BodyError::Coding(CodingError::AesgcmNotTaken)),
        Body(BodyError::Coding(CodingError::Aesgcm(""))),
        Body(BodyError::Coding(CodingError::Aes128gcmWithAesgcmHeaders)),
        Body(BodyError::Unencrypted),
        Body(BodyError::KeyId),
        TooLarge(4096),
        Incomplete,
        BodyTimeout(Duration::ZERO),
        HeaderFields(100),
        Host,
        TransferCoding,
        WebSocketVersion,
        Handshake(""),
        BroadcastId,
        BroadcastVersion,
        NoBroadcast,
        NotNamed,
        NoUserAgent,
        NoSubscription,
        Admin(AdminError::Unauthorized),
        Admin(AdminError::OtherUser),
        Admin(AdminError::ReadOnly),
        Admin(AdminError::Origin),
        Admin(AdminError::HostName),
        Admin(AdminError::Body(String::new())),
        Admin(AdminError::NotJson),
        Admin(AdminError::Subject),
        Admin(AdminError::Channel),
        Admin(AdminError::Count(0)),
        Admin(AdminError::Blocked),
        Admin(AdminError::TraceOff),
        Admin(AdminError::Streams),
        Address,
        Token,
        Password,
        Limit(crate::config::Limit::Requests),
        Full(FullShare::new(
            crate::config::Limit::StoredBytes.into(),
            bugle_protocol::UnixTime::from_secs(0),
        )),
        Share {
            limit: crate::config::Limit::Requests,
            holder: Holder::Address,
        },
        Rate {
            setting: "limits.key_rate",
            wait: Duration::ZERO,
        },
        KeyRequired,
        Unavailable,
    ]
}

/// The numbers that begin the rows of a part of the page.
fn rows(part: &str) -> BTreeSet<u16> {
    let first = |row: &str| row.strip_prefix("| ")?.split(' ').next()?.parse().ok();
    part.lines().filter_map(first).collect()
}

#[test]
fn every_errno_and_status_has_a_row_and_every_row_is_one() {
    let sections = PAGE.split("\n## ").filter_map(|section| {
        let (errno, _) = section.strip_prefix("errno ")?.split_once(':')?;
        Some((errno.parse().unwrap(), rows(section)))
    });
    let told: BTreeSet<(u16, u16)> = sections
        .flat_map(|(errno, rows)| rows.into_iter().map(move |status| (errno, status)))
        .collect();
    let answered: BTreeSet<(u16, u16)> = all()
        .iter()
        .map(|error| (error.errno(), error.status().as_u16()))
        .collect();
    assert_eq!(told, answered);
}

#[test]
fn every_close_code_has_a_row_and_every_row_is_one() {
    let section = PAGE
        .split("\n## ")
        .find(|section| section.contains("close code"));
    let closes = [
        Close::Normal,
        Close::GoingAway,
        Close::Framing,
        Close::Binary,
        Close::HelloTimeout,
        Close::TooBig,
        Close::Unavailable,
    ];
    let codes = closes.iter().map(Close::code).collect();
    assert_eq!(rows(section.unwrap()), codes);
}
