//! Held GETs: a user agent monitors a subscription or a set (RFC 8030 §6), an application server
//! monitors a receipt subscription (§6.3).
//!
//! A [`Monitor`] returns the next item. The HTTP layer decides how to send it: by HTTP/2 server
//! push or by Server-Sent Events.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::Urgency;
use http::StatusCode;
use tokio::time::Instant;

use super::drain::{self, Drain};
use crate::app::App;
use crate::gate::fairness::Slot;
use crate::service::Error;
use crate::service::registry::{Ended, Reader};

pub use super::drain::Item;

/// What the HTTP layer must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
pub enum Next {
    /// Send this item.
    Item(Item),
    /// Send a keep-alive: there was no item for `user_agent.ping_interval`.
    Quiet,
    /// End the held GET with this status: 404 if the resource is gone, 403 if the operator
    /// has blocked the address, otherwise 200 if any item was sent, 503 if none was because the
    /// store failed, and 204 if there was none to send.
    Ended(StatusCode),
}

/// A held GET.
pub struct Monitor {
    drain: Drain,
    waits: bool,
    sent_any: bool,
    ends_at: Instant,
    _slot: Box<Slot>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.app().service.metrics().monitors.dec();
    }
}

impl Monitor {
    /// Reads the log of `reader` from the beginning, for a client at `address`, without messages
    /// below `min`. An older monitor of the same log is superseded. `waits` keeps the monitor open
    /// at the end of the log.
    ///
    /// # Errors
    /// [`Error::Refused`] if too many user agents are connected, if too many of them are at
    /// `address`, or if the operator has blocked it.
    pub fn new(
        app: &Arc<App>,
        address: IpAddr,
        reader: Reader,
        min: Urgency,
        waits: bool,
    ) -> Result<Self, Error> {
        // This comes first, so that a refused client supersedes no monitor.
        let slot = app.admit_user_agent(address)?;
        let registration = app.service.register(reader, address)?;
        app.service.metrics().monitors.inc();
        let lifetime = app.service.config().user_agent.monitor_lifetime;
        Ok(Self {
            // Backpressure of HTTP bounds what is in flight.
            drain: Drain::new(app, registration, None, min),
            waits,
            sent_any: false,
            ends_at: Instant::now() + lifetime,
            _slot: slot,
        })
    }

    /// The application that serves the monitor.
    pub fn app(&self) -> &App {
        &self.drain.app
    }

    /// Returns what to do next. Do not call it after [`Next::Ended`]. Cancellation-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            let now = Instant::now();
            if now >= self.ends_at {
                return self.ended(StatusCode::NO_CONTENT);
            }
            let until = match self.waits {
                true => self.ends_at.min(now + self.quiet_after()),
                false => now,
            };
            return match self.drain.next(until).await {
                Ok(drain::Next::Item(item)) => {
                    self.sent_any = true;
                    Next::Item(item)
                }
                Ok(drain::Next::Broadcasts) => continue,
                Ok(drain::Next::Quiet) if self.waits && until < self.ends_at => Next::Quiet,
                Ok(drain::Next::Quiet) => self.ended(StatusCode::NO_CONTENT),
                Ok(drain::Next::Ended(Ended::Removed)) | Err(Error::NotFound) => {
                    Next::Ended(StatusCode::NOT_FOUND)
                }
                Ok(drain::Next::Ended(Ended::Blocked)) => Next::Ended(StatusCode::FORBIDDEN),
                Ok(drain::Next::Ended(Ended::Superseded | Ended::ShuttingDown)) => {
                    self.ended(StatusCode::NO_CONTENT)
                }
                // The items stay in the log until the reader retries.
                Err(_) => self.ended(StatusCode::SERVICE_UNAVAILABLE),
            };
        }
    }

    /// Records that an item was sent. A message stays in the log until its reader acknowledges it
    /// (RFC 8030 §6.2); a receipt is removed.
    pub async fn confirm(&self, item: &Item) {
        let service = &self.app().service;
        match (self.drain.registration.reader(), item) {
            (Reader::Receipts(id), Item::Receipt(receipt)) => {
                service.forget_receipt(id, receipt.id).await;
            }
            (
                _,
                Item::Message {
                    message, handover, ..
                },
            ) => service.delivered(message, *handover, Instant::now()),
            _ => {}
        }
    }

    /// Idle time before a keep-alive is due.
    fn quiet_after(&self) -> Duration {
        self.app().service.config().user_agent.ping_interval
    }

    /// The end, with 200 if any item was sent.
    fn ended(&self, otherwise: StatusCode) -> Next {
        Next::Ended(if self.sent_any {
            StatusCode::OK
        } else {
            otherwise
        })
    }
}
