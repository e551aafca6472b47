//! The messages of one user agent in the order of sending.

use std::collections::HashMap;

use super::Delivery;
use super::counts::Counts;
use super::record::{Answer, Fate, Record};
use crate::clock::Moment;

/// The messages of one user agent.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: Vec<Record>,
    /// Number of the newest connection, counted from 1.
    connection: u32,
    is_connected: bool,
    /// Connections on which acknowledgements may have been lost.
    broken: Vec<u32>,
    ordinary: Newest,
    /// Messages with TTL 0, which a service handles separately.
    live: Newest,
    redelivered: u64,
    duplicate: u64,
    out_of_order: u64,
    late: u64,
}

/// The latest time of sending among the messages that arrived.
#[derive(Debug, Default)]
struct Newest {
    /// On the current connection.
    here: Moment,
    /// Among first deliveries.
    first: Moment,
}

impl Log {
    /// Returns the number of earlier messages.
    pub(super) fn send(&mut self, mut record: Record) -> usize {
        record.connection = self.open();
        self.records.push(record);
        self.records.len() - 1
    }

    /// Returns `None` if there is no such message.
    pub(super) fn change<T>(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        self.records.get_mut(number as usize).map(change)
    }

    pub(super) fn connect(&mut self) -> u32 {
        self.connection += 1;
        self.is_connected = true;
        self.ordinary.here = Moment::default();
        self.live.here = Moment::default();
        self.connection
    }

    /// The number of the open connection, or 0.
    fn open(&self) -> u32 {
        match self.is_connected {
            true => self.connection,
            false => 0,
        }
    }

    pub(super) fn disconnect(&mut self, clean: bool, now: Moment) {
        self.is_connected = false;
        for record in &mut self.records {
            let was_there = record.connection == self.connection;
            record.is_overdue |= was_there && record.has_no_excuse(now);
        }
        if !clean {
            self.broken.push(self.connection);
        }
    }

    pub(super) fn abandon(&mut self) {
        for record in &mut self.records {
            record.is_abandoned = true;
        }
    }

    pub(super) fn acknowledge(&mut self, number: u32) {
        self.change(number, |record| record.is_acknowledged = true);
    }

    /// Also returns whether the message was still open: not delivered, refused or lost
    /// before.
    pub(super) fn deliver(&mut self, number: u32, now: Moment) -> (Delivery, bool) {
        let Some(record) = self.records.get_mut(number as usize) else {
            return (Delivery::Unknown, false);
        };
        let newest = match record.terms.ttl {
            0 => &mut self.live,
            _ => &mut self.ordinary,
        };
        let is_first = record.first.is_none();
        let is_behind =
            record.accepted() < newest.here || is_first && record.accepted() < newest.first;
        self.out_of_order += u64::from(is_behind);
        newest.here = newest.here.max(record.sent);
        let last = std::mem::replace(&mut record.connection, self.connection);
        if is_first {
            newest.first = newest.first.max(record.sent);
            self.late += u64::from(record.is_late(now));
            record.first = Some(now);
            let was_open = matches!(record.answer, Answer::Awaited | Answer::Accepted(_));
            let intended = record.intended;
            return (Delivery::First { intended }, was_open);
        }
        let may_come_again =
            last != self.connection && (!record.is_acknowledged || self.broken.contains(&last));
        if may_come_again {
            self.redelivered += 1;
            return (Delivery::Again, false);
        }
        self.duplicate += 1;
        (Delivery::Duplicate, false)
    }

    pub(super) fn count(&self, now: Moment, counts: &mut Counts) {
        counts.redelivered += self.redelivered;
        counts.duplicate += self.duplicate;
        counts.out_of_order += self.out_of_order;
        counts.late += self.late;
        self.for_each(now, |_, record, fate| counts.add(record, fate));
    }

    pub(super) fn for_each(&self, now: Moment, mut show: impl FnMut(u32, &Record, Fate)) {
        let topics = Topics::of(&self.records);
        for (number, record) in (0..).zip(&self.records) {
            let is_replaced = topics.replace(number, record);
            let was_there = self.is_connected && record.connection == self.connection;
            match record.fate(now, is_replaced) {
                Fate::Expired if was_there && record.has_no_excuse(now) => {
                    show(number, record, Fate::Missing);
                }
                fate => show(number, record, fate),
            }
        }
    }
}

/// The two messages of each topic that were accepted last.
struct Topics(HashMap<u32, [(Moment, u32); 2]>);

impl Topics {
    fn of(records: &[Record]) -> Self {
        let mut topics: HashMap<_, [(Moment, u32); 2]> = HashMap::new();
        for (number, record) in (0..).zip(records) {
            let Some(topic) = record.terms.topic.filter(|_| record.may_be_taken()) else {
                continue;
            };
            let accepted = (record.accepted(), number);
            let last = topics.entry(topic).or_insert([accepted; 2]);
            if last[0].1 == number {
                continue;
            }
            if last[0].1 == last[1].1 || accepted > last[1] {
                last[1] = accepted;
            }
            last.sort_unstable_by(|a, b| b.cmp(a));
        }
        Self(topics)
    }

    /// Whether another message of the same topic was accepted after this one was sent.
    fn replace(&self, number: u32, record: &Record) -> bool {
        let last = record.terms.topic.and_then(|topic| self.0.get(&topic));
        let mut others = last.into_iter().flatten().filter(|other| other.1 != number);
        others.any(|(accepted, _)| *accepted > record.sent)
    }
}
