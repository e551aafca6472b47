//! Certificate checks: names, issuer and validity.

use std::time::Duration;

use bugle_client::certificate::{Certificate, day, moment};
use bugle_client::{ClientError, Dialer, Greeting};
use bugle_protocol::UnixTime;
use rustls::CertificateError;

use super::network::{Trouble, within};
use super::report::{Finding, Outcome};
use super::site::Site;
use crate::time::Clock;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long before its expiry a certificate should be renewed; for a short-lived one, the last
/// third of its validity.
const RENEW: Duration = DAY.saturating_mul(14);

/// Checks the TLS certificate, or reports plain HTTP.
pub(super) async fn check(site: &Site, dialer: &Dialer, limit: Duration) -> Outcome<()> {
    if !site.origin.is_tls() {
        let finding = match site.is_loopback() {
            true => Finding::ok("none: plain HTTP, which is enough on one machine"),
            false => Finding::warn(
                "none: what travels is plain HTTP, and Firefox takes wss:// alone",
                "set tls.cert_file and tls.key_file, or let a proxy do TLS (docs/proxies.md), and \
                 begin server.public_url with https://",
            ),
        };
        return Ok((finding, ()));
    }
    let greeting = within(limit, dialer.greet(&site.websocket)).await;
    let greeting = greeting.map_err(|trouble| no_tls(site, &trouble))?;
    let now = Clock::system().now();
    match greeting {
        Greeting {
            objection: Some(objection),
            chain,
            ..
        } => Err(objected(site, &objection, &chain, now)),
        Greeting {
            outcome: Err(error),
            ..
        } => Err(no_tls(site, &Trouble::Client(error))),
        Greeting { chain, .. } => Ok((good(&chain, now), ())),
    }
}

fn good(chain: &[Certificate], now: UnixTime) -> Finding {
    let Some(own) = chain.first() else {
        return Finding::ok("it is trusted, and says nothing else that can be read");
    };
    // The chain expires with the first of its certificates.
    let ends = chain
        .iter()
        .map(|one| one.not_after)
        .min()
        .unwrap_or(own.not_after);
    let left = ends.since(now);
    let lifetime = own.not_after.since(own.not_before);
    let days = left.as_secs() / DAY.as_secs();
    let text = format!(
        "for {}, by {}, until {} ({days} days), a chain of {}",
        own.names.join(", "),
        own.issuer,
        day(ends),
        chain.len()
    );
    let finding = match left < RENEW.min(lifetime / 3) {
        true => Finding::warn(text, format!("renew it soon: {}", renewal(own))),
        false => Finding::ok(text),
    };
    finding
        .with("names", own.names.clone())
        .with("expires_in_days", days)
        .with("chain", chain.len())
}

/// How to renew the certificate.
fn renewal(own: &Certificate) -> &'static str {
    match own.issuer.as_str() {
        "Bugle private authority" => {
            "run `bugle tls init` again in its folder; a running service takes the new one by itself"
        }
        _ => {
            "by whatever obtained it (certbot renew); the service takes new files by itself, a \
             proxy must be reloaded"
        }
    }
}

fn objected(
    site: &Site,
    objection: &CertificateError,
    chain: &[Certificate],
    now: UnixTime,
) -> Finding {
    let host = site.host();
    let own = chain.first();
    match objection {
        CertificateError::ExpiredContext { not_after, .. } => {
            let ended = UnixTime::from_secs(not_after.as_secs());
            let ago = now.since(ended).as_secs() / DAY.as_secs();
            let renewal = own.map_or("get a new one", renewal);
            Finding::fail(
                format!("it has expired on {}, {ago} days ago", day(ended)),
                format!("renew it: {renewal}"),
            )
        }
        CertificateError::NotValidYetContext { not_before, .. } => Finding::fail(
            format!(
                "it is valid from {} on, and here it is {}",
                moment(UnixTime::from_secs(not_before.as_secs())),
                moment(now)
            ),
            "set the clock of this machine (timedatectl set-ntp true), or of the one that made \
             the certificate, and make it again",
        ),
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            let names = own.map(|own| own.names.join(", ")).unwrap_or_default();
            let names = if names.is_empty() { "no name" } else { &names };
            Finding::fail(
                format!("it is for {names}, not for {host}"),
                format!(
                    "get one that names {host} (`bugle tls init --host {host}`, or certbot), or \
                     use one of its names in server.public_url"
                ),
            )
        }
        CertificateError::UnknownIssuer => unknown_issuer(chain),
        _ if own.is_some_and(|own| own.is_authority) => Finding::fail(
            "it is an authority's, not a service's, as `openssl req -x509` makes them",
            "make a certificate for the service: `bugle tls init --host NAME`",
        ),
        other => Finding::fail(
            format!("it is not trusted: {other}"),
            "get another one, or let `bugle tls init` make it",
        ),
    }
}

fn unknown_issuer(chain: &[Certificate]) -> Finding {
    match chain {
        [own] if own.is_self_issued => Finding::fail(
            "it is signed by itself, so nobody trusts it",
            "get one from an authority, or make a private one: `bugle tls init --host NAME`, and \
             --ca ca.pem here",
        ),
        [own] => Finding::fail(
            format!(
                "nobody here knows {:?}, who made it, and no other comes with it",
                own.issuer
            ),
            "serve the whole chain (tls.cert_file or the proxy needs fullchain.pem, not cert.pem); \
             of a private authority, name its certificate: --ca ca.pem",
        ),
        [.., last] => Finding::fail(
            format!(
                "nobody here knows {:?}, at the end of its chain",
                last.issuer
            ),
            "of a private authority, name its certificate: --ca ca.pem",
        ),
        [] => Finding::fail(
            "it cannot be read",
            "get another one, or let `bugle tls init` make it",
        ),
    }
}

/// Explains why TLS failed.
fn no_tls(site: &Site, trouble: &Trouble) -> Finding {
    let tls = match trouble {
        Trouble::Client(ClientError::Connect { error, .. }) => error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => Finding::fail(
            format!("port {} speaks no TLS, perhaps plain HTTP", site.port()),
            "set tls.cert_file and tls.key_file, or forward to the service from a proxy that does \
             TLS; or begin server.public_url with http://",
        ),
        Some(rustls::Error::AlertReceived(alert)) => Finding::fail(
            format!("the other side gives TLS up ({alert:?})"),
            format!(
                "it has no certificate for {}, or only outdated versions of TLS: see its log",
                site.host()
            ),
        ),
        _ => Finding::fail(
            format!("TLS does not begin: {trouble}"),
            "see the log of what does TLS there: the service, or the proxy before it",
        ),
    }
}
