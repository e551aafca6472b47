//! The `Prefer` header field (RFC 7240), to the extent that Web Push uses it.

use http::HeaderMap;
use http::header::HeaderName;

use crate::params::{self, First, WHITE_SPACE, unquoted};

/// `Prefer`.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// `Preference-Applied` (RFC 7240 §3).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preferences of a request. Unknown and malformed ones are ignored: a preference is never an
/// error (RFC 7240 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `respond-async`: the sender requests a receipt (RFC 8030 §5.1).
    pub respond_async: bool,
    /// `wait=0`: send only what is available now (RFC 8030 §6).
    pub wait_none: bool,
}

impl Prefer {
    /// Parses all fields; of a repeated preference, the first counts.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let mut wait = None;
        for field in headers.get_all(PREFER) {
            let text = String::from_utf8_lossy(field.as_bytes());
            for preference in unquoted(&text, ',').filter_map(preference) {
                match preference.name.to_ascii_lowercase().as_str() {
                    "respond-async" => prefer.respond_async = true,
                    "wait" => {
                        wait.get_or_insert(preference.value);
                    }
                    _ => {}
                }
            }
        }
        prefer.wait_none = wait.flatten().is_some_and(|wait| is_zero(&wait.text));
        prefer
    }
}

/// Parses a preference without its parameters. Returns `None` if it is malformed.
fn preference(element: &str) -> Option<First<'_>> {
    let preference = unquoted(element, ';').next()?;
    let preference = params::first(preference.trim_matches(WHITE_SPACE))?;
    preference.rest.is_empty().then_some(preference)
}

/// Whether `delta-seconds = 1*DIGIT` (RFC 9111 §1.2.2) is 0.
fn is_zero(seconds: &str) -> bool {
    !seconds.is_empty() && seconds.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn parse(fields: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(PREFER, field.parse().unwrap());
        }
        let prefer = Prefer::parse(&headers);
        (prefer.respond_async, prefer.wait_none)
    }

    #[test]
    fn preferences_are_found_among_others() {
        assert_eq!(parse(&[]), (false, false));
        assert_eq!(parse(&["respond-async"]), (true, false));
        assert_eq!(
            parse(&["a=b; c, Wait = 0 ;x", "Respond-Async"]),
            (true, true)
        );
        assert_eq!(parse(&["wait=\"0\""]), (false, true));
        assert_eq!(parse(&["wait=10, wait=0"]), (false, false));
        assert_eq!(
            parse(&["x=\"a, wait=0\"; y=\"\\\", respond-async\""]),
            (false, false)
        );
        assert_eq!(parse(&["x=\"a;b\", wait=0"]), (false, true));
        assert_eq!(parse(&["wait", "respond", "é"]), (false, false));
    }
}
