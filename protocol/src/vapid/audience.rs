//! The `aud` that a VAPID token must contain: the origin of the push service.

use serde_json::Value;

use super::error::{VapidError, excerpt};
use crate::tolerances::Tolerances;

/// The public origin of the push service, as senders write it in `aud`
/// (RFC 8292 §2, V-4 and V-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    ascii: Spelling,
    /// Set if the host is internationalised.
    unicode: Option<Spelling>,
    /// Other origins under which senders reach the push service.
    others: Vec<Spelling>,
}

/// One serialization of the origin (RFC 6454 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spelling {
    origin: String,
    /// The form without the port, if the origin has a port (V-16).
    without_port: Option<String>,
}

/// How the `aud` of a token names the push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceForm {
    /// The whole origin, in ASCII or in Unicode.
    Exact,
    /// The origin without its port, as common libraries write it (V-16).
    WithoutPort,
}

impl Audience {
    /// Creates it from the parts of the public URL in ASCII, an IPv6 address in brackets. Omits the
    /// default port of `http` and `https` (RFC 6454 §6.2).
    pub fn new(scheme: &str, host: &str, port: Option<u16>) -> Self {
        Self {
            ascii: Spelling::new(scheme, host, port),
            unicode: None,
            others: Vec::new(),
        }
    }

    /// Adds the spelling with the host in Unicode, which is accepted as exact too (RFC 6454 §6.1,
    /// V-4).
    #[must_use]
    pub fn or_in_unicode(mut self, scheme: &str, host: &str, port: Option<u16>) -> Self {
        let spelling = Spelling::new(scheme, host, port);
        self.unicode = (spelling != self.ascii).then_some(spelling);
        self
    }

    /// Adds another origin of the push service, which is accepted in the same forms.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.others.push(other.ascii);
        self.others.extend(other.unicode);
        self.others.extend(other.others);
        self
    }

    /// The origin that senders should use: scheme, host, and the port unless it is the default.
    pub fn origin(&self) -> &str {
        &self.ascii.origin
    }

    /// Searches an `aud` for this origin: a string, or an array that contains it (RFC 7519 §4.1.3).
    pub(super) fn find_in(
        &self,
        aud: Option<&Value>,
        tolerances: &Tolerances,
    ) -> Result<AudienceForm, VapidError> {
        let named = match aud {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let names = |form: &str| named.iter().any(|name| name.as_str() == Some(form));
        let first = std::iter::once(&self.ascii).chain(&self.unicode);
        let spellings = || first.clone().chain(&self.others);
        let mut without_port = spellings().filter_map(|s| s.without_port.as_deref());
        if spellings().any(|spelling| names(&spelling.origin)) {
            Ok(AudienceForm::Exact)
        } else if tolerances.aud_without_port && without_port.any(names) {
            Ok(AudienceForm::WithoutPort)
        } else {
            Err(VapidError::Audience {
                expected: self.ascii.origin.clone(),
                got: aud.map_or_else(|| "absent".to_owned(), |aud| excerpt(&aud.to_string())),
            })
        }
    }
}

impl Spelling {
    fn new(scheme: &str, host: &str, port: Option<u16>) -> Self {
        let bare = format!("{scheme}://{host}").to_ascii_lowercase();
        let default = match scheme.to_ascii_lowercase().as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        match port.filter(|_| port != default) {
            Some(port) => Self {
                origin: format!("{bare}:{port}"),
                without_port: Some(bare),
            },
            None => Self {
                origin: bare,
                without_port: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WITHOUT_PORT: Tolerances = Tolerances {
        aud_without_port: true,
        ..Tolerances::NONE
    };

    fn form(aud: &Value) -> Option<AudienceForm> {
        let audience = Audience::new("http", "Push.Example.net", Some(8080));
        audience.find_in(Some(aud), &WITHOUT_PORT).ok()
    }

    #[test]
    fn the_origin_is_its_ascii_serialization() {
        let origin = |scheme, host, port| Spelling::new(scheme, host, port).origin;
        assert_eq!(origin("https", "a.example", Some(443)), "https://a.example");
        assert_eq!(origin("https", "a.example", None), "https://a.example");
        assert_eq!(origin("http", "a.example", Some(80)), "http://a.example");
        assert_eq!(origin("https", "[::1]", Some(80)), "https://[::1]:80");
    }

    #[test]
    fn an_audience_may_lack_its_port_or_be_in_an_array() {
        for aud in [
            json!("http://push.example.net:8080"),
            json!(["x", "http://push.example.net:8080"]),
            json!(["http://push.example.net", "http://push.example.net:8080", 3]),
        ] {
            assert_eq!(form(&aud), Some(AudienceForm::Exact), "{aud}");
        }
        let aud = json!(["http://push.example.net"]);
        assert_eq!(form(&aud), Some(AudienceForm::WithoutPort));
    }

    /// V-4.
    #[test]
    fn an_internationalised_host_has_two_spellings() {
        let audience = Audience::new("https", "xn--bcher-kva.example", Some(8443));
        let audience = audience.or_in_unicode("https", "bücher.example", Some(8443));
        let form = |aud: &str| audience.find_in(Some(&json!(aud)), &WITHOUT_PORT).ok();
        for host in ["bücher.example", "xn--bcher-kva.example"] {
            let exact = form(&format!("https://{host}:8443"));
            assert_eq!(exact, Some(AudienceForm::Exact), "{host}");
            let bare = form(&format!("https://{host}"));
            assert_eq!(bare, Some(AudienceForm::WithoutPort), "{host}");
        }
        assert_eq!(form("https://bucher.example:8443"), None);
        assert_eq!(audience.origin(), "https://xn--bcher-kva.example:8443");
        let plain = Audience::new("https", "a.example", None);
        assert_eq!(
            plain.clone().or_in_unicode("https", "a.example", None),
            plain
        );
    }

    #[test]
    fn a_service_may_have_other_origins() {
        let other = Audience::new("https", "b.example", Some(8443));
        let audience = Audience::new("https", "a.example", None).or(other);
        let form = |aud: &str| audience.find_in(Some(&json!(aud)), &WITHOUT_PORT).ok();
        assert_eq!(form("https://a.example"), Some(AudienceForm::Exact));
        assert_eq!(form("https://b.example:8443"), Some(AudienceForm::Exact));
        assert_eq!(form("https://b.example"), Some(AudienceForm::WithoutPort));
        assert_eq!(form("https://c.example"), None);
        assert_eq!(audience.origin(), "https://a.example");
    }

    /// V-16.
    #[test]
    fn the_exact_origin_can_be_asked_for() {
        let audience = Audience::new("https", "a.example", Some(8443));
        let form = |aud: &str| audience.find_in(Some(&json!(aud)), &Tolerances::NONE).ok();
        assert_eq!(form("https://a.example:8443"), Some(AudienceForm::Exact));
        assert_eq!(form("https://a.example"), None);
    }

    /// 8292-4.2-i4.
    #[test]
    fn other_origins_are_not_the_audience() {
        for aud in [
            json!("http://other.example.net:8080"),
            json!("https://push.example.net:8080"),
            json!("http://push.example.net:8081"),
            json!("http://push.example.net:8080/"),
            json!("http://push.example.net:8080/push/x"),
            json!("http://push.example.net/"),
            json!("push.example.net"),
            json!(""),
            json!("*"),
            json!(8080),
            json!(null),
            json!([]),
            json!([["http://push.example.net:8080"]]),
            json!({ "aud": "http://push.example.net:8080" }),
        ] {
            assert_eq!(form(&aud), None, "{aud}");
        }
    }

    #[test]
    fn the_error_is_short_and_printable() {
        let audience = Audience::new("https", "push.example.net", None);
        let aud = json!(format!("\u{7}\u{1b}[31m{}", "x".repeat(5000)));
        let Err(VapidError::Audience { expected, got }) =
            audience.find_in(Some(&aud), &WITHOUT_PORT)
        else {
            panic!("found in {aud}");
        };
        assert_eq!(expected, "https://push.example.net");
        assert!(got.chars().count() <= 101 && !got.contains(char::is_control));
    }
}
