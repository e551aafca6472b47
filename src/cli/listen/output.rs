//! Prints pushes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_client::{Notification, OpenError};
use serde_json::{Value, json};

use crate::cli::{Failure, note, print};

/// The decrypted data of a push; `None` for a push without data.
pub(super) type Data = Result<Option<Vec<u8>>, OpenError>;

/// Prints a push: as text for people, or as one line of JSON.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn show(push: &Notification, data: Data, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return Ok(print(push_json(push, data).to_string())?);
    }
    match data {
        Ok(None) => print("(a push without data)")?,
        Ok(Some(data)) => print(printable(&String::from_utf8_lossy(&data)))?,
        Err(error) => note(format!("A push that cannot be read: {error}")),
    }
    Ok(())
}

/// Formats a push as JSON: `text` if it is UTF-8, else `data` in base64url, or `error`.
fn push_json(push: &Notification, data: Data) -> Value {
    let mut json = json!({ "type": "push", "version": push.version, "encoding": push.encoding() });
    match data.map(|data| data.map(String::from_utf8)) {
        Ok(None) => json["text"] = Value::Null,
        Ok(Some(Ok(text))) => json["text"] = text.into(),
        Ok(Some(Err(octets))) => json["data"] = URL_SAFE_NO_PAD.encode(octets.as_bytes()).into(),
        Err(error) => json["error"] = error.to_string().into(),
    }
    json
}

/// Escapes control characters, so that a push cannot control the terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    fn push() -> Notification {
        Notification {
            channel: "c".to_owned(),
            version: "v".to_owned(),
            data: None,
            headers: Default::default(),
        }
    }

    #[test]
    fn pushes_are_printed_as_json() {
        let json = |data| {
            let mut json = push_json(&push(), data);
            assert_eq!(
                (&json["type"], &json["version"]),
                (&"push".into(), &"v".into())
            );
            json.as_object_mut().unwrap().remove("version");
            json.as_object_mut().unwrap().remove("type");
            json.as_object_mut().unwrap().remove("encoding");
            json
        };
        assert_eq!(json(Ok(None)), json!({ "text": null }));
        assert_eq!(
            json(Ok(Some(b"a\x1b".to_vec()))),
            json!({ "text": "a\u{1b}" })
        );
        assert_eq!(json(Ok(Some(vec![255, 254]))), json!({ "data": "__4" }));
        let error = OpenError::NotEncrypted;
        assert_eq!(
            json(Err(error.clone())),
            json!({ "error": error.to_string() })
        );
    }

    #[test]
    fn a_push_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\tb\n\u{1b}[2J\u{9b}é"),
            "a\tb\n\\u{1b}[2J\\u{9b}é"
        );
    }
}
