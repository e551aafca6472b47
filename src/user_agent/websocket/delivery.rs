//! What a connection sends: the messages of its log, those with TTL 0, and
//! broadcasts.

use std::collections::BTreeMap;

use bugle_protocol::websocket::ServerMessage;
use bugle_protocol::{PushMessage, Uaid};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Connection;
use super::end::End;
use crate::service::Handover;
use crate::service::registry::Mail;
use crate::store::{Batch, Filter};

/// One read of the log and the frames it becomes: what is in memory at one
/// time for a connection that has much to receive.
const BATCH: Batch = Batch {
    messages: 32,
    bytes: 64 << 10,
};

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Looks at what the mailbox brought.
    pub(super) async fn open(&mut self, uaid: Uaid, mail: Mail) -> Result<(), End> {
        if let Some(why) = mail.ended {
            return Err(why.into());
        }
        if mail.log {
            self.cursor.behind = true;
            self.accepted = self.accepted.or(mail.since);
        }
        let handover = Handover::now(mail.since);
        for message in mail.live {
            let is_wanted = message.urgency >= self.cursor.min();
            if is_wanted && self.session.may_send_live(Instant::now().into_std()) {
                self.notify(uaid, &message, handover).await?;
            } else {
                self.app.service.pass_over(uaid, message.id).await;
            }
        }
        if mail.broadcasts {
            let news = self.followed.news(&self.app.service.broadcasts());
            self.announce(news).await?;
        }
        Ok(())
    }

    /// Follows these broadcasts too, and gives what the user agent lacks of
    /// all that it follows.
    pub(super) fn follow(&mut self, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let broadcasts = self.app.service.broadcasts();
        self.followed.follow(&broadcasts, wanted);
        self.followed.news(&broadcasts)
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

    /// Sends the next messages of the log, as many as the window has room for.
    pub(super) async fn deliver(&mut self, uaid: Uaid) -> Result<(), End> {
        let Some(room) = self.session.room() else {
            return Ok(());
        };
        let batch = Batch {
            messages: room.messages.min(BATCH.messages),
            bytes: room.bytes.min(BATCH.bytes),
        };
        let filter = Filter {
            min_urgency: self.cursor.min(),
            ..Filter::NONE
        };
        let after = self.cursor.after();
        let page = match self.app.service.pending(uaid, after, filter, batch).await {
            // All are woken when the store returns.
            Err(_) if !self.app.service.store_is_well() => {
                self.cursor.behind = false;
                return Ok(());
            }
            read => read?,
        };
        self.cursor.behind = page.more;
        let handover = Handover::now(self.accepted.take());
        for message in &page.items {
            if self.cursor.pass(message.id, message.urgency) {
                self.notify(uaid, message, handover).await?;
            }
        }
        Ok(())
    }

    async fn notify(
        &mut self,
        uaid: Uaid,
        message: &PushMessage,
        handover: Handover,
    ) -> Result<(), End> {
        let version = self.app.service.version(uaid, message.id);
        self.send(&ServerMessage::notification(message, version))
            .await?;
        let written = Instant::now();
        self.session
            .sent(message.id, message.size(), written.into_std());
        self.app
            .service
            .delivered(message, self.since, handover, written);
        Ok(())
    }
}
