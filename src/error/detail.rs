//! What a log says of a refusal beside its label.

use bugle_protocol::coding::CodingError;
use bugle_protocol::headers::HeaderError;
use bugle_protocol::link::LinkError;
use bugle_protocol::push::BodyError;
use bugle_protocol::vapid::VapidError;

use super::{AdminError, Error};

impl Error {
    /// A fixed word for what was wrong, where the label covers several things.
    ///
    /// The words of the answer are for the client alone: they may repeat what it
    /// wrote, such as an `aud` that is the URL of a message, which is a
    /// capability. A `&'static str` cannot.
    pub fn detail(&self) -> Option<&'static str> {
        Some(match self {
            Self::Vapid(error) => vapid(error),
            Self::Header(error) => match error {
                HeaderError::TtlMissing => "ttl_missing",
                HeaderError::TtlMalformed => "ttl",
                HeaderError::Urgency => "urgency",
                HeaderError::Topic => "topic",
            },
            Self::Body(error) => body(error),
            Self::Link(LinkError::Malformed) => "malformed",
            Self::Link(LinkError::Repeated(_)) => "repeated",
            Self::Set => "set",
            Self::Receipts => "receipts",
            Self::Handshake(what) => what,
            Self::Admin(error) => admin(error),
            _ => return None,
        })
    }
}

fn vapid(error: &VapidError) -> &'static str {
    match error {
        VapidError::Repeated(_) => "repeated",
        VapidError::Malformed => "malformed",
        VapidError::Grammar => "grammar",
        VapidError::Missing(_) => "missing",
        VapidError::LegacyKeyMissing => "legacy_key_missing",
        VapidError::Key(_) => "key",
        VapidError::Token => "token",
        VapidError::Json(_) => "json",
        VapidError::Algorithm(_) => "algorithm",
        VapidError::Critical => "critical",
        VapidError::ExpiryMalformed(_) => "expiry_malformed",
        VapidError::Expired(..) => "expired",
        VapidError::ExpiryTooFar(..) => "expiry_too_far",
        VapidError::NotYetValid(..) => "not_yet_valid",
        VapidError::Audience { .. } => "audience",
        VapidError::SignatureLength(_) => "signature_length",
        VapidError::Signature => "signature",
    }
}

fn body(error: &BodyError) -> &'static str {
    match error {
        BodyError::Coding(CodingError::Unknown) => "coding",
        BodyError::Coding(CodingError::AesgcmNotTaken) => "aesgcm_not_taken",
        BodyError::Coding(CodingError::Aesgcm(_)) => "aesgcm",
        BodyError::Coding(CodingError::Aes128gcmWithAesgcmHeaders) => "aesgcm_headers",
        BodyError::Unencrypted => "unencrypted",
        BodyError::TooShort(_) | BodyError::AesgcmTooShort(_) => "too_short",
        BodyError::KeyId => "key_id",
        BodyError::RecordSize { .. } => "record_size",
        BodyError::SameKey => "same_key",
    }
}

fn admin(error: &AdminError) -> &'static str {
    match error {
        AdminError::Unauthorized => "unauthorized",
        AdminError::OtherUser => "other_user",
        AdminError::ReadOnly => "read_only",
        AdminError::Origin => "origin",
        AdminError::HostName => "host_name",
        AdminError::Body(_) => "body",
        AdminError::NotJson => "not_json",
        AdminError::Subject => "subject",
        AdminError::Channel => "channel",
        AdminError::Count(_) => "count",
        AdminError::Blocked => "blocked",
        AdminError::Filter(_) => "filter",
        AdminError::TraceOff => "trace_off",
        AdminError::Streams => "streams",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_is_in_the_answer_and_not_in_the_detail() {
        let written = "aOOygrE-bTK_8XfZNX49ys4OURqu";
        let audience = VapidError::Audience {
            expected: "https://push.example".to_owned(),
            got: written.to_owned(),
        };
        for (error, detail) in [
            (Error::Vapid(audience), "audience"),
            (
                Error::Vapid(VapidError::Algorithm(written.to_owned())),
                "algorithm",
            ),
            (Error::Admin(AdminError::Body(written.to_owned())), "body"),
        ] {
            assert!(error.to_string().contains(written));
            assert_eq!(error.detail(), Some(detail));
        }
    }
}
