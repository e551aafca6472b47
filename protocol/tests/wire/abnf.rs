//! Rules of RFC 9110 as strategies: each generates every text that its rule
//! derives, of a bounded length.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// `OWS = *( SP / HTAB )` and `BWS = OWS` (RFC 9110 §5.6.3).
pub(crate) fn ows() -> impl Strategy<Value = String> {
    "[ \t]{0,2}"
}

/// `token = 1*tchar`, `tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" /
/// "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA` (RFC 9110 §5.6.2).
pub(crate) fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}"
}

/// `quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE` (RFC 9110 §5.6.4),
/// whatever it says.
pub(crate) fn quoted_string() -> impl Strategy<Value = String> {
    let qdtext = "[\t !#-\\[\\]-~\u{e9}]";
    let quoted_pair = "\\\\[\t -~\u{e9}]";
    let inner = vec(prop_oneof![qdtext, quoted_pair], 0..8);
    inner.prop_map(|inner| format!("\"{}\"", inner.concat()))
}

/// `quoted-string` that says `text`, some of its characters as `quoted-pair`.
pub(crate) fn quoted(text: &str) -> impl Strategy<Value = String> + use<> {
    let chars: Vec<char> = text.chars().collect();
    vec(any::<bool>(), chars.len()).prop_map(move |escaped| {
        let inner = chars.iter().zip(escaped).map(|(c, escaped)| match escaped {
            true => format!("\\{c}"),
            false => c.to_string(),
        });
        format!("\"{}\"", inner.collect::<String>())
    })
}

/// `token / quoted-string` that says `text`, which is a token.
pub(crate) fn word(text: &str) -> impl Strategy<Value = String> + use<> {
    prop_oneof![Just(text.to_owned()), quoted(text)]
}

/// `token / quoted-string`, whatever it says.
pub(crate) fn any_word() -> impl Strategy<Value = String> {
    prop_oneof![token(), quoted_string()]
}

/// `token BWS "=" BWS ( token / quoted-string )` (`auth-param`, RFC 9110 §11.2).
pub(crate) fn parameter(
    name: impl Strategy<Value = String>,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    (name, ows(), ows(), value)
        .prop_map(|(name, before, after, value)| format!("{name}{before}={after}{value}"))
}

/// The text with letters in either case: literals of ABNF are case-insensitive
/// (RFC 5234 §2.3).
pub(crate) fn recased(text: &str) -> impl Strategy<Value = String> + use<> {
    let chars: Vec<char> = text.chars().collect();
    vec(any::<bool>(), chars.len()).prop_map(move |upper| {
        let recase = |(c, upper): (&char, bool)| match upper {
            true => c.to_ascii_uppercase(),
            false => *c,
        };
        chars.iter().zip(upper).map(recase).collect()
    })
}

/// `#element` as a recipient must take it: `[ element ] *( OWS "," OWS
/// [ element ] )` (RFC 9110 §5.6.1.2), the elements in this order.
pub(crate) fn list(elements: Vec<String>) -> impl Strategy<Value = String> {
    let separators = vec((select(&[",", ",,", ", ,"]), ows(), ows()), elements.len());
    let (first, last) = (select(&["", ",", " ,"]), select(&["", ",", ", ,"]));
    (first, separators, last).prop_map(move |(first, separators, last)| {
        let mut text = first.to_owned();
        for (at, (element, separator)) in elements.iter().zip(separators).enumerate() {
            let (comma, before, after) = separator;
            if at > 0 {
                text += &format!("{before}{comma}{after}");
            }
            text += element;
        }
        text + last
    })
}

/// The elements among others, in any order.
pub(crate) fn among<E, O>(elements: Vec<E>, others: O) -> impl Strategy<Value = Vec<String>>
where
    E: Strategy<Value = String>,
    O: Strategy<Value = String>,
{
    (elements, vec(others, 0..3))
        .prop_map(|(elements, others)| [elements, others].concat())
        .prop_shuffle()
}
