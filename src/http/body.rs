//! Reads the body of a request, within its limits.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::config::Limits;

/// The error of a request body, in a form common to both HTTP engines.
pub type ContentError = Box<dyn StdError + Send + Sync>;

/// The body of a request, in a form common to both HTTP engines.
pub type Content<'b> =
    &'b mut (dyn Body<Data = Bytes, Error = ContentError> + Send + Unpin + 'static);

/// The length of the body in bytes, if the request has a valid Content-Length.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a whole body, within `limits.body_bytes` and `limits.body_timeout`.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::BodyTimeout`], [`Refusal::Incomplete`].
pub async fn read(
    headers: &HeaderMap,
    body: Content<'_>,
    limits: &Limits,
) -> Result<Vec<u8>, Refusal> {
    let most = limits.body_bytes;
    if announced(headers).is_some_and(|length| length > most as u64) {
        return Err(Refusal::TooLarge(most));
    }
    let collected = timeout(limits.body_timeout, collect(body, most)).await;
    collected.map_err(|_| Refusal::BodyTimeout(limits.body_timeout))?
}

/// Copies a body of up to `most` bytes: a slice would keep the whole read buffer alive.
async fn collect(body: Content<'_>, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut collected = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        // Trailers are ignored.
        let Ok(data) = frame.map_err(|_| Refusal::Incomplete)?.into_data() else {
            continue;
        };
        if data.len() > most - collected.len() {
            return Err(Refusal::TooLarge(most));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}
