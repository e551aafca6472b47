//! The table from the refusals of the HTTP layer to their responses.
//! [`app::refusal`](crate::app::refusal) has the rows of the gate and the service.

use bugle_protocol::coding::CodingError;
use bugle_protocol::headers::HeaderError;
use bugle_protocol::link::LinkError;
use bugle_protocol::push::BodyError;
use http::StatusCode;

use super::Refusal;
use crate::app::refusal::Row;
use crate::config::Limit;

const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;

impl Row {
    /// The row of a refusal. `gone` is the status for an ended subscription (`compat.gone_status`).
    pub fn of_http(refusal: &Refusal, gone: StatusCode) -> Self {
        match refusal {
            Refusal::Gate(refusal) => refusal.into(),
            Refusal::Service(error) => Self::of(error, gone),
            Refusal::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found").errno(102),
            Refusal::MethodNotAllowed(_) => {
                Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
            }
            Refusal::Link(error) => Self::new(BAD_REQUEST, "link").detail(match error {
                LinkError::Malformed => "malformed",
                LinkError::Repeated(_) => "repeated",
            }),
            Refusal::Options => Self::new(BAD_REQUEST, "options"),
            Refusal::Checkin => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "checkin"),
            Refusal::UnknownDevice => Self::new(StatusCode::UNAUTHORIZED, "unknown_device"),
            Refusal::TooLargeForUserAgent(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "user_agent_bytes").errno(104)
            }
            Refusal::ServerPush => Self::new(BAD_REQUEST, "server_push"),
            Refusal::Header(error) => header(error),
            Refusal::Body(error) => body(error),
            Refusal::TooLarge(_) => {
                let setting = Limit::BodyBytes.setting();
                Self::by(StatusCode::PAYLOAD_TOO_LARGE, setting).errno(104)
            }
            Refusal::BodyTimeout(_) => {
                Self::by(StatusCode::REQUEST_TIMEOUT, Limit::BodyTimeout.setting())
            }
            Refusal::Incomplete => Self::new(BAD_REQUEST, "incomplete"),
            Refusal::HeaderFields(_) => {
                Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_fields")
            }
            Refusal::Host => Self::new(BAD_REQUEST, "host"),
            Refusal::TransferCoding => Self::new(StatusCode::NOT_IMPLEMENTED, "transfer_coding"),
            Refusal::WebSocketVersion => Self::new(StatusCode::UPGRADE_REQUIRED, "handshake"),
            Refusal::Handshake(what) => Self::new(BAD_REQUEST, "handshake").detail(what),
        }
    }
}

fn header(error: &HeaderError) -> Row {
    let (errno, detail) = match error {
        HeaderError::TtlMissing => (111, "ttl_missing"),
        HeaderError::TtlMalformed => (112, "ttl"),
        HeaderError::Topic => (113, "topic"),
        HeaderError::Urgency => (115, "urgency"),
    };
    Row::new(BAD_REQUEST, "header").errno(errno).detail(detail)
}

fn body(error: &BodyError) -> Row {
    let status = match error {
        BodyError::Unencrypted
        | BodyError::Coding(CodingError::Unknown | CodingError::AesgcmNotTaken) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        _ => BAD_REQUEST,
    };
    Row::new(status, "body").errno(110).detail(match error {
        BodyError::Coding(CodingError::Unknown) => "coding",
        BodyError::Coding(CodingError::AesgcmNotTaken) => "aesgcm_not_taken",
        BodyError::Coding(CodingError::Aesgcm(_)) => "aesgcm",
        BodyError::Coding(CodingError::Aes128gcmWithAesgcmHeaders) => "aesgcm_headers",
        BodyError::Unencrypted => "unencrypted",
        BodyError::TooShort(_) | BodyError::AesgcmTooShort(_) => "too_short",
        BodyError::KeyId => "key_id",
        BodyError::RecordSize { .. } => "record_size",
        BodyError::SameKey => "same_key",
    })
}
