//! Parameters, `name=value`, as in `Authorization: vapid`, `Crypto-Key`, `Encryption`, `Link` and
//! `Prefer` (RFC 9110 §5.6, §11.2).

/// One `name=value` of a list: the name in lower case, the value without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether a comma, not a semicolon, precedes it.
    pub(crate) starts_entry: bool,
}

/// A list of parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) params: Vec<Param>,
    /// Whether the text follows `#auth-param` (RFC 9110 §11.4): only commas separate the
    /// parameters, and each value is a token or a quoted-string.
    pub(crate) is_auth_params: bool,
}

/// Parses parameters separated by `,` and `;`. Allows white space around separators and `=`, and
/// empty list elements (V-18).
///
/// Returns `None` for anything else: a parameter without `=`, a name that is not a token, an
/// unterminated quote, characters after a closing quote.
pub(crate) fn parse(text: &str) -> Option<Params> {
    let mut params = Vec::new();
    let mut is_auth_params = true;
    let mut starts_entry = true;
    let mut rest = text.trim_matches(WHITE_SPACE);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix([',', ';']) {
            starts_entry |= rest.starts_with(',');
            is_auth_params &= rest.starts_with(',');
            rest = after.trim_start_matches(WHITE_SPACE);
            continue;
        }
        let first = first(rest)?;
        let value = first.value?;
        is_auth_params &= value.is_word;
        params.push(Param {
            name: first.name.to_ascii_lowercase(),
            value: value.text,
            starts_entry,
        });
        rest = first.rest.trim_start_matches(WHITE_SPACE);
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            return None;
        }
        starts_entry = false;
    }
    Some(Params {
        params,
        is_auth_params,
    })
}

/// OWS and BWS (RFC 9110 §5.6.3).
pub(crate) const WHITE_SPACE: [char; 2] = [' ', '\t'];

/// The first parameter of a text.
pub(crate) struct First<'t> {
    /// As sent.
    pub(crate) name: &'t str,
    /// `None` if there is no `=`.
    pub(crate) value: Option<Value>,
    /// The text after it.
    pub(crate) rest: &'t str,
}

/// The value of a parameter.
pub(crate) struct Value {
    /// Without its quotes.
    pub(crate) text: String,
    /// Whether it is a token or a quoted-string. Other visible ASCII without separators is accepted
    /// too: padded base64url and unquoted URIs are not tokens (RFC 8288 appendix B.3).
    is_word: bool,
}

/// Splits `token BWS [ "=" BWS value ]` off the front of a text. Returns `None` if the text does
/// not begin with one.
pub(crate) fn first(text: &str) -> Option<First<'_>> {
    let end = text.find(|c| !is_tchar(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let Some(after) = rest.trim_start_matches(WHITE_SPACE).strip_prefix('=') else {
        return Some(First {
            name,
            value: None,
            rest,
        });
    };
    let (value, rest) = value(after.trim_start_matches(WHITE_SPACE))?;
    Some(First {
        name,
        value: Some(value),
        rest,
    })
}

/// Splits a value off the front of a text.
fn value(text: &str) -> Option<(Value, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_string(quoted);
    }
    let end = text.find([',', ';', '"', ' ', '\t']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let is_visible = value.chars().all(|c| c.is_ascii_graphic());
    let is_word = !value.is_empty() && value.chars().all(is_tchar);
    let text = value.to_owned();
    is_visible.then_some((Value { text, is_word }, rest))
}

/// Parses a quoted-string after its opening quote (RFC 9110 §5.6.4).
fn quoted_string(text: &str) -> Option<(Value, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = Value {
                    text: value,
                    is_word: true,
                };
                return Some((value, &text[at + 1..]));
            }
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Splits at separators outside of quoted-strings.
pub(crate) fn unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let is_end = c == separator && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        is_end
    })
}

/// RFC 9110 §5.6.2.
fn is_tchar(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Option<Vec<(String, String)>> {
        let params = parse(text)?.params.into_iter();
        Some(params.map(|p| (p.name, p.value)).collect())
    }

    #[test]
    fn parameters_may_have_quotes_spaces_and_empty_elements() {
        let expected = vec![
            ("t".to_owned(), "a.b".to_owned()),
            ("k".to_owned(), "c=".to_owned()),
        ];
        for text in [
            "t=a.b,k=c=",
            "T=a.b , k=\"c=\"",
            ", t=\"a\\.b\";;k=c= ,",
            "t = a.b,k\t=  \"c=\"",
        ] {
            assert_eq!(plain(text).as_ref(), Some(&expected), "{text}");
        }
        assert_eq!(plain(" "), Some(vec![]));
    }

    #[test]
    fn a_comma_starts_an_entry_and_a_semicolon_does_not() {
        let starts = |text| -> Option<Vec<bool>> {
            let params = parse(text)?.params;
            Some(params.iter().map(|p| p.starts_entry).collect())
        };
        assert_eq!(
            starts("a=1;b=2,c=3; d=4"),
            Some(vec![true, false, true, false])
        );
    }

    #[test]
    fn auth_params_are_distinguished_from_looser_forms() {
        let is_auth_params = |text| parse(text).map(|params| params.is_auth_params);
        for text in ["", "a=1,, b = \"2;=\"", ",a=!"] {
            assert_eq!(is_auth_params(text), Some(true), "{text}");
        }
        for text in ["a=1;b=2", "a=b=", "a=", "a=b/c", "a=1;"] {
            assert_eq!(is_auth_params(text), Some(false), "{text}");
        }
    }

    #[test]
    fn malformed_parameter_lists_are_refused() {
        for text in [
            "t", "=a", "t=\"a", "t=\"a\"b", "t=a b", "a b=c", "t=a\"b\"", "a/b=c", "t=\u{e9}",
        ] {
            assert_eq!(plain(text), None, "{text}");
        }
    }
}
