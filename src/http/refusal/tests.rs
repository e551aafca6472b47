//! Compares `docs/errors.md` with the refusals: each has a row, and each row has a refusal.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::collections::BTreeSet;

use bugle_protocol::UnixTime;
use bugle_protocol::coding::CodingError;
use bugle_protocol::session::Close;
use bugle_protocol::vapid::VapidError;

use super::*;
use crate::admin::AdminError;
use crate::config::Holder;
use crate::service::full::FullShare;

const PAGE: &str = include_str!("../../../docs/errors.md");

/// Every gate variant with a response of its own. The `match` does not compile if a variant is
/// missing: add a new one to the list too. The functions below work in the same way.
fn gate() -> Vec<gate::Refusal> {
    use gate::Refusal::*;
    match Path {
        BlockedKey
        | BlockedAddress
        | Address
        | Path
        | Token
        | Password
        | Limit(_)
        | Share { .. }
        | Rate { .. } => {}
    }
    vec![
        BlockedKey,
        BlockedAddress,
        Address,
        Path,
        Token,
        Password,
        Limit(crate::config::Limit::Requests),
        Share {
            limit: crate::config::Limit::Requests,
            holder: Holder::Address,
        },
        Rate {
            limit: crate::config::Limit::KeyRate,
            wait: Duration::ZERO,
        },
    ]
}

fn service() -> Vec<service::Error> {
    use service::Error::*;
    match NotFound {
        Refused(_) | NotFound | NoSet | NoReceipts | UnknownEndpoint | Gone | NoMessage
        | Unauthorized | OtherKey | Vapid(_) | KeyRequired | Full(_) | Unavailable => {}
    }
    vec![
        NotFound,
        NoSet,
        NoReceipts,
        UnknownEndpoint,
        Gone,
        NoMessage,
        Unauthorized,
        OtherKey,
        Vapid(VapidError::Repeated("Authorization")),
        Vapid(VapidError::Signature),
        KeyRequired,
        Full(FullShare::new(
            crate::config::Limit::StoredBytes.into(),
            UnixTime::from_secs(0),
        )),
        Unavailable,
    ]
}

fn http() -> Vec<Refusal> {
    use Refusal::*;
    match NotFound {
        Gate(_)
        | Service(_)
        | NotFound
        | MethodNotAllowed(_)
        | Link(_)
        | Options
        | ServerPush
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
        | Checkin
        | UnknownDevice
        | TooLargeForUserAgent(_) => {}
    }
    vec![
        NotFound,
        Checkin,
        UnknownDevice,
        TooLargeForUserAgent(4096),
        MethodNotAllowed("GET"),
        Link(LinkError::Malformed),
        Options,
        ServerPush,
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
    ]
}

fn admin() -> Vec<AdminError> {
    use AdminError::*;
    match NotJson {
        Refused(_) | Unauthorized | OtherUser | ReadOnly | Origin | HostName | Body(_)
        | NotJson | Subject | Channel | Count(_) | Blocked | NotBlocked | BroadcastId
        | BroadcastVersion | NoBroadcast | UnknownSubject | NoUserAgent | NoSubscription
        | Filter(_) | TraceOff | Streams => {}
    }
    vec![
        Unauthorized,
        OtherUser,
        ReadOnly,
        Origin,
        HostName,
        Body(String::new()),
        NotJson,
        Subject,
        Channel,
        Count(0),
        Blocked,
        NotBlocked,
        BroadcastId,
        BroadcastVersion,
        NoBroadcast,
        UnknownSubject,
        NoUserAgent,
        NoSubscription,
        TraceOff,
        Streams,
    ]
}

/// The rows of all refusals, with both values of `compat.gone_status`.
fn all() -> Vec<Row> {
    let of = |gone: StatusCode| {
        let gate = gate().into_iter().map(Refusal::from);
        let service = service().into_iter().map(Refusal::from);
        let refusals = gate.chain(service).chain(http());
        let rows = refusals.map(move |it| it.row(gone));
        rows.chain(admin().into_iter().map(move |it| it.row(gone)))
    };
    of(StatusCode::GONE)
        .chain(of(StatusCode::NOT_FOUND))
        .collect()
}

/// The numbers in the first column of a section's table.
fn rows(part: &str) -> BTreeSet<u16> {
    let first = |row: &str| row.strip_prefix("| ")?.split(' ').next()?.parse().ok();
    part.lines().filter_map(first).collect()
}

#[test]
fn the_page_lists_exactly_the_answered_errnos_and_statuses() {
    let sections = PAGE.split("\n## ").filter_map(|section| {
        let (errno, _) = section.strip_prefix("errno ")?.split_once(':')?;
        Some((errno.parse().unwrap(), rows(section)))
    });
    let listed: BTreeSet<(u16, u16)> = sections
        .flat_map(|(errno, rows)| rows.into_iter().map(move |status| (errno, status)))
        .collect();
    let answered: BTreeSet<(u16, u16)> = all()
        .iter()
        .map(|row| (row.errno, row.status.as_u16()))
        .collect();
    assert_eq!(listed, answered);
}

#[test]
fn the_page_lists_exactly_the_close_codes() {
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

#[test]
fn client_text_is_in_the_message_but_not_in_the_detail() {
    let written = "aOOygrE-bTK_8XfZNX49ys4OURqu";
    let audience = VapidError::Audience {
        expected: "https://push.example".to_owned(),
        got: written.to_owned(),
    };
    let algorithm = VapidError::Algorithm(written.to_owned());
    for (error, detail) in [
        (service::Error::Vapid(audience).into(), "audience"),
        (service::Error::Vapid(algorithm).into(), "algorithm"),
        (AdminError::Body(written.to_owned()), "body"),
    ] {
        assert!(error.to_string().contains(written));
        assert_eq!(error.row(StatusCode::GONE).detail, Some(detail));
    }
}
