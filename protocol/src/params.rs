//! Lists of `name=value` parameters, as `Authorization: vapid`, `Crypto-Key`
//! and `Encryption` carry them (RFC 9110 §5.6.1 and §5.6.6).

/// One `name=value`. The name is in lower case, the value without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether a comma, not a semicolon, stood before it.
    pub(crate) starts_entry: bool,
}

/// Reads parameters separated by `,` and `;`. White space around separators
/// and empty list elements are allowed (V-18).
///
/// Gives `None` for anything else: a parameter without `=`, an empty name, a
/// quote that does not close, characters after a closing quote.
pub(crate) fn parse(text: &str) -> Option<Vec<Param>> {
    let mut params = Vec::new();
    let mut starts_entry = true;
    let mut rest = text.trim_matches(WHITE_SPACE);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix([',', ';']) {
            starts_entry |= rest.starts_with(',');
            rest = after.trim_start_matches(WHITE_SPACE);
            continue;
        }
        let (name, value, after) = first(rest)?;
        params.push(Param {
            name: name.to_ascii_lowercase(),
            value,
            starts_entry,
        });
        rest = after.trim_start_matches(WHITE_SPACE);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            return None;
        }
        starts_entry = false;
    }
    Some(params)
}

const WHITE_SPACE: [char; 2] = [' ', '\t'];

/// Splits a parameter off the front of `text`: its name, its value, the rest.
pub(crate) fn first(text: &str) -> Option<(&str, String, &str)> {
    let (name, after) = text.split_once('=')?;
    let (value, after) = value(after)?;
    let is_token = |c: char| c.is_ascii_graphic() && !",;\"".contains(c);
    (!name.is_empty() && name.chars().all(is_token)).then_some((name, value, after))
}

/// Splits a token or a quoted-string off the front of `text`.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', '"', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Option<Vec<(String, String)>> {
        parse(text).map(|params| params.into_iter().map(|p| (p.name, p.value)).collect())
    }

    #[test]
    fn tokens_quotes_spaces_and_empty_elements() {
        let expected = vec![
            ("t".to_owned(), "a.b".to_owned()),
            ("k".to_owned(), "c=".to_owned()),
        ];
        for text in ["t=a.b,k=c=", "T=a.b , k=\"c=\"", ", t=\"a\\.b\";;k=c= ,"] {
            assert_eq!(plain(text).as_ref(), Some(&expected), "{text}");
        }
        assert_eq!(plain(" "), Some(vec![]));
    }

    #[test]
    fn a_comma_starts_an_entry_and_a_semicolon_does_not() {
        let starts = |text| -> Option<Vec<bool>> {
            Some(parse(text)?.iter().map(|p| p.starts_entry).collect())
        };
        assert_eq!(
            starts("a=1;b=2,c=3; d=4"),
            Some(vec![true, false, true, false])
        );
    }

    #[test]
    fn broken_lists_are_refused() {
        for text in ["t", "=a", "t=\"a", "t=\"a\"b", "t=a b", "a b=c", "t=a\"b\""] {
            assert_eq!(plain(text), None, "{text}");
        }
    }
}
