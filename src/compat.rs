//! What is tolerated of application servers, as `[compat]` resolves to it.

use bugle_protocol::Tolerances;
use http::StatusCode;

use crate::config::CompatConfig;

/// The answers in force: those of the switches, or those of the strict profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat {
    /// What is taken though a standard does not give it.
    pub tolerances: Tolerances,
    /// The status for the endpoint of a removed subscription.
    pub gone_status: StatusCode,
}

impl Compat {
    /// From the section, its profile applied.
    pub fn new(section: &CompatConfig) -> Self {
        let section = section.in_effect();
        Self {
            tolerances: Tolerances {
                aud_without_port: section.aud_without_port,
                legacy_vapid: section.legacy_vapid,
                missing_ttl: section.missing_ttl,
                aesgcm: section.aesgcm,
                wrong_record_size: section.wrong_record_size,
                unencrypted: section.allow_unencrypted,
            },
            gone_status: section.gone_status.status(),
        }
    }
}
