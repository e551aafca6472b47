//! Records when user agents and subscriptions are used, and ends user agents that are unused.

use std::ops::Bound::{Excluded, Unbounded};

use bugle_protocol::{ChannelId, Uaid};

use super::{MemoryStore, State, UserAgent};
use crate::store::days::{Days, Sweep, Unused};
use crate::store::event::Notice;

impl UserAgent {
    fn is_unused(&self, days: Days, unused_days: u32) -> bool {
        let received = self.channels.values().filter_map(|(_, used)| *used).max();
        days.is_unused(received.max(self.connected), unused_days)
    }
}

impl State {
    /// Returns whether a user agent has a subscription, and if so records that it is connected.
    pub(super) fn note_connected(&mut self, uaid: Uaid) -> bool {
        let Some(user_agent) = self.user_agents.get_mut(&uaid) else {
            return false;
        };
        if let Some(days) = self.days.filter(|days| days.is_due(user_agent.connected)) {
            user_agent.connected = Some(days.today);
        }
        true
    }

    /// Records that a message for a subscription was accepted.
    pub(super) fn note_received(&mut self, uaid: Uaid, channel: ChannelId) {
        let user_agent = self.user_agents.get_mut(&uaid);
        let known = user_agent.and_then(|it| it.channels.get_mut(&channel));
        if let (Some((_, used)), Some(days)) = (known, self.days)
            && days.is_due(*used)
        {
            *used = Some(days.today);
        }
    }
}

impl MemoryStore {
    /// Counts the day, and continues today's pass over all user agents.
    pub(super) fn continue_pass(&self, sweep: &Sweep<'_>) -> (Unused, Notice) {
        let mut state = self.state();
        let begun = state.days.unwrap_or(Days::begin(sweep.now));
        let days = begun.at(sweep.now).unwrap_or(begun);
        state.days = Some(days);
        let (mut unused, mut notice) = (Unused::default(), Notice::default());
        let mut remaining = sweep.limit;
        let Some(unused_days) = sweep.unused_days else {
            return (unused, notice);
        };
        while remaining > 0 && !state.pass.is_done(days.today) {
            let from = state.pass.after.map_or(Unbounded, Excluded);
            let next = state.user_agents.range((from, Unbounded)).next();
            let next =
                next.map(|(uaid, user_agent)| (*uaid, user_agent.is_unused(days, unused_days)));
            state.pass.go_on(next.map(|(uaid, _)| uaid), days.today);
            let Some((uaid, is_unused)) = next else { break };
            remaining -= 1;
            if (sweep.is_connected)(uaid, &[]) {
                state.note_connected(uaid);
            } else if is_unused {
                let (ended, end_notice) = self.end_if_absent(&mut state, uaid, sweep);
                remaining = remaining.saturating_sub(ended.subscriptions);
                unused += ended;
                notice.events.extend(end_notice.events);
            }
        }
        (unused, notice)
    }

    /// Ends a user agent, unless a connection reads one of its channels.
    fn end_if_absent(&self, state: &mut State, uaid: Uaid, sweep: &Sweep<'_>) -> (Unused, Notice) {
        let channels = state.user_agents.get(&uaid).map(|it| it.channels.clone());
        let channels = channels.unwrap_or_default();
        let names: Vec<ChannelId> = channels.keys().copied().collect();
        if (sweep.is_connected)(uaid, &names) {
            return Default::default();
        }
        let lives = channels.values().map(|(it, _)| it.id);
        let messages: Vec<_> = lives
            .flat_map(|life| state.index.of_subscription(uaid, life))
            .collect();
        state.user_agents.remove(&uaid);
        state.subscriptions -= names.len() as u64;
        let removed = self.remove_all(state, &messages, sweep.now);
        let unused = Unused {
            user_agents: 1,
            subscriptions: names.len(),
        };
        let notice = Notice::ended_with(uaid, &names);
        (unused, notice.receipts(removed.receipts))
    }
}
