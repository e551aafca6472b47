//! The refusals of the admin API, and their responses.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;

use crate::app::refusal::Row;
use crate::config::{Limit, NotAFilter};
use crate::gate::blocklist::ChangeError;
use crate::http::Reply;
use crate::http::refusal::{Refusal, Refused};
use crate::http::reply::set;
use crate::{gate, service};

/// The maximum length of a subject, in bytes.
pub const LONGEST_SUBJECT: usize = 1024;

/// Why a request to the admin API is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// A refusal common to both listeners.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A missing or wrong token.
    #[error(
        "the admin API needs Authorization: Bearer with the token in the file admin-token of the \
         data folder (admin.token_file); `bugle admin` sends it by itself"
    )]
    Unauthorized,
    /// A unix socket user that is not allowed without a token.
    #[error(
        "admin.socket takes the service's own user and root without a token, and others as \
         admin.socket_others says: send Authorization: Bearer with a token"
    )]
    OtherUser,
    /// A change with the read-only token, or by a read-only user.
    #[error("this token may only look: changes need the one in admin-token (admin.token_file)")]
    ReadOnly,
    /// A request from a page of another origin.
    #[error("the admin API takes no requests from pages of another origin")]
    Origin,
    /// A host name that is not in `admin.hosts`: it may be DNS rebinding.
    #[error(
        "the admin API is reached by an IP address, by localhost, or by a name in admin.hosts: \
         add this host name there if it is yours"
    )]
    HostName,
    /// The body does not match `docs/openapi.yaml`.
    #[error("the body is not what docs/openapi.yaml describes: {0}")]
    Body(String),
    /// The body is not declared as JSON.
    #[error("the body is to be JSON: send Content-Type: application/json")]
    NotJson,
    /// An empty or too long subject.
    #[error("a subject is 1 to {} characters", LONGEST_SUBJECT)]
    Subject,
    /// The request does not identify one subscription.
    #[error(
        "one subscription is named by its endpoint or its own URL alone, or by a uaid with the \
         channel, a UUID in lower case"
    )]
    Channel,
    /// The limit of a list is out of range.
    #[error("limit is a number from 1 to {0}")]
    Count(usize),
    /// The block is neither a key nor a range of addresses.
    #[error(
        "a block is keys/KEY with a VAPID public key in base64url, or addresses/RANGE with an IP \
         address or a range such as 192.0.2.0/24"
    )]
    Blocked,
    /// The key or range is not blocked.
    #[error("not blocked: GET /admin/v1/blocks shows who is")]
    NotBlocked,
    /// An invalid broadcast id.
    #[error("the id of a broadcast, in the path, is 1 to 128 characters of printable ASCII")]
    BroadcastId,
    /// An invalid broadcast version.
    #[error(
        "the version of a broadcast, in the body, is 1 to 128 characters of printable ASCII, \
         without a line end"
    )]
    BroadcastVersion,
    /// The broadcast has no version.
    #[error("no such broadcast: GET /admin/v1/broadcasts shows those that are set")]
    NoBroadcast,
    /// The subject identifies nothing in this service.
    #[error(
        "this names nothing here: it is to be a uaid, an endpoint, a subscription or message URL \
         of this service, a handle of 16 hex digits, or, for a trace, a VAPID public key in base64url"
    )]
    UnknownSubject,
    /// The user agent does not exist.
    #[error("no such user agent: it is not connected and has no subscription")]
    NoUserAgent,
    /// The subscription has ended, or was registered again.
    #[error("no such subscription: it has ended, or was begun anew under another endpoint")]
    NoSubscription,
    /// An invalid log filter.
    #[error(transparent)]
    Filter(NotAFilter),
    /// The trace is disabled (`trace.messages`).
    #[error("the trace is off: set trace.messages to how many messages it is to remember")]
    TraceOff,
    /// Too many streams are open.
    #[error("too many streams of the overview are open: close one, or ask for /admin/v1/overview")]
    Streams,
}

impl Refused for AdminError {
    fn row(&self, gone: StatusCode) -> Row {
        match self {
            Self::Refused(refusal) => refusal.row(gone),
            Self::BroadcastId | Self::BroadcastVersion => {
                Row::new(StatusCode::BAD_REQUEST, "broadcast")
            }
            Self::NoBroadcast => Row::new(StatusCode::NOT_FOUND, "broadcast"),
            Self::UnknownSubject | Self::NoUserAgent | Self::NoSubscription | Self::NotBlocked => {
                Row::new(StatusCode::NOT_FOUND, "admin")
            }
            Self::Unauthorized => {
                Row::new(StatusCode::UNAUTHORIZED, "admin_unauthorized").detail("unauthorized")
            }
            Self::OtherUser => forbidden("other_user"),
            Self::ReadOnly => forbidden("read_only"),
            Self::Origin => forbidden("origin"),
            Self::HostName => forbidden("host_name"),
            Self::Body(_) => bad_request("body"),
            Self::Subject => bad_request("subject"),
            Self::Channel => bad_request("channel"),
            Self::Count(_) => bad_request("count"),
            Self::Blocked => bad_request("blocked"),
            Self::Filter(_) => bad_request("filter"),
            Self::NotJson => {
                Row::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "admin").detail("not_json")
            }
            Self::TraceOff => Row::new(StatusCode::CONFLICT, "admin").detail("trace_off"),
            Self::Streams => Row::new(StatusCode::TOO_MANY_REQUESTS, "admin").detail("streams"),
        }
    }

    fn describe(&self, reply: &mut Reply) {
        match self {
            Self::Refused(refusal) => refusal.describe(reply),
            Self::Unauthorized => set(reply, WWW_AUTHENTICATE, "Bearer"),
            _ => {}
        }
    }
}

fn forbidden(detail: &'static str) -> Row {
    Row::new(StatusCode::FORBIDDEN, "admin").detail(detail)
}

fn bad_request(detail: &'static str) -> Row {
    Row::new(StatusCode::BAD_REQUEST, "admin").detail(detail)
}

impl From<service::Error> for AdminError {
    fn from(error: service::Error) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ChangeError> for AdminError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Full => Refusal::from(gate::Refusal::Limit(Limit::Blocks)).into(),
            ChangeError::NotBlocked => Self::NotBlocked,
            ChangeError::Unavailable => service::Error::Unavailable.into(),
        }
    }
}
