//! The table of error responses: maps each refusal of the gate and each error of the service to a
//! row. HTTP uses the whole row, a WebSocket only the status.
//!
//! `http::refusal` has the rows of errors in HTTP itself, `admin::error` those of the admin API.

use std::time::Duration;

use bugle_protocol::vapid::VapidError;
use http::StatusCode;

use super::App;
use crate::gate::Refusal;
use crate::gate::refusal::whole_secs;
use crate::service::Error;

/// The parts of an error response besides its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: StatusCode,
    /// The number by which sender libraries recognise the error.
    pub errno: u16,
    /// A short name for metrics and logs; the name of the setting, if there is one.
    pub label: &'static str,
    /// A fixed detail for logs, if the label covers several errors.
    ///
    /// The message of the response is for the client alone. It may repeat the client's input, such
    /// as an `aud` that is the URL of a message, which is a capability; a `&'static str` cannot.
    pub detail: Option<&'static str>,
    /// The setting whose limit was reached.
    pub setting: Option<&'static str>,
    /// The kind of holder whose share of that limit is used up.
    pub share: Option<&'static str>,
    /// When to try again, in whole seconds; senders back off by it (RFC 8030 §8.4).
    pub retry_after: Option<Duration>,
}

impl Row {
    /// A row with the errno of errors that have none of their own.
    pub const fn new(status: StatusCode, label: &'static str) -> Self {
        Self {
            status,
            errno: 999,
            label,
            detail: None,
            setting: None,
            share: None,
            retry_after: None,
        }
    }

    /// A row for a limit or another setting.
    pub const fn by(status: StatusCode, setting: &'static str) -> Self {
        let mut row = Self::new(status, setting);
        row.setting = Some(setting);
        row
    }

    /// Sets the errno.
    #[must_use]
    pub const fn errno(mut self, errno: u16) -> Self {
        self.errno = errno;
        self
    }

    /// Sets the detail.
    #[must_use]
    pub const fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// A row for a limit that is reached until `wait` is over.
    fn full(setting: &'static str, wait: Duration) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(whole_secs(wait))),
            ..Self::by(StatusCode::TOO_MANY_REQUESTS, setting).errno(201)
        }
    }
}

impl From<&Refusal> for Row {
    fn from(refusal: &Refusal) -> Self {
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
        match refusal {
            Refusal::BlockedKey => Self::new(FORBIDDEN, "blocked_key").errno(109),
            Refusal::BlockedAddress => Self::new(FORBIDDEN, "blocked_address"),
            Refusal::Address => Self::by(FORBIDDEN, "admission.addresses").errno(109),
            Refusal::Path => Self::new(StatusCode::NOT_FOUND, "not_found").errno(102),
            Refusal::Token => Self::by(FORBIDDEN, "admission.token").errno(109),
            Refusal::Password => Self::by(StatusCode::UNAUTHORIZED, "admission.basic").errno(109),
            Refusal::Limit(limit) => Self::full(limit.setting(), limit.retry_after()),
            Refusal::Share { limit, holder } => Self {
                share: Some(holder.word()),
                ..Self::full(limit.setting(), limit.retry_after())
            },
            Refusal::Rate { limit, wait } => Self::full(limit.setting(), *wait),
        }
    }
}

impl App {
    /// Counts a refusal, and the share that is full, if it is because of one.
    pub fn count_refusal(&self, row: &Row) {
        let metrics = self.service.metrics();
        metrics.refuse(row.label);
        if let (Some(setting), Some(share)) = (row.setting, row.share) {
            metrics.full_share(setting, share);
        }
    }

    /// The row of an error of the service.
    pub fn row(&self, error: &Error) -> Row {
        Row::of(error, self.service.compat().gone_status.status())
    }
}

impl Row {
    /// The row of an error of the service. A removed subscription gets the status `gone`
    /// (`compat.gone_status`).
    pub fn of(error: &Error, gone: StatusCode) -> Self {
        const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
        const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::NotFound => Self::new(NOT_FOUND, "not_found").errno(102),
            Error::NoSet => Self::new(BAD_REQUEST, "link").detail("set"),
            Error::NoReceipts => Self::new(BAD_REQUEST, "link").detail("receipts"),
            Error::UnknownEndpoint => Self::new(NOT_FOUND, "unknown_endpoint").errno(102),
            Error::Gone => Self::new(gone, "gone").errno(106),
            Error::NoMessage => Self::new(NOT_FOUND, "no_message").errno(102),
            Error::Unauthorized => Self::new(StatusCode::UNAUTHORIZED, "unauthorized").errno(109),
            Error::OtherKey => Self::new(StatusCode::FORBIDDEN, "other_key").errno(109),
            Error::Vapid(error) => vapid(error),
            Error::KeyRequired => Self::by(BAD_REQUEST, "push.require_vapid").errno(109),
            Error::Full(share) => Self {
                share: share.holder(),
                ..Self::full(share.limit().setting(), share.retry_after())
            },
            Error::Unavailable => Self {
                retry_after: Some(Duration::from_secs(10)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").errno(201)
            },
        }
    }
}

fn vapid(error: &VapidError) -> Row {
    let status = match error {
        VapidError::Repeated(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    Row::new(status, "vapid").errno(109).detail(match error {
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
    })
}
