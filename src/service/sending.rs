//! The operations of application servers (RFC 8030 §5).

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::push::PushHeaders;
use bugle_protocol::vapid::{Unread, VapidError};
use bugle_protocol::{
    Content, MessageId, MessageUrl, PublicKey, PushEndpoint, PushMessage, ReceiptSubscriptionUrl,
    Ttl, Uaid,
};
use tokio::time::Instant;

use super::receipts::ReceiptRequest;
use super::{Error, PushService};
use crate::gate::failures::Checks;
use crate::gate::network::network;
use crate::observe::message_log::Event;
use crate::observe::otel::Accept;
use crate::service::vapid::Sender;
use crate::store::{NewMessage, OnAccepted, Origin, ReceiptStatus, Removal, Subscription};

/// An accepted push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message (RFC 8030 §5).
    pub message: MessageUrl,
    /// The lifetime that was granted (RFC 8030 §5.2).
    pub ttl: Ttl,
    /// The receipt subscription, if a receipt was requested (RFC 8030 §5.1).
    pub receipts: Option<ReceiptSubscriptionUrl>,
}

impl PushService {
    /// The subscription of an endpoint.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has ended (RFC 8030 §7.3, A-4), [`Error::Unavailable`].
    pub async fn endpoint(&self, endpoint: &PushEndpoint) -> Result<Subscription, Error> {
        let stored = self
            .store
            .subscription(endpoint.uaid, endpoint.channel)
            .await;
        match self.stored(stored)? {
            Some(subscription) if subscription.id == endpoint.subscription => Ok(subscription),
            _ => Err(Error::Gone),
        }
    }

    /// Checks that the sender may push to the subscription, and returns the sender (RFC 8292 §4.2).
    /// An invalid token is refused even if the subscription is not restricted (V-1).
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::OtherKey`], [`Error::Vapid`],
    /// [`Error::Refused`] if the key is blocked, or too many `checks` of the client's address have
    /// failed.
    pub fn authenticate(
        &self,
        subscription: &Subscription,
        given: Unread<'_>,
        checks: Checks<'_>,
    ) -> Result<Option<Sender>, Error> {
        let admit = || checks.admit().map_err(Error::from);
        let verified = self
            .verifier
            .verify(given, self.wall_clock(), &self.metrics, admit);
        if let Err(Error::Vapid(VapidError::Signature)) = verified {
            checks.failed();
        }
        let sender = verified?;
        if let Some(sender) = &sender {
            self.blocks.check_key(&sender.key)?;
        }
        match (&subscription.vapid_key, sender) {
            (Some(_), None) => Err(Error::Unauthorized),
            (Some(key), Some(sender)) if *key != sender.key => Err(Error::OtherKey),
            (_, sender) => Ok(sender),
        }
    }

    /// The origin of a push signed by `key`. It counts for its key alone if addresses do not
    /// distinguish clients (`limits.connections_per_address` is 0).
    pub fn origin(&self, key: Option<&PublicKey>, address: IpAddr) -> Origin {
        Origin {
            key: key.copied(),
            network: self.tells_addresses_apart().then(|| network(address)),
        }
    }

    /// Whether each address has a share of the limits.
    pub(super) fn tells_addresses_apart(&self) -> bool {
        self.config.limits.connections_per_address != 0
    }

    /// Accepts a message from `origin`, in the trace of `span`. When this returns, the message is
    /// durable, or its TTL is 0 and it has been handed to the user agent or dropped (RFC 8030
    /// §5.2).
    ///
    /// # Errors
    /// [`Error::Gone`] if the subscription has just ended, [`Error::NoReceipts`] if the receipt
    /// subscription has, [`Error::Full`], [`Error::Unavailable`].
    pub async fn push(
        &self,
        subscription: &Subscription,
        headers: PushHeaders,
        content: Option<Content>,
        request: ReceiptRequest,
        origin: Origin,
        span: Option<&Accept>,
    ) -> Result<Accepted, Error> {
        let now = self.now();
        let most = Ttl::from_secs(self.config.push.max_ttl.as_secs());
        let ttl = headers.ttl.min(most);
        let receipt = self.receipt_target(request);
        let message = NewMessage {
            channel: subscription.channel,
            subscription: subscription.id,
            accepted_at: now,
            expires_at: now + ttl,
            urgency: headers.urgency,
            topic: headers.topic,
            receipt,
            content,
            origin,
        };
        let uaid = subscription.uaid;
        // Only a message that is not stored needs a copy.
        let live = (ttl == Ttl::ZERO).then(|| message.clone());
        let on_accepted = self.on_accepted(uaid, &message, span);
        let handed = Instant::now();
        let appended = self.store.append(uaid, message, on_accepted).await;
        let id = self.stored(appended)?;
        let accepted = Instant::now();
        if let Some(span) = span.filter(|_| live.is_none()) {
            span.stored(handed, accepted);
        }
        match live {
            // The store has woken its connection.
            None => self.metrics.store.record(accepted - handed),
            Some(message) => {
                let message = message.with_id(id);
                self.hand_over(uaid, message, &origin, accepted).await;
            }
        }
        self.metrics.accepted.inc();
        Ok(Accepted {
            message: MessageUrl { uaid, id },
            ttl,
            receipts: receipt.map(|target| ReceiptSubscriptionUrl(target.id)),
        })
    }

    /// The callback that records the acceptance of a message, for operators who trace it. The store
    /// calls it, because the sender may have hung up by then.
    fn on_accepted(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        span: Option<&Accept>,
    ) -> Option<OnAccepted> {
        let key = message.origin.key.as_ref();
        let traced = self.trace.begin(uaid, message, key);
        let follow = span.map(Accept::follower);
        if traced.is_none() && follow.is_none() {
            return None;
        }
        let (trace, time) = (Arc::clone(&self.trace), Arc::clone(&self.time));
        Some(Box::new(move |id| {
            if let Some(traced) = traced {
                trace.accepted(traced, id, time.now());
            }
            if let Some(follow) = follow {
                follow(id, Instant::now());
            }
        }))
    }

    /// Hands a message with TTL 0 to its user agent, or drops it.
    async fn hand_over(
        &self,
        uaid: Uaid,
        message: PushMessage,
        origin: &Origin,
        accepted: Instant,
    ) {
        let (name, receipt) = ((uaid, message.id), message.receipt);
        // Before the message is handed over, so that an acknowledgement finds it.
        let add = |receipt| self.live.add(name, receipt, origin, self.now());
        let waits = receipt.is_some_and(add);
        if !self.clients.offer(uaid, message, accepted) {
            self.metrics.dropped.inc();
            self.note(name.1, Event::Dropped);
            self.traces.forget(name.1);
            self.live.take(name);
        } else if waits || receipt.is_none() {
            return;
        }
        if let Some(receipt) = receipt {
            self.settle(receipt, uaid, name.1, ReceiptStatus::Failed)
                .await;
        }
    }

    /// Drops a message with TTL 0 that the filter of its user agent excludes: for this message, the
    /// user agent counts as not connected (RFC 8030 §5.2).
    pub async fn drop_filtered(&self, uaid: Uaid, id: MessageId) {
        self.metrics.dropped.inc();
        self.note(id, Event::Dropped);
        self.traces.forget(id);
        if let Some(receipt) = self.live.take((uaid, id)) {
            self.settle(receipt, uaid, id, ReceiptStatus::Failed).await;
        }
    }

    // The message resource (RFC 8030 §5, §6.2).

    /// A message.
    ///
    /// # Errors
    /// [`Error::NoMessage`] if it does not exist, [`Error::Unavailable`].
    pub async fn message(&self, MessageUrl { uaid, id }: MessageUrl) -> Result<PushMessage, Error> {
        let stored = self.store.message(uaid, id, self.now()).await;
        self.stored(stored)?.ok_or(Error::NoMessage)
    }

    /// Withdraws a message. After its delivery, this acknowledges it.
    ///
    /// # Errors
    /// [`Error::NoMessage`] if it does not exist, [`Error::Unavailable`].
    pub async fn withdraw(&self, MessageUrl { uaid, id }: MessageUrl) -> Result<(), Error> {
        if let Some(receipt) = self.live.take((uaid, id)) {
            self.settle(receipt, uaid, id, ReceiptStatus::Delivered)
                .await;
            self.note(id, Event::Withdrawn);
            self.traces.acknowledged(id, None);
            return Ok(());
        }
        let live = self.store.message(uaid, id, self.now()).await;
        if self.stored(live)?.is_none() {
            return Err(Error::NoMessage);
        }
        let withdrawn = [(id, Removal::Withdrawn)];
        let removed = self.store.remove(uaid, &withdrawn, self.now());
        if self.stored(removed.await)? > 0 {
            self.note(id, Event::Withdrawn);
            self.traces.acknowledged(id, None);
            Ok(())
        } else {
            Err(Error::NoMessage)
        }
    }
}
