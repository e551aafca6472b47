//! The position of a reader in its log.

use bugle_protocol::{ChannelId, PushMessage, UnixTime, Urgency};
use tokio::time::Instant;

use super::Item;
use crate::service::registry::Reader;
use crate::service::{Error, Handover, PushService};
use crate::store::{Batch, Filter, Page, ReceiptId};
use crate::user_agent::cursor::Cursor;

/// The position of a reader in its log. The registration names the log, so that this stays small:
/// it exists once per connection.
pub(super) enum Log {
    /// The messages of a user agent.
    Messages(Cursor),
    /// The receipts after this one.
    Receipts(Option<ReceiptId>),
}

impl Log {
    /// The beginning of a reader's log.
    pub(super) fn of(reader: Reader, min: Urgency) -> Self {
        match reader.messages() {
            Some(_) => Self::Messages(Cursor::new(min)),
            None => Self::Receipts(None),
        }
    }

    /// Sets the minimum urgency. Returns whether that may release messages that were held back.
    pub(super) fn filter(&mut self, min: Urgency) -> bool {
        match self {
            Self::Messages(cursor) => {
                let is_lower = min < cursor.min();
                cursor.filter(min);
                is_lower
            }
            Self::Receipts(_) => false,
        }
    }

    /// Whether a message that no log holds passes the filter of the reader.
    pub(super) fn lets_pass(&self, reader: Reader, message: &PushMessage) -> bool {
        match (self, reader.messages()) {
            (Self::Messages(cursor), Some((_, channel))) => {
                filter(channel, cursor).lets_pass(message)
            }
            _ => false,
        }
    }

    /// Advances past the next item. Returns `false` if it was already handed out under another
    /// filter.
    pub(super) fn pass(&mut self, item: &Item) -> bool {
        match (self, item) {
            (Self::Messages(cursor), Item::Message { message, .. }) => {
                cursor.pass(message.id, message.urgency)
            }
            (Self::Receipts(after), Item::Receipt(receipt)) => {
                *after = Some(receipt.id);
                true
            }
            // A log holds one kind.
            _ => false,
        }
    }

    /// Reads the items after this position, for a connection that exists since `since` and was
    /// woken for a message accepted at `accepted`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::NotFound`] if a receipt subscription has ended.
    pub(super) async fn read(
        &self,
        service: &PushService,
        reader: Reader,
        batch: Batch,
        (since, accepted): (UnixTime, Option<Instant>),
    ) -> Result<Page<Item>, Error> {
        match (self, reader.messages(), reader) {
            (Self::Messages(cursor), Some((uaid, channel)), _) => {
                let filter = filter(channel, cursor);
                let page = service.pending(uaid, cursor.after(), filter, batch).await?;
                let handover = Handover::now(since, accepted);
                Ok(page.map(|message| Item::Message {
                    uaid,
                    message,
                    handover,
                }))
            }
            (Self::Receipts(after), _, Reader::Receipts(of)) => {
                let page = service.receipts(of, *after, batch.messages).await?;
                Ok(page.map(Item::Receipt))
            }
            // Unreachable: `of` made the position for the same reader.
            _ => Ok(Page::EMPTY),
        }
    }
}

/// The filter for the next read.
fn filter(channel: Option<ChannelId>, cursor: &Cursor) -> Filter {
    Filter {
        min_urgency: cursor.min(),
        channel,
    }
}
