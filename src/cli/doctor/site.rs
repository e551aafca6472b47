//! The service to check.

use std::net::IpAddr;

use url::{Host, Url};

use crate::cli::Failure;
use crate::config::{Config, PublicUrl};

/// A service, by its public URL.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The URL for user agents, with its secrets; `ws` or `wss`.
    pub(super) websocket: Url,
    /// The origin of that URL, without secrets.
    pub(super) origin: PublicUrl,
    /// Whether the origin is a guess: the loopback address, because the service listens at all
    /// addresses and nothing tells its public one.
    pub(super) is_guessed: bool,
}

impl Site {
    /// The service with this URL for user agents.
    ///
    /// # Errors
    /// If it is not an `https`, `wss`, `http` or `ws` URL.
    pub(super) fn of_url(url: &Url) -> Result<Self, Failure> {
        let (http, websocket) = match url.scheme() {
            "https" | "wss" => ("https", "wss"),
            "http" | "ws" => ("http", "ws"),
            _ => return Err("its scheme is none of https, wss, http, ws".into()),
        };
        let in_scheme = |scheme: &str| {
            let mut url = url.clone();
            url.set_fragment(None);
            let changed = url.set_scheme(scheme);
            changed.map(|()| url).map_err(|()| "it is no URL of a host")
        };
        let origin = in_scheme(http)?.origin().ascii_serialization();
        Ok(Self {
            websocket: in_scheme(websocket)?,
            origin: origin.parse()?,
            is_guessed: false,
        })
    }

    /// The service of a configuration, with the secrets that it requires from user agents.
    ///
    /// # Errors
    /// If the port of the listener is unknown.
    pub(super) fn of_config(config: &Config) -> Result<Self, Failure> {
        let listen = config.server.listen;
        if config.server.public_url.is_none() && listen.port() == 0 {
            return Err(
                "server.listen has port 0, which is another one at each start: name the URL, or \
                 set server.public_url"
                    .into(),
            );
        }
        let origin = config.public_url(listen);
        let mut websocket = Url::parse(&origin.websocket_url())?;
        let admission = &config.admission;
        if let Some(path) = &admission.path {
            websocket.set_path(path.reveal());
        }
        if let Some(token) = &admission.token {
            websocket
                .query_pairs_mut()
                .append_pair("token", token.reveal());
        }
        if let Some((user, password)) = admission
            .basic
            .as_ref()
            .and_then(|basic| basic.reveal().split_once(':'))
        {
            // A URL with an origin has a host, so this cannot fail.
            let _ = websocket.set_username(user);
            let _ = websocket.set_password(Some(password));
        }
        Ok(Self {
            websocket,
            origin,
            is_guessed: config.server.public_url.is_none() && listen.ip().is_unspecified(),
        })
    }

    /// The host for name resolution, without the brackets of IPv6.
    pub(super) fn host(&self) -> &str {
        let host = self.websocket.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; every URL of these schemes has one.
    pub(super) fn port(&self) -> u16 {
        self.websocket.port_or_known_default().unwrap_or_default()
    }

    /// Whether it is reachable only from this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.websocket)
    }
}

/// Whether a URL points to this machine only.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn any_scheme_names_the_service_and_secrets_stay_out_of_the_origin() {
        for given in [
            "wss://u:p@a.test/s?token=t#f",
            "https://u:p@a.test/s?token=t",
        ] {
            let site = Site::of_url(&given.parse().unwrap()).unwrap();
            assert_eq!(site.websocket.as_str(), "wss://u:p@a.test/s?token=t");
            assert_eq!(site.origin.origin(), "https://a.test");
            assert_eq!((site.host(), site.port()), ("a.test", 443));
        }
        let site = Site::of_url(&"ws://[::1]:8080".parse().unwrap()).unwrap();
        assert_eq!((site.host(), site.port()), ("::1", 8080));
        assert!(site.is_loopback());
        for wrong in ["ftp://a.test/", "mailto:a@a.test"] {
            assert!(Site::of_url(&wrong.parse().unwrap()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_url_contains_the_secrets_of_the_configuration() {
        let settings = [
            ("BUGLE_SERVER__PUBLIC_URL", "https://a.test"),
            ("BUGLE_ADMISSION__PATH", "0123456789abcdef"),
            ("BUGLE_ADMISSION__TOKEN", "fedcba9876543210"),
            ("BUGLE_ADMISSION__BASIC", "user:p@ss/word"),
        ];
        let settings = settings.map(|(name, value)| (name.into(), value.into()));
        let config = Config::load(None, settings, &[]).unwrap();
        let site = Site::of_config(&config).unwrap();
        assert_eq!(
            site.websocket.as_str(),
            "wss://user:p%40ss%2Fword@a.test/0123456789abcdef?token=fedcba9876543210"
        );
        assert_eq!(site.origin.origin(), "https://a.test");
        assert!(!site.is_guessed);
        let mut anywhere = Config::default();
        anywhere.server.listen = "0.0.0.0:8080".parse().unwrap();
        let site = Site::of_config(&anywhere).unwrap();
        assert_eq!(
            (site.origin.origin(), site.is_guessed),
            ("http://127.0.0.1:8080", true)
        );
        let mut nowhere = Config::default();
        nowhere.server.listen.set_port(0);
        assert!(Site::of_config(&nowhere).is_err());
    }
}
