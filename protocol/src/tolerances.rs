//! Which deviations from the standards a push service accepts from application servers.

use crate::headers::Ttl;

/// Deviations from the standards that are accepted from application servers. Every parser of
/// requests takes it as an argument. The default accepts none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerances {
    /// `aud` without the port of the origin (V-16); RFC 8292 §2 requires the origin.
    pub aud_without_port: bool,
    /// `Authorization: WebPush <JWT>` and `Bearer <JWT>` with the key in `Crypto-Key` (VLEG-a).
    /// Otherwise they are treated like any other scheme (V-3).
    pub legacy_vapid: bool,
    /// VAPID that deviates from its grammar: `;` for `,` between the parameters of `Authorization:
    /// vapid`, values that are not tokens, a tab after the scheme (RFC 9110 §11.4); padding at the
    /// end of a key (RFC 8292 §3.2); `null` for a key in the options of a subscription (RFC 8292
    /// §4.1).
    pub loose_vapid: bool,
    /// The TTL of a push without one; `None` rejects the push (RFC 8030 §5.2).
    pub missing_ttl: Option<Ttl>,
    /// The content coding `aesgcm`, which RFC 8291 replaced.
    pub aesgcm: bool,
    /// A record size that does not fit the record (E-2; RFC 8291 §4).
    pub wrong_record_size: bool,
    /// An unencrypted body, with any coding (E-1); RFC 8291 requires encryption.
    pub unencrypted: bool,
}

impl Tolerances {
    /// No deviations.
    pub const NONE: Self = Self {
        aud_without_port: false,
        legacy_vapid: false,
        loose_vapid: false,
        missing_ttl: None,
        aesgcm: false,
        wrong_record_size: false,
        unencrypted: false,
    };
}
