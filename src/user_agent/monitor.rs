//! Held GETs: a subscription or a set drained for its user agent (RFC 8030
//! §6), a receipt subscription for its application server (§6.3).
//!
//! A [`Monitor`] says what comes next; how that is told (HTTP/2 server push or
//! events in the body) is the HTTP side's business.

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

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
pub enum Next {
    /// This, to be told.
    Item(Item),
    /// Nothing for a while: a sign of life is due.
    Quiet,
    /// The end, with the status of the held GET: 200 when something was
    /// told, 204 when not, 404 when what was read is gone, 403 when the operator
    /// has blocked the reader.
    Ended(StatusCode),
}

/// A held GET.
pub struct Monitor {
    drain: Drain,
    waits: bool,
    told: bool,
    ends_at: Instant,
    _place: Box<Slot>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.app().service.metrics().monitors.dec();
    }
}

impl Monitor {
    /// Reads the log of `reader` from the beginning, for a client at `address`,
    /// but for messages below `min`. An older held GET on it is told to end.
    /// `waits` is whether it stays once everything is told.
    ///
    /// # Errors
    /// [`Error::Refused`] when too many are connected, when too many of them are
    /// at `address`, or when the operator has blocked it.
    pub fn new(
        app: &Arc<App>,
        address: IpAddr,
        reader: Reader,
        min: Urgency,
        waits: bool,
    ) -> Result<Self, Error> {
        // First: one that is refused is not to end another.
        let place = app.admit_user_agent(address)?;
        let registration = app.service.register(reader, address)?;
        app.service.metrics().monitors.inc();
        let lifetime = app.service.config().user_agent.monitor_lifetime;
        Ok(Self {
            // HTTP bounds what is in flight.
            drain: Drain::new(app, registration, None, min),
            waits,
            told: false,
            ends_at: Instant::now() + lifetime,
            _place: place,
        })
    }

    /// The site whose log is read.
    pub fn app(&self) -> &App {
        &self.drain.app
    }

    /// What comes next. After the end there is nothing more to ask. Safe to
    /// cancel.
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
                    self.told = true;
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
                // It stays in the log; the reader comes back.
                Err(_) => self.ended(StatusCode::SERVICE_UNAVAILABLE),
            };
        }
    }

    /// Says that an item has reached the reader. A message is acknowledged by
    /// its reader (RFC 8030 §6.2); a receipt has served its purpose.
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

    /// After how long without an item a sign of life is due.
    fn quiet_after(&self) -> Duration {
        self.app().service.config().user_agent.ping_interval
    }

    /// 200 stands for "something was told".
    fn ended(&self, otherwise: StatusCode) -> Next {
        Next::Ended(if self.told { StatusCode::OK } else { otherwise })
    }
}
