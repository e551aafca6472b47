//! `[chromium]`: Chromium as a user agent, and lists of origins.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::PublicUrl;
use super::values::{Text, text};

/// `[chromium]`: Chromium as a user agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChromiumConfig {
    /// Whether the service speaks the push protocol of Chromium.
    pub enabled: bool,
    /// The sites that may subscribe.
    #[serde(with = "text")]
    pub origins: Sites,
    /// An additional public listener; `None`: the public listener serves Chromium alone.
    #[serde(with = "text")]
    pub listen: Option<SocketAddr>,
}

/// Origins, separated by spaces or commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<PublicUrl>);

/// The sites whose pages may subscribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sites {
    /// All.
    Any,
    /// Only these.
    Of(Origins),
}

impl Origins {
    /// The origins, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &PublicUrl> {
        self.0.iter()
    }
}

impl FromIterator<PublicUrl> for Origins {
    fn from_iter<I: IntoIterator<Item = PublicUrl>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl Sites {
    /// Whether the site of an origin (RFC 6454 §6.2) may subscribe.
    pub fn admit(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(origins) => origins.iter().any(|it| it.origin() == origin),
        }
    }
}

impl Text for Origins {
    fn expected() -> String {
        "origins, separated by spaces, such as \"https://a.example https://b.example:8443\", or \"\""
            .to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let origins = text.split([' ', ',']).filter(|origin| !origin.is_empty());
        origins.map(|origin| origin.parse().ok()).collect()
    }

    fn print(&self) -> String {
        let origins: Vec<_> = self.iter().map(PublicUrl::origin).collect();
        origins.join(" ")
    }
}

impl Text for Sites {
    fn expected() -> String {
        format!("\"*\" for all sites, or {}", Origins::expected())
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "*" => Some(Self::Any),
            origins => Origins::parse(origins).map(Self::Of),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Of(origins) => origins.print(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_all_or_those_of_a_list() {
        let of = |text: &str| Sites::parse(text);
        let admits = |text: &str, origin: &str| of(text).is_some_and(|sites| sites.admit(origin));
        assert!(admits("*", "https://a.example"));
        assert!(!admits("", "https://a.example"));
        let list = "https://A.example/, http://localhost:8000 https://b.example:443";
        for (origin, is_in) in [
            ("https://a.example", true),
            ("http://a.example", false),
            ("http://localhost:8000", true),
            ("https://b.example", true),
            ("https://c.example", false),
        ] {
            assert_eq!(admits(list, origin), is_in, "{origin}");
        }
        for text in [
            "a.example",
            "https://a.example/path",
            "https://*.example/x",
            "* *",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        let printed = of(list).map(|sites| sites.print());
        let expected = "https://a.example http://localhost:8000 https://b.example";
        assert_eq!(printed.as_deref(), Some(expected));
    }
}
