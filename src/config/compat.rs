//! `[compat]`: what is accepted from senders beyond the standards.

use bugle_protocol::Ttl;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::values::text;

/// `[compat]`: which deviations from the standards are accepted, and how removed subscriptions are
/// answered. The values that apply are [`in_effect`](Self::in_effect).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatConfig {
    /// Whether the switches apply.
    pub profile: Profile,
    /// The status for the endpoint of a removed subscription.
    pub gone_status: GoneStatus,
    /// Whether the `aud` of a VAPID token may lack the port (V-16).
    pub aud_without_port: bool,
    /// Whether VAPID is accepted in the forms of its drafts (VLEG-a).
    pub legacy_vapid: bool,
    /// Whether VAPID may deviate from its grammar (RFC 9110 §11.4).
    pub loose_vapid: bool,
    /// The TTL of a push without one, up to 24855 days; `None` rejects the push (RFC 8030 §5.2).
    #[serde(with = "text")]
    pub missing_ttl: Option<Ttl>,
    /// Whether bodies in the coding of the draft before RFC 8291 are accepted.
    pub aesgcm: bool,
    /// Whether aes128gcm bodies are accepted if the record size does not fit the record (E-2).
    pub wrong_record_size: bool,
    /// Whether unencrypted bodies are accepted, with any content coding (RFC 8291 requires
    /// encryption).
    pub allow_unencrypted: bool,
}

impl CompatConfig {
    /// The values that apply: the strict profile overrides every switch.
    #[must_use]
    pub fn in_effect(&self) -> Self {
        match self.profile {
            Profile::Lenient => self.clone(),
            Profile::Strict => Self {
                profile: Profile::Strict,
                gone_status: GoneStatus::NotFound,
                aud_without_port: false,
                legacy_vapid: false,
                loose_vapid: false,
                missing_ttl: None,
                aesgcm: false,
                wrong_record_size: false,
                allow_unencrypted: false,
            },
        }
    }
}

/// Whether senders may deviate from the standards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As each switch allows.
    Lenient,
    /// Never, whatever the switches say.
    Strict,
}

/// The status for the endpoint of a removed subscription (RFC 8030 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum GoneStatus {
    /// 410
    Gone,
    /// 404
    NotFound,
}

impl GoneStatus {
    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Gone => StatusCode::GONE,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

impl From<GoneStatus> for u16 {
    fn from(status: GoneStatus) -> Self {
        status.status().as_u16()
    }
}

impl TryFrom<u16> for GoneStatus {
    type Error = &'static str;

    fn try_from(status: u16) -> Result<Self, Self::Error> {
        match status {
            410 => Ok(Self::Gone),
            404 => Ok(Self::NotFound),
            _ => Err("the status is 410 or 404"),
        }
    }
}
