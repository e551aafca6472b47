//! The `Accept` header field (RFC 9110 §12.5.1), checked for one media type.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::params::{self, WHITE_SPACE, unquoted};

/// Whether a request names `media_type` itself as acceptable. A range such as `*/*` does not name
/// it, and `q=0` means not acceptable (RFC 9110 §12.4.2). A malformed field names nothing.
pub fn names(headers: &HeaderMap, media_type: &str) -> bool {
    headers.get_all(ACCEPT).iter().any(|field| {
        let text = String::from_utf8_lossy(field.as_bytes());
        unquoted(&text, ',').any(|range| {
            let mut parts = unquoted(range, ';').map(|part| part.trim_matches(WHITE_SPACE));
            let name = parts.next().unwrap_or_default();
            name.eq_ignore_ascii_case(media_type) && !parts.any(is_refusal)
        })
    })
}

/// Whether a parameter is a weight of 0.
fn is_refusal(parameter: &str) -> bool {
    let Some(parameter) = params::first(parameter) else {
        return false;
    };
    let is_weight = parameter.name.eq_ignore_ascii_case("q");
    let weight = parameter.value.map(|value| value.text).unwrap_or_default();
    is_weight && weight.starts_with('0') && weight.bytes().all(|octet| b"0.".contains(&octet))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn accept_names_or_refuses_a_type() {
        let named = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(ACCEPT, field.parse().unwrap());
            }
            names(&headers, "text/event-stream")
        };
        for fields in [
            &["text/event-stream"][..],
            &["Text/Event-Stream; charset=utf-8"],
            &["*/*;q=0.1, text/event-stream;q=0.001"],
            &["text/html", "text/event-stream"],
            &["a/b;x=\",\" , text/event-stream"],
        ] {
            assert!(named(fields), "{fields:?}");
        }
        for fields in [
            &[][..],
            &["*/*"],
            &["text/*"],
            &["text/event-stream;q=0"],
            &["text/event-stream ; Q=0.000"],
            &["text/event-streams"],
            &["a/b;x=\", text/event-stream\""],
        ] {
            assert!(!named(fields), "{fields:?}");
        }
    }
}
