//! The `Prefer` header field (RFC 7240), as far as Web Push uses it.

use http::HeaderMap;
use http::header::HeaderName;

/// `Prefer`.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");

/// `Preference-Applied` (RFC 7240 §3).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a request prefers. What is not known here is ignored, and so is what
/// cannot be read: a preference is never an error (RFC 7240 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `respond-async`: a receipt is wanted (RFC 8030 §5.1).
    pub respond_async: bool,
    /// `wait=0`: what is there now, and no more (RFC 8030 §6).
    pub wait_none: bool,
}

impl Prefer {
    /// Reads all fields; of a preference that stands twice, the first counts.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let mut wait = None;
        for field in headers.get_all(PREFER) {
            for preference in unquoted(field.to_str().unwrap_or_default(), ',') {
                let preference = unquoted(preference, ';').next().unwrap_or_default().trim();
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "respond-async" => prefer.respond_async = true,
                    "wait" => {
                        wait.get_or_insert(value.trim().trim_matches('"').parse::<u64>());
                    }
                    _ => {}
                }
            }
        }
        prefer.wait_none = wait == Some(Ok(0));
        prefer
    }
}

/// The parts between separators that stand in no quoted-string.
fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_end = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        is_end
    })
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
