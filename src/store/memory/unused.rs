//! Records when user agents and subscriptions are used, and ends user agents that are unused.

use std::ops::Bound::{Excluded, Unbounded};

use bugle_protocol::{ChannelId, Uaid};

use super::{MemoryStore, State, UserAgent};
use crate::store::days::{Days, Sweep, Unused};
use crate::store::event::News;

impl UserAgent {
    fn is_unused(&self, days: Days, most: u32) -> bool {
        let received = self.channels.values().filter_map(|(_, used)| *used).max();
        days.is_unused(received.max(self.connected), most)
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
    pub(super) fn pass_over(&self, sweep: &Sweep<'_>) -> (Unused, News) {
        let mut state = self.state();
        let begun = state.days.unwrap_or(Days::begin(sweep.now));
        let days = begun.at(sweep.now).unwrap_or(begun);
        state.days = Some(days);
        let (mut unused, mut news) = (Unused::default(), News::default());
        let mut left = sweep.limit;
        let Some(most) = sweep.unused_days else {
            return (unused, news);
        };
        while left > 0 && !state.pass.is_done(days.today) {
            let from = state.pass.after.map_or(Unbounded, Excluded);
            let next = state.user_agents.range((from, Unbounded)).next();
            let next = next.map(|(uaid, user_agent)| (*uaid, user_agent.is_unused(days, most)));
            state.pass.go_on(next.map(|(uaid, _)| uaid), days.today);
            let Some((uaid, is_unused)) = next else { break };
            left -= 1;
            if (sweep.is_connected)(uaid, &[]) {
                state.note_connected(uaid);
            } else if is_unused {
                let (ended, told) = self.end_if_absent(&mut state, uaid, sweep);
                left = left.saturating_sub(ended.subscriptions);
                unused += ended;
                news.events.extend(told.events);
            }
        }
        (unused, news)
    }

    /// Ends a user agent, unless a connection reads one of its channels.
    fn end_if_absent(&self, state: &mut State, uaid: Uaid, sweep: &Sweep<'_>) -> (Unused, News) {
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
        let news = News::ended_with(uaid, &names);
        (unused, news.receipts(removed.receipts))
    }
}
