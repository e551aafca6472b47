//! The `Link` header field (RFC 8288 §3), to the extent that Web Push uses it.

use http::HeaderMap;
use http::header::LINK;

/// The push resource of a subscription (RFC 8030 §4).
pub const PUSH: &str = "urn:ietf:params:push";
/// The set that a subscription belongs to (RFC 8030 §4.1).
pub const SET: &str = "urn:ietf:params:push:set";
/// The receipt subscription of a message (RFC 8030 §5.1).
pub const RECEIPT: &str = "urn:ietf:params:push:receipt";

/// Why a `Link` field is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It does not follow RFC 8288.
    #[error("a Link header cannot be read: send <URL>; rel=\"relation\" (RFC 8288)")]
    Malformed,
    /// More than one link has the relation.
    #[error("more than one Link header with rel=\"{0}\"")]
    Repeated(&'static str),
}

/// Formats a link.
pub fn print(url: &str, relation: &str) -> String {
    format!("<{url}>; rel=\"{relation}\"")
}

/// The target of the link with this relation.
///
/// # Errors
/// If a field is malformed, or several links have this relation.
pub fn find(headers: &HeaderMap, relation: &'static str) -> Result<Option<String>, LinkError> {
    let mut found = None;
    for field in headers.get_all(LINK) {
        // A quoted-string may contain bytes that are not ASCII.
        let text = String::from_utf8_lossy(field.as_bytes());
        let mut rest = &*text;
        while let Some((target, relations, after)) = next(rest)? {
            let is_it = |name: &str| name.eq_ignore_ascii_case(relation);
            if relations.split(' ').any(is_it) && found.replace(target.to_owned()).is_some() {
                return Err(LinkError::Repeated(relation));
            }
            rest = after;
        }
    }
    Ok(found)
}

/// Splits the first link off a list. Returns its target, the value of its first `rel` parameter,
/// and the rest of the list.
fn next(text: &str) -> Result<Option<(&str, String, &str)>, LinkError> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    if text.is_empty() {
        return Ok(None);
    }
    let target = text.strip_prefix('<').and_then(|text| text.split_once('>'));
    let (target, mut rest) = target.ok_or(LinkError::Malformed)?;
    let mut relations = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(parameter) = rest.strip_prefix(';') else {
            break;
        };
        let parameter = parameter.trim_start_matches([' ', '\t']);
        if parameter.is_empty() || parameter.starts_with([',', ';']) {
            rest = parameter;
            continue;
        }
        let parameter = crate::params::first(parameter).ok_or(LinkError::Malformed)?;
        if parameter.name.eq_ignore_ascii_case("rel") {
            relations.get_or_insert(parameter.value.map(|value| value.text).unwrap_or_default());
        }
        rest = parameter.rest;
    }
    if !rest.is_empty() && !rest.starts_with(',') {
        return Err(LinkError::Malformed);
    }
    Ok(Some((target, relations.unwrap_or_default(), rest)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn find_in(fields: &[&str]) -> Result<Option<String>, LinkError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(LINK, field.parse().unwrap());
        }
        find(&headers, SET)
    }

    #[test]
    fn a_printed_link_is_found() {
        let link = print("https://push.example/set/a,b;c", SET);
        let found = Ok(Some("https://push.example/set/a,b;c".to_owned()));
        assert_eq!(find_in(&[&link]), found);
        let others = print("/p", PUSH) + ", " + &link + " ; title=\"a, <b>\"";
        assert_eq!(find_in(&["</x>; rel=next", &others]), found);
    }

    #[test]
    fn relations_are_a_list_of_words_in_any_case() {
        for rel in [
            "rel=urn:ietf:params:push:set",
            "REL=\"next URN:ietf:params:push:set\"",
        ] {
            let found = find_in(&[&format!("</s>;;{rel}")]);
            assert_eq!(found, Ok(Some("/s".to_owned())), "{rel}");
        }
        assert_eq!(find_in(&["</s>; rel=\"urn:ietf:params:push\""]), Ok(None));
        assert_eq!(find_in(&["</s>", ""]), Ok(None));
    }

    #[test]
    fn malformed_and_repeated_links_are_refused() {
        for field in [
            "https://a",
            "<a",
            "<a>x",
            "<a>; rel=a b",
            "<a>; rel=\"x",
            "a<b>",
        ] {
            assert_eq!(find_in(&[field]), Err(LinkError::Malformed), "{field}");
        }
        let link = print("/s", SET);
        assert_eq!(find_in(&[&link, &link]), Err(LinkError::Repeated(SET)));
    }
}
