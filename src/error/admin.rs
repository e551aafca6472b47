//! The refusals of the admin API.

use http::StatusCode;

use crate::config::NotAFilter;

/// The longest text that can name anything, in octets.
pub const LONGEST_SUBJECT: usize = 1024;

/// Why a request to the admin API is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No token, or another one.
    #[error(
        "the admin API needs Authorization: Bearer with the token in the file admin-token of the \
         data folder (admin.token_file); `bugle admin` sends it by itself"
    )]
    Unauthorized,
    /// Another user at the unix socket.
    #[error(
        "admin.socket takes the service's own user and root without a token, and others as \
         admin.socket_others says: send Authorization: Bearer with a token"
    )]
    OtherUser,
    /// A change with the token that may only look.
    #[error("this token may only look: changes need the one in admin-token (admin.token_file)")]
    ReadOnly,
    /// A page of another origin has sent it.
    #[error("the admin API takes no requests from pages of another origin")]
    Origin,
    /// It came by a name that may be anybody's.
    #[error(
        "the admin API is reached by an IP address, by localhost, or by a name in admin.hosts: \
         add this host name there if it is yours"
    )]
    HostName,
    /// The body is not what is described.
    #[error("the body is not what docs/openapi.yaml describes: {0}")]
    Body(String),
    /// The body is something else than JSON.
    #[error("the body is to be JSON: send Content-Type: application/json")]
    NotJson,
    /// A subject that nothing can have.
    #[error("a subject is 1 to {} characters", LONGEST_SUBJECT)]
    Subject,
    /// Which subscription is meant is not said.
    #[error(
        "one subscription is named by its endpoint or its own URL alone, or by a uaid with the \
         channel, a UUID in lower case"
    )]
    Channel,
    /// A number of holders that cannot be listed.
    #[error("limit is a number from 1 to {0}")]
    Count(usize),
    /// Neither a key nor addresses.
    #[error(
        "a block is keys/KEY with a VAPID public key in base64url, or addresses/RANGE with an IP \
         address or a range such as 192.0.2.0/24"
    )]
    Blocked,
    /// Such lines there are none.
    #[error(transparent)]
    Filter(NotAFilter),
    /// Nothing is remembered.
    #[error("the trace is off: set trace.messages to how many messages it is to remember")]
    TraceOff,
    /// Too many streams are open.
    #[error("too many streams of the overview are open: close one, or ask for /admin/v1/overview")]
    Streams,
}

impl AdminError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::OtherUser | Self::ReadOnly | Self::Origin | Self::HostName => {
                StatusCode::FORBIDDEN
            }
            Self::Body(_)
            | Self::Filter(_)
            | Self::Subject
            | Self::Channel
            | Self::Count(_)
            | Self::Blocked => StatusCode::BAD_REQUEST,
            Self::TraceOff => StatusCode::CONFLICT,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Streams => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}
