//! Sends messages and broadcasts on a connection.

use std::collections::BTreeMap;

use bugle_protocol::websocket::ServerMessage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::end::End;
use crate::service::Error;
use crate::user_agent::drain::{Drain, Item, Next};

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Does what the drain asks for: sends, or runs the timeouts, or ends the connection.
    pub(super) async fn deliver(
        &mut self,
        drain: &mut Drain,
        next: Result<Next, Error>,
    ) -> Result<(), End> {
        match next {
            Ok(Next::Item(item)) => self.notify(item).await,
            Ok(Next::Broadcasts) => {
                let updates = self.followed.updates(&self.app.service.broadcasts());
                self.announce(updates).await
            }
            Ok(Next::Quiet) => self.timeout().await,
            Ok(Next::Ended(close)) => Err(close.into()),
            // All readers are woken when the store recovers.
            Err(_) if !self.app.service.store_is_well() => {
                drain.wait_for_wake();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds broadcasts to those that the user agent follows. Returns the followed broadcasts of
    /// which it does not have the current version.
    pub(super) fn follow(&mut self, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let broadcasts = self.app.service.broadcasts();
        self.followed.follow(&broadcasts, wanted);
        self.followed.updates(&broadcasts)
    }

    pub(super) async fn announce(
        &mut self,
        broadcasts: BTreeMap<String, String>,
    ) -> Result<(), End> {
        if broadcasts.is_empty() {
            return Ok(());
        }
        self.send(&ServerMessage::Broadcast { broadcasts }).await
    }

    async fn notify(&mut self, item: Item) -> Result<(), End> {
        let Item::Message {
            uaid,
            message,
            handover,
        } = item
        else {
            // No user agent reads receipts.
            return Ok(());
        };
        let version = self.app.service.version(uaid, message.id);
        self.send(&ServerMessage::notification(&message, version))
            .await?;
        self.app
            .service
            .delivered(&message, handover, Instant::now());
        Ok(())
    }
}
