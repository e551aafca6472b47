//! Accounting of how much each holder has stored.
//!
//! Pure: no disk, no clock, no lock. Origins are kept in memory only: addresses should not be on
//! disk, and the key that signed a message is not stored. After a restart, stored messages are
//! charged to their user agent, their subscription, and the key that their subscription is
//! restricted to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use bugle_protocol::{PublicKey, UnixTime};

/// The origin of a push, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The application server key that signed it (RFC 8292).
    pub key: Option<PublicKey>,
    /// The [network](crate::gate::network::network) of the peer that sent it.
    pub network: Option<IpAddr>,
}

impl Origin {
    /// Returns all holders that a push of this origin is charged to.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> {
        let key = self.key.map(Holder::Key);
        key.into_iter().chain(self.network.map(Holder::Network))
    }
}

/// A holder of a share of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An application server, by its VAPID key.
    Key(PublicKey),
    /// A peer, by its [network](crate::gate::network::network).
    Network(IpAddr),
}

/// How much a holder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Stored messages, or receipt subscriptions.
    pub(crate) items: u64,
    /// Bytes of the messages, as `PushMessage::size` counts them.
    pub(crate) bytes: u64,
    /// Receipts that the messages will leave, or that the subscriptions hold.
    pub(crate) receipts: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, more: Self) {
        self.items += more.items;
        self.bytes += more.bytes;
        self.receipts += more.receipts;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, less: Self) {
        self.items -= less.items;
        self.bytes -= less.bytes;
        self.receipts -= less.receipts;
    }
}

/// Identifies a holder in [`Holders`], from its first charge until it holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle(NonZeroU32);

/// The holders that one stored item is charged to; 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    key: Option<Handle>,
    network: Option<Handle>,
}

/// The amount of every holder. A holder of nothing takes no memory.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    handles: HashMap<Arc<Holder>, Handle>,
    /// Indexed by handle; `None` if the handle is free.
    slots: Vec<Option<Slot>>,
    /// The free handles.
    free: Vec<Handle>,
}

#[derive(Debug)]
struct Slot {
    holder: Arc<Holder>,
    held: Amount,
    /// Since when it has held something without interruption.
    since: UnixTime,
}

impl Handle {
    /// `None` beyond 4 billion holders; further ones are not accounted for.
    fn new(index: usize) -> Option<Self> {
        let number = u32::try_from(index).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Holders {
    /// Charges `amount` to all holders of an origin. `now` is the time at which the item was
    /// accepted.
    pub(crate) fn charge(&mut self, origin: &Origin, amount: Amount, now: UnixTime) -> Charged {
        let key = origin.key.map(Holder::Key);
        let network = origin.network.map(Holder::Network);
        Charged {
            key: key.and_then(|holder| self.charge_one(holder, amount, now)),
            network: network.and_then(|holder| self.charge_one(holder, amount, now)),
        }
    }

    fn charge_one(&mut self, holder: Holder, amount: Amount, now: UnixTime) -> Option<Handle> {
        let handle = match self.handles.get(&holder) {
            Some(handle) => *handle,
            None => self.begin(holder, now)?,
        };
        if let Some(slot) = self.slot(handle) {
            slot.held += amount;
            slot.since = slot.since.min(now);
        }
        Some(handle)
    }

    fn begin(&mut self, holder: Holder, since: UnixTime) -> Option<Handle> {
        let handle = match self.free.pop() {
            Some(handle) => handle,
            None => {
                let handle = Handle::new(self.slots.len())?;
                self.slots.push(None);
                handle
            }
        };
        let holder = Arc::new(holder);
        self.handles.insert(Arc::clone(&holder), handle);
        self.slots[handle.index()] = Some(Slot {
            holder,
            held: Amount::default(),
            since,
        });
        Some(handle)
    }

    /// Charges more to the holders of an earlier charge.
    pub(crate) fn charge_again(&mut self, charged: Charged, amount: Amount) {
        for handle in charged.handles() {
            if let Some(slot) = self.slot(handle) {
                slot.held += amount;
            }
        }
    }

    /// Takes back a charge.
    pub(crate) fn discharge(&mut self, charged: Charged, amount: Amount) {
        for handle in charged.handles() {
            let Some(slot) = self.slot(handle) else {
                continue;
            };
            slot.held -= amount;
            if slot.held == Amount::default()
                && let Some(slot) = self.slots[handle.index()].take()
            {
                self.handles.remove(&slot.holder);
                self.free.push(handle);
            }
        }
        // The slab cannot shrink in the middle, so it is freed when it is empty.
        if self.handles.is_empty() {
            *self = Self::default();
        }
    }

    fn slot(&mut self, handle: Handle) -> Option<&mut Slot> {
        self.slots.get_mut(handle.index())?.as_mut()
    }

    /// Returns the amount of a holder.
    pub(crate) fn held(&self, holder: Holder) -> Amount {
        let handle = self.handles.get(&holder);
        let slot = handle.and_then(|handle| self.slots.get(handle.index())?.as_ref());
        slot.map_or_else(Amount::default, |slot| slot.held)
    }

    /// Returns whether an item is charged to this holder.
    pub(crate) fn is_charged(&self, charged: Charged, holder: Holder) -> bool {
        let handle = self.handles.get(&holder);
        handle.is_some_and(|handle| charged.handles().any(|it| it == *handle))
    }

    /// Returns all holders with their amounts, and since when each has held something without
    /// interruption.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Holder, Amount, UnixTime)> {
        let slots = self.slots.iter().flatten();
        slots.map(|slot| (&*slot.holder, slot.held, slot.since))
    }
}

impl Charged {
    fn handles(self) -> impl Iterator<Item = Handle> {
        self.key.into_iter().chain(self.network)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const ONE: Amount = Amount {
        items: 1,
        bytes: 100,
        receipts: 0,
    };

    fn network(n: u8) -> Origin {
        Origin {
            key: None,
            network: Some([192, 0, 2, n].into()),
        }
    }

    fn held(holders: &Holders, origin: &Origin) -> u64 {
        holders.held(origin.holders().next().unwrap()).items
    }

    #[test]
    fn a_charge_takes_8_bytes() {
        assert_eq!(size_of::<Charged>(), 8);
    }

    #[test]
    fn a_holder_of_nothing_takes_no_memory() {
        let mut holders = Holders::default();
        let charged: Vec<_> = (0..100)
            .map(|n| holders.charge(&network(n % 10), ONE, UnixTime::from_secs(n.into())))
            .collect();
        assert_eq!(held(&holders, &network(3)), 10);
        assert_eq!(holders.iter().count(), 10);
        for charged in charged {
            holders.discharge(charged, ONE);
        }
        assert_eq!(held(&holders, &network(3)), 0);
        assert!(holders.slots.is_empty() && holders.handles.is_empty());
    }

    #[test]
    fn a_handle_is_used_again_for_another_holder() {
        let mut holders = Holders::default();
        let now = UnixTime::from_secs(1);
        let _first = holders.charge(&network(1), ONE, now);
        let second = holders.charge(&network(2), ONE, now);
        holders.discharge(second, ONE);
        holders.charge(&network(3), ONE, now);
        assert_eq!(holders.slots.len(), 2);
        assert_eq!(held(&holders, &network(2)), 0);
        assert_eq!(held(&holders, &network(3)), 1);
        assert_eq!(held(&holders, &network(1)), 1);
    }
}
