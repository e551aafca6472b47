//! `[admission]`: restricts which user agents may connect. Its secrets are never shown.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::values::{Text, text};

/// `[admission]`: what a user agent must present to connect. All that is set is required; nothing
/// by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// The first segment of the path of the WebSocket and of `/subscribe`.
    #[serde(with = "text")]
    pub path: Option<Secret<UrlText>>,
    /// The value of the query parameter `token`.
    #[serde(with = "text")]
    pub token: Option<Secret<UrlText>>,
    /// `user:password` for HTTP Basic.
    #[serde(with = "text")]
    pub basic: Option<Secret<Credentials>>,
    /// The addresses that user agents may connect from.
    #[serde(with = "text")]
    pub addresses: Networks,
}

impl AdmissionConfig {
    /// Whether a user agent needs to know a secret.
    pub fn has_secret(&self) -> bool {
        self.path.is_some() || self.token.is_some() || self.basic.is_some()
    }

    /// A copy with a placeholder for each secret, for display.
    #[must_use]
    pub fn concealed(&self) -> Self {
        Self {
            path: self.path.as_ref().map(Secret::concealed),
            token: self.token.as_ref().map(Secret::concealed),
            basic: self.basic.as_ref().map(Secret::concealed),
            addresses: self.addresses.clone(),
        }
    }
}

/// A secret of the form `F`. `Debug` hides it; serialising the configuration reveals it, so that
/// the result reads back as the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<F> {
    text: String,
    form: std::marker::PhantomData<F>,
}

/// The format of a secret.
pub trait Form {
    /// A description for error messages.
    const EXPECTED: &str;

    /// Whether `text` has this format.
    fn fits(text: &str) -> bool;
}

/// A text of unreserved URL characters (RFC 3986 §2.3), long enough to resist guessing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlText;

/// A user and a password (RFC 7617 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials;

impl Form for UrlText {
    const EXPECTED: &str = "16 to 128 of A-Z a-z 0-9 - . _ ~, such as `openssl rand -hex 16` makes";

    fn fits(text: &str) -> bool {
        (16..=128).contains(&text.len())
            && text
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet))
    }
}

impl Form for Credentials {
    const EXPECTED: &str = "\"user:password\", neither of them empty, at most 128 octets";

    fn fits(text: &str) -> bool {
        let both = text.split_once(':');
        let both = both.is_some_and(|(user, password)| !user.is_empty() && !password.is_empty());
        both && text.len() <= 128 && !text.contains(char::is_control)
    }
}

impl<F> Secret<F> {
    /// Returns the secret, only for comparisons.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    fn concealed(&self) -> Self {
        Self {
            text: "(set, and not shown)".to_owned(),
            form: self.form,
        }
    }
}

impl<F> fmt::Debug for Secret<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<F: Form> Text for Secret<F> {
    const IS_SECRET: bool = true;

    fn expected() -> String {
        F::EXPECTED.to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        F::fits(text).then(|| Self {
            text: text.to_owned(),
            form: std::marker::PhantomData,
        })
    }

    fn print(&self) -> String {
        self.text.clone()
    }
}

/// Address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` is in a range. An empty list admits all addresses.
    pub fn admit(&self, address: IpAddr) -> bool {
        self.is_empty() || self.contain(address)
    }

    /// Whether `address` is in a range.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are no ranges.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Text for Networks {
    fn expected() -> String {
        "address ranges, such as \"10.0.0.0/8, fd00::/8, 192.0.2.7\", or \"\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let networks = text.split(',').map(|network| {
            let network = network.trim();
            let whole = || network.parse().ok().map(|address: IpAddr| address.into());
            network.parse().ok().or_else(whole)
        });
        networks.collect::<Option<_>>().map(Self)
    }

    fn print(&self) -> String {
        let networks: Vec<_> = self.0.iter().map(IpNet::to_string).collect();
        networks.join(", ")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::super::{Config, Setting};
    use super::*;

    fn load(key: &str, value: &str) -> Result<AdmissionConfig, String> {
        let setting = Setting {
            name: "--it".to_owned(),
            section: "admission".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let loaded = Config::load(None, [], &[setting]);
        loaded
            .map(|config| config.admission)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_user_agent_is_admitted_by_default() {
        let admission = Config::default().admission;
        assert!(!admission.has_secret());
        assert!(admission.addresses.admit([192, 0, 2, 1].into()));
    }

    #[test]
    fn secrets_are_shown_neither_in_debug_nor_when_they_are_refused() {
        for (key, good, bad) in [
            ("path", "0123456789abcdef", "0123456789abcde"),
            ("token", "0123456789abcdef", "0123456789abcdef/"),
            ("basic", "me:secret", "mesecret"),
        ] {
            let admission = load(key, good).unwrap();
            assert!(admission.has_secret());
            assert!(!format!("{admission:?}").contains(good));
            let shown = toml::to_string(&admission.concealed()).unwrap();
            assert!(shown.contains("not shown") && !shown.contains(good));
            let error = load(key, bad).unwrap_err();
            assert!(
                error.starts_with("--it: ") && !error.contains(bad),
                "{error}"
            );
        }
    }

    #[test]
    fn a_refused_secret_in_a_file_is_not_shown_either() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bugle.toml");
        for (key, position) in [("token", ":2:9: "), ("tokn", ":2:1: ")] {
            std::fs::write(&file, format!("[admission]\n{key} = \"too-short\"\n")).unwrap();
            let error = Config::load(Some(&file), [], &[]).unwrap_err().to_string();
            assert!(
                error.contains(position) && !error.contains("too-short"),
                "{error}"
            );
        }
    }

    #[test]
    fn addresses_are_ranges_or_single_ones() {
        let addresses = load("addresses", "10.0.0.0/8, fd00::/8,192.0.2.7")
            .unwrap()
            .addresses;
        for (address, is_in) in [
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("fd12::1", true),
            ("2001:db8::1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(
                addresses.admit(address.parse().unwrap()),
                is_in,
                "{address}"
            );
        }
        assert_eq!(addresses.print(), "10.0.0.0/8, fd00::/8, 192.0.2.7/32");
        assert!(load("addresses", "10.0.0.0/33").is_err());
    }
}
