//! The position of a connection in its log, under an urgency filter that may change (RFC 8030 §5.3,
//!

use bugle_protocol::{MessageId, Urgency};

/// Tracks for each urgency how far its messages have been sent on this connection. Raising the
/// filter stops the urgencies below it. Lowering it again resumes them where they stopped, and
/// skips the messages that were sent in between. So each message is sent once, and the messages of
/// each urgency are sent in the order of acceptance.
#[derive(Debug)]
pub(super) struct Cursor {
    min: Urgency,
    /// The first unsent id of each urgency, lowest urgency first. Each entry only grows, and no
    /// entry is smaller than the one before it, because every read includes the higher urgencies.
    next: [u64; 4],
}

impl Cursor {
    /// Starts at the beginning of a log, with the minimum urgency `min`.
    pub(super) const fn new(min: Urgency) -> Self {
        Self { min, next: [0; 4] }
    }

    /// The minimum urgency.
    pub(super) const fn min(&self) -> Urgency {
        self.min
    }

    /// Sets the minimum urgency.
    pub(super) fn filter(&mut self, min: Urgency) {
        self.min = min;
    }

    /// The message after which the next read begins.
    pub(super) fn after(&self) -> Option<MessageId> {
        let last = self.next[self.min as usize].checked_sub(1);
        last.map(MessageId::new)
    }

    /// Advances past a message that was read. Returns whether it must still be sent.
    pub(super) fn pass(&mut self, id: MessageId, urgency: Urgency) -> bool {
        let is_new = self.next[urgency as usize] <= id.get();
        for next in &mut self.next[self.min as usize..] {
            *next = (*next).max(id.get().saturating_add(1));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const URGENCIES: [Urgency; 4] = [
        Urgency::VeryLow,
        Urgency::Low,
        Urgency::Normal,
        Urgency::High,
    ];

    #[derive(Clone, Debug)]
    enum Step {
        Push(Urgency),
        Filter(Urgency),
        /// Read up to this many messages.
        Read(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => select(&URGENCIES).prop_map(Step::Push),
            1 => select(&URGENCIES).prop_map(Step::Filter),
            2 => (1..4_usize).prop_map(Step::Read),
        ]
    }

    /// Reads once, as a connection does. Returns whether the log had anything.
    fn read(
        cursor: &mut Cursor,
        log: &[Urgency],
        most: usize,
        sent: &mut Vec<(u64, Urgency)>,
    ) -> bool {
        let entries = (0..).zip(log).map(|(id, urgency)| (id, *urgency));
        let wanted = entries.filter(|(id, urgency)| {
            *urgency >= cursor.min() && cursor.after() < Some(MessageId::new(*id))
        });
        let batch: Vec<_> = wanted.take(most).collect();
        for (id, urgency) in &batch {
            if cursor.pass(MessageId::new(*id), *urgency) {
                assert!(*urgency >= cursor.min(), "below the filter");
                sent.push((*id, *urgency));
            }
        }
        !batch.is_empty()
    }

    proptest! {
        #[test]
        fn each_message_is_sent_once_and_each_urgency_in_order(steps in vec(step(), 0..60)) {
            let (mut cursor, mut log, mut sent) = (Cursor::new(Urgency::VeryLow), Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(urgency) => log.push(urgency),
                    Step::Filter(min) => cursor.filter(min),
                    Step::Read(most) => drop(read(&mut cursor, &log, most, &mut sent)),
                }
            }
            cursor.filter(Urgency::VeryLow);
            while read(&mut cursor, &log, 3, &mut sent) {}

            let mut by_urgency = BTreeMap::<_, Vec<u64>>::new();
            for (id, urgency) in &sent {
                by_urgency.entry(*urgency).or_default().push(*id);
            }
            prop_assert!(by_urgency.values().all(|ids| ids.is_sorted()));
            sent.sort_unstable();
            let all: Vec<_> = (0..).zip(log).collect();
            prop_assert_eq!(sent, all);
        }
    }

    #[test]
    fn filtered_messages_are_sent_later_in_order_and_once() {
        let log = [Urgency::Low, Urgency::High, Urgency::Normal, Urgency::High];
        let (mut cursor, mut sent) = (Cursor::new(Urgency::VeryLow), Vec::new());
        for (min, expected) in [
            (Urgency::High, vec![1, 3]),
            (Urgency::Normal, vec![1, 3, 2]),
            (Urgency::High, vec![1, 3, 2]),
            (Urgency::VeryLow, vec![1, 3, 2, 0]),
        ] {
            cursor.filter(min);
            while read(&mut cursor, &log, 2, &mut sent) {}
            let ids: Vec<_> = sent.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids, expected, "{min:?}");
        }
    }
}
