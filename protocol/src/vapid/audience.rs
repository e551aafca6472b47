//! The `aud` that a VAPID token must hold: the origin of the push service.

use serde_json::Value;

use super::error::{VapidError, excerpt};

/// The public origin of the push service, as senders write it in `aud`
/// (RFC 8292 §2, V-4 and V-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    origin: String,
    /// The form without the port, where the origin has one (V-16).
    without_port: Option<String>,
}

/// How an `aud` names the push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudienceForm {
    /// The whole origin.
    Exact,
    /// The origin without its port, as common libraries write it (V-16).
    WithoutPort,
}

impl Audience {
    /// From the parts of the public URL, in their ASCII form; an IPv6 address
    /// in brackets. The default port of `http` and `https` is left out
    /// (RFC 6454 §6.2).
    pub fn new(scheme: &str, host: &str, port: Option<u16>) -> Self {
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

    /// The origin that senders are to write: scheme, host, and port if it is
    /// not the default one.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Looks for this origin in an `aud`: a string, or an array with it
    /// (RFC 7519 §4.1.3).
    pub(super) fn find_in(&self, aud: Option<&Value>) -> Result<AudienceForm, VapidError> {
        let named = match aud {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let names = |form: &str| named.iter().any(|name| name.as_str() == Some(form));
        if names(&self.origin) {
            Ok(AudienceForm::Exact)
        } else if self.without_port.as_deref().is_some_and(names) {
            Ok(AudienceForm::WithoutPort)
        } else {
            Err(VapidError::Audience {
                expected: self.origin.clone(),
                got: aud.map_or_else(|| "absent".to_owned(), |aud| excerpt(&aud.to_string())),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form(aud: &Value) -> Option<AudienceForm> {
        let audience = Audience::new("http", "Push.Example.net", Some(8080));
        audience.find_in(Some(aud)).ok()
    }

    #[test]
    fn the_origin_is_its_ascii_serialization() {
        let origin = |scheme, host, port| Audience::new(scheme, host, port).origin;
        assert_eq!(origin("https", "a.example", Some(443)), "https://a.example");
        assert_eq!(origin("https", "a.example", None), "https://a.example");
        assert_eq!(origin("http", "a.example", Some(80)), "http://a.example");
        assert_eq!(origin("https", "[::1]", Some(80)), "https://[::1]:80");
    }

    #[test]
    fn exact_without_port_and_arrays() {
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

    /// 8292-4.2-i4.
    #[test]
    fn everything_else_is_another_audience() {
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
        let Err(VapidError::Audience { expected, got }) = audience.find_in(Some(&aud)) else {
            panic!("found in {aud}");
        };
        assert_eq!(expected, "https://push.example.net");
        assert!(got.chars().count() <= 101 && !got.contains(char::is_control));
    }
}
