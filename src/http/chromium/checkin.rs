//! `POST /checkin`: a device gets its credentials, and shows them again every other day.

use bugle_protocol::mcs::checkin::{CheckinRequest, CheckinResponse};
use prost::Message;

use crate::app::App;
use crate::http::refusal::Refusal;
use crate::http::reply::{Reply, text};

/// Answers a check-in.
///
/// # Errors
/// [`Refusal::Checkin`]. [`Refusal::UnknownDevice`] if the device has credentials that this service
/// has not issued: the browser then forgets all its subscriptions and checks in as a new device.
pub(super) fn answer(app: &App, body: &[u8]) -> Result<Reply, Refusal> {
    let request = CheckinRequest::decode(body).map_err(|_| Refusal::Checkin)?;
    let service = &app.service;
    let (id, security_token) = match (request.id, request.security_token) {
        (None | Some(0), _) => service.new_device(),
        (Some(id), token) => {
            let id = u64::try_from(id).map_err(|_| Refusal::UnknownDevice)?;
            let device = service.device(id, token.unwrap_or_default());
            // After a rotation of the keys, it still has the token of an older key.
            let device = device.ok_or(Refusal::UnknownDevice)?;
            (device.id(), token.unwrap_or_default())
        }
    };
    let response = CheckinResponse {
        stats_ok: true,
        time_msec: i64::try_from(service.wall_clock().as_millis()).ok(),
        setting: Vec::new(),
        android_id: Some(id),
        security_token: Some(security_token),
        settings_diff: None,
    };
    Ok(text("application/x-protobuf", response.encode_to_vec()))
}
