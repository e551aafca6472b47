//! Reads X.509 certificates.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bugle_protocol::UnixTime;
use humantime::format_rfc3339_seconds;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The fields of a certificate that messages to people show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The host names and addresses for which it is valid.
    pub names: Vec<String>,
    /// The start of its validity.
    pub not_before: UnixTime,
    /// The end of its validity.
    pub not_after: UnixTime,
    /// The issuer's common name, or its whole name if it has no common name.
    pub issuer: String,
    /// Whether issuer and subject are the same.
    pub is_self_issued: bool,
    /// Whether it is a CA certificate.
    pub is_authority: bool,
}

impl Certificate {
    /// Parses a certificate in DER; `None` if it is malformed.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
        let validity = certificate.validity();
        let issuer = certificate.issuer();
        let common_name = issuer
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        Some(Self {
            names: names.unwrap_or_default(),
            not_before: unix_time(validity.not_before.timestamp()),
            not_after: unix_time(validity.not_after.timestamp()),
            issuer: common_name.map_or_else(|| issuer.to_string(), str::to_owned),
            is_self_issued: issuer == certificate.subject(),
            is_authority: certificate.is_ca(),
        })
    }
}

fn unix_time(secs: i64) -> UnixTime {
    UnixTime::from_secs(u64::try_from(secs).unwrap_or(0))
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(*octets).ok()?).to_string()),
            _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string()),
        },
        _ => None,
    }
}

/// A date such as `2026-01-31`.
pub fn day(time: UnixTime) -> String {
    moment(time).chars().take(10).collect()
}

/// A time such as `2026-01-31T12:00:00Z`.
pub fn moment(time: UnixTime) -> String {
    /// The end of the year 9999, the last that RFC 3339 can express.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let time = UnixTime::from_secs(time.as_secs().min(LAST.as_secs()));
    format_rfc3339_seconds(time.into()).to_string()
}
