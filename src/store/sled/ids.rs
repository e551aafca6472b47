//! Message ids, which are never reused, not even after a crash.

use bugle_protocol::MessageId;

/// How many ids one record on disk reserves.
///
/// Large, because messages with TTL 0 take ids even while the disk accepts no reservation.
pub(super) const BLOCK: u64 = 1 << 24;

/// Gives out ids below a bound that is on disk. After a crash, ids continue from that bound, above
/// every id that was ever given out.
#[derive(Debug)]
pub(super) struct Ids {
    next: u64,
    /// Ids below this one are durably reserved.
    durable: u64,
    /// A reservation that is applied and not yet known to be durable.
    coming: Option<Reservation>,
}

#[derive(Debug)]
struct Reservation {
    up_to: u64,
    batch: u64,
}

impl Ids {
    /// Continues with `next`; all ids below `durable` are reserved on disk.
    pub(super) fn new(next: u64, durable: u64) -> Self {
        Self {
            next,
            durable,
            coming: None,
        }
    }

    /// Returns the bound to reserve now, if a reservation is due. It is due when half a block is
    /// left, long before a caller has to wait for it.
    pub(super) fn due(&mut self, is_durable: impl Fn(u64) -> bool) -> Option<u64> {
        if let Some(coming) = self.coming.take_if(|coming| is_durable(coming.batch)) {
            self.durable = coming.up_to;
        }
        let low = self.durable.saturating_sub(self.next) <= BLOCK / 2;
        (low && self.coming.is_none()).then_some(self.durable + BLOCK)
    }

    /// Records that `up_to` is reserved once `batch` is durable.
    pub(super) fn reserved(&mut self, up_to: u64, batch: u64) {
        self.coming = Some(Reservation { up_to, batch });
    }

    /// Returns the id that is given out next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Gives out the next id, or returns `None` when the disk must confirm a reservation first.
    pub(super) fn take(&mut self) -> Option<MessageId> {
        let id = self.next;
        (id < self.durable).then(|| {
            self.next += 1;
            MessageId::new(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_beyond_the_durable_bound() {
        let mut ids = Ids::new(10, 12);
        assert_eq!(ids.due(|_| false), Some(12 + BLOCK));
        ids.reserved(12 + BLOCK, 7);
        assert_eq!(ids.take(), Some(MessageId::new(10)));
        assert_eq!(ids.take(), Some(MessageId::new(11)));
        assert_eq!(ids.due(|batch| batch < 7), None);
        assert_eq!(ids.take(), None);
        assert_eq!(ids.due(|batch| batch <= 7), None);
        assert_eq!(ids.take(), Some(MessageId::new(12)));
    }

    #[test]
    fn a_new_block_is_due_when_half_is_left() {
        let mut ids = Ids::new(0, BLOCK);
        ids.next = BLOCK / 2 - 1;
        assert_eq!(ids.due(|_| true), None);
        ids.take();
        assert_eq!(ids.due(|_| true), Some(2 * BLOCK));
    }
}
