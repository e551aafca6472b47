//! Finds the object of a handle. A handle is a digest under the first endpoint key, so the search
//! compares it with the handle of every object.

use bugle_protocol::{
    PublicKey, PushEndpoint, ReceiptSubscriptionId, ReceiptSubscriptionUrl, Resource, ResourcePath,
};

use super::operating::Subject;
use super::{Error, PushService};

/// The number of objects to compare before yielding to other tasks.
const BATCH: usize = 256;

/// The maximum number of senders to compare.
const MAX_SENDERS: usize = 1000;

impl PushService {
    /// The handle of a receipt subscription.
    pub fn receipts_handle(&self, id: ReceiptSubscriptionId) -> String {
        self.keyring.handle(id.as_bytes())
    }

    /// Finds the object of a uaid, a URL of this service, or a handle of a user agent or a
    /// subscription. Searching a handle reads all subscriptions, in steps, so only operators may do
    /// it.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn find_subject(&self, text: &str) -> Result<Option<Subject>, Error> {
        let text = text.trim();
        if !is_handle(text) {
            return Ok(self.subject_of(text));
        }
        let mut last = None;
        loop {
            let after = last;
            let found = self.store.all_subscriptions(after, BATCH).await;
            let found = self.stored(found)?;
            for it in &found {
                let endpoint = PushEndpoint {
                    uaid: it.uaid,
                    channel: it.channel,
                    subscription: it.id,
                };
                let is_first = last.is_none_or(|(uaid, _)| uaid != it.uaid);
                if is_first && self.handle(it.uaid) == text {
                    return Ok(Some(Subject::UserAgent(it.uaid)));
                }
                if self.subscription_handle(&endpoint) == text {
                    return Ok(Some(Subject::Subscription(endpoint)));
                }
                last = Some((it.uaid, it.channel));
            }
            if found.is_empty() {
                return Ok(None);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Finds a receipt subscription by its URL or its handle.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn find_receipts(&self, text: &str) -> Result<Option<ReceiptSubscriptionId>, Error> {
        let text = text.trim();
        if !is_handle(text) {
            let named = ResourcePath::at_end(text).and_then(|path| self.open(path));
            return Ok(match named {
                Some(Resource::ReceiptSubscription(ReceiptSubscriptionUrl(id))) => Some(id),
                _ => None,
            });
        }
        let mut after = None;
        loop {
            let found = self.store.all_receipt_subscriptions(after, BATCH).await;
            let found = self.stored(found)?;
            let mut ids = found.iter().map(|(_, id)| *id);
            if let Some(id) = ids.find(|id| self.receipts_handle(*id) == text) {
                return Ok(Some(id));
            }
            let Some(last) = found.last() else {
                return Ok(None);
            };
            after = Some(*last);
            tokio::task::yield_now().await;
        }
    }

    /// Parses an application server key, or finds it by its handle among the 1,000 senders with the
    /// most stored data.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn find_key(&self, text: &str) -> Result<Option<PublicKey>, Error> {
        let text = text.trim();
        if !is_handle(text) {
            return Ok(PublicKey::from_base64url(text).ok());
        }
        let largest = self.stored(self.store.largest(MAX_SENDERS).await)?;
        let mut keys = largest.senders.iter().map(|held| held.holder);
        Ok(keys.find(|key| self.key_handle(key) == text))
    }

    /// Removes the stored messages that an application server is known to have signed. Returns
    /// their number.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some messages may have been removed then.
    pub async fn drop_signed(&self, key: PublicKey) -> Result<usize, Error> {
        let (mut messages, mut after) = (0, None);
        loop {
            let removed = self.store.remove_signed(key, after, self.now()).await;
            let (removed, last) = self.stored(removed)?;
            messages += removed;
            if last.is_none() {
                return Ok(messages);
            }
            after = last;
            tokio::task::yield_now().await;
        }
    }

    /// Ends a receipt subscription with its receipts. Returns whether it existed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn drop_receipts(&self, id: ReceiptSubscriptionId) -> Result<bool, Error> {
        let removed = self.store.remove_receipt_subscription(id, self.now()).await;
        self.stored(removed)
    }
}

fn is_handle(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}
