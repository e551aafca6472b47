//! Reads the body of a request, within its bounds.

use std::error::Error as StdError;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::config::Limits;
use crate::error::Error;

/// The body of a request, as any engine gives it.
pub trait Content: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> {}

impl<B> Content for B where B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> {}

/// The length of the body in bytes, where the request tells it beforehand.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body whole, within `limits.body_bytes` and `limits.body_timeout`.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::BodyTimeout`], [`Error::Incomplete`].
pub async fn read(
    headers: &HeaderMap,
    body: impl Content,
    limits: &Limits,
) -> Result<Vec<u8>, Error> {
    let most = limits.body_bytes;
    if announced(headers).is_some_and(|length| length > most as u64) {
        return Err(Error::TooLarge(most));
    }
    let collected = timeout(limits.body_timeout, Limited::new(body, most).collect()).await;
    match collected.map_err(|_| Error::BodyTimeout(limits.body_timeout))? {
        // Copied: a slice would keep the whole read buffer alive.
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge(most)),
        Err(_) => Err(Error::Incomplete),
    }
}
