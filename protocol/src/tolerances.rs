//! How far a push service lets application servers stray from the standards.

use crate::headers::Ttl;

/// What is taken of application servers though a standard does not give it.
/// Whatever reads a request is told. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerances {
    /// `aud` without the port of the origin (V-16; RFC 8292 §2 asks for the
    /// origin).
    pub aud_without_port: bool,
    /// `Authorization: WebPush <JWT>` and `Bearer <JWT>` with the key in
    /// `Crypto-Key` (VLEG-a). Not taken, they are schemes like any other (V-3).
    pub legacy_vapid: bool,
    /// VAPID written beside its grammar: `;` for `,` between the parameters of
    /// `Authorization: vapid`, values that are no tokens, a tab after the scheme
    /// (RFC 9110 §11.4); padding at the end of a key (RFC 8292 §3.2); `null` for
    /// a key in the options of a subscription (RFC 8292 §4.1).
    pub loose_vapid: bool,
    /// The TTL of a push that has none; `None` refuses it (RFC 8030 §5.2).
    pub missing_ttl: Option<Ttl>,
    /// The content coding `aesgcm`, which RFC 8291 replaced.
    pub aesgcm: bool,
    /// A record size that does not fit the record (E-2; RFC 8291 §4).
    pub wrong_record_size: bool,
    /// A body without encryption, whatever coding it names (E-1; RFC 8291 asks
    /// for encryption).
    pub unencrypted: bool,
}

impl Tolerances {
    /// The standards, and no more.
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
