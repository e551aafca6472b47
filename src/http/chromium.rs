//! The routes of Chromium as a user agent, which exist only with `chromium.enabled`: the check-in of
//! a device, and the registrations of its applications.

mod checkin;
mod registration;

use std::net::IpAddr;
use std::sync::Arc;

use http::{Method, request};

use super::body::{self, Content};
use super::refusal::Refusal;
use super::reply::Reply;
use crate::app::App;
use crate::gate::fairness::Slot;

/// The methods of both routes.
const METHODS: &str = "POST";

/// A route.
#[derive(Clone, Copy)]
pub(super) enum Route {
    /// `/checkin`
    Checkin,
    /// `/c2dm/register3`
    Registration,
}

impl Route {
    /// The route at a path, if the service has it.
    pub(super) fn at(app: &App, path: &str) -> Option<Self> {
        let is_on = app.service.config().chromium.enabled;
        match path {
            "/checkin" if is_on => Some(Self::Checkin),
            "/c2dm/register3" if is_on => Some(Self::Registration),
            _ => None,
        }
    }

    /// Answers a request, within the slot `begun` except while its body arrives. Of `[admission]`,
    /// only the addresses apply: nothing else fits in what a Chromium can be told.
    pub(super) async fn answer(
        self,
        app: &Arc<App>,
        address: IpAddr,
        parts: &request::Parts,
        content: Content<'_>,
        begun: Option<Slot>,
    ) -> Result<Reply, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::MethodNotAllowed(METHODS));
        }
        app.gate.admission.check_address(address)?;
        let arriving = app.gate.admit_body(None, address)?;
        drop(begun);
        let limits = &app.service.config().limits;
        let body = body::read(&parts.headers, content, limits).await;
        let body = body.map_err(|error| match error {
            // A check-in that is answered 400 makes the browser forget all its subscriptions.
            Refusal::Incomplete => Refusal::Checkin,
            error => error,
        })?;
        let _request = app.gate.admit_request(address)?;
        drop(arriving);
        match self {
            Self::Checkin => checkin::answer(app, &body),
            Self::Registration => registration::answer(app, address, &parts.headers, &body).await,
        }
    }
}
