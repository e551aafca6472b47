//! Sends messages on a connection.

use bugle_protocol::mcs::Registration;
use bugle_protocol::{PublicKey, PushMessage, SubscriptionId, Uaid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::end::End;
use crate::service::Error;
use crate::user_agent::drain::{Drain, Item, Next};

/// How to address the messages of one subscription.
pub(super) struct Addressee {
    life: SubscriptionId,
    registration: Registration,
    key: PublicKey,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Does what the drain asks for: sends, or runs the timeouts, or ends the connection.
    pub(super) async fn deliver(
        &mut self,
        drain: &mut Drain,
        next: Result<Next, Error>,
    ) -> Result<(), End> {
        match next {
            Ok(Next::Item(item)) => self.push(item).await,
            // The client has no broadcasts.
            Ok(Next::Broadcasts) => Ok(()),
            Ok(Next::Quiet) => {
                self.last = None;
                self.timeout().await
            }
            Ok(Next::Ended(why)) => Err(why.into()),
            // All readers are woken when the store recovers.
            Err(_) if !self.app.service.store_is_well() => {
                drain.wait_for_wake();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn push(&mut self, item: Item) -> Result<(), End> {
        let Item::Message {
            uaid,
            message,
            handover,
        } = item
        else {
            // No user agent reads receipts.
            return Ok(());
        };
        let Some(to) = self.addressee(uaid, &message).await? else {
            // Its subscription has just ended, and the message with it.
            return Ok(());
        };
        let name = self.app.service.version(uaid, message.id);
        let now = self.app.service.now();
        let names = (&to.registration, &to.key);
        let frame = self.session.deliver(&message, names, name, now)?;
        self.last = Some(to);
        self.write(&frame).await?;
        let service = &self.app.service;
        service.delivered(&message, handover, Instant::now());
        Ok(())
    }

    /// Returns how to address a message; `None` if its subscription has ended.
    async fn addressee(
        &mut self,
        uaid: Uaid,
        message: &PushMessage,
    ) -> Result<Option<Box<Addressee>>, End> {
        let life = message.subscription;
        if let Some(last) = self.last.take().filter(|last| last.life == life) {
            return Ok(Some(last));
        }
        let found = self.app.service.addressee(uaid, message.channel, life);
        let found = found.await?;
        Ok(found.map(|(registration, key)| {
            Box::new(Addressee {
                life,
                registration,
                key,
            })
        }))
    }
}
