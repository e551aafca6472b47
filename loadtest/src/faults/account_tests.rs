//! Tests that the account recognises each promise, kept and broken.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const NOON: UnixTime = UnixTime::from_secs(43_200);

/// An account with one user agent.
struct Scene {
    account: Account,
    user_agent: u32,
}

impl Scene {
    fn new() -> Self {
        let mut account = Account::default();
        let user_agent = account.add_user_agent();
        Self {
            account,
            user_agent,
        }
    }

    fn asked(&mut self, topic: Option<&str>, ttl: Duration) -> MessageName {
        let topic = topic.map(str::to_owned);
        self.account.begin_push(self.user_agent, topic, ttl, NOON)
    }

    fn accepted(&mut self) -> MessageName {
        self.accepted_with(None, HOUR)
    }

    fn accepted_with(&mut self, topic: Option<&str>, ttl: Duration) -> MessageName {
        let name = self.asked(topic, ttl);
        self.account.accepted(name, NOON);
        name
    }

    fn connection(&mut self) -> Connection {
        self.account.connect(self.user_agent, false, NOON)
    }

    fn receives(&mut self, connection: &mut Connection, name: MessageName) {
        self.receives_at(connection, name, NOON);
    }

    fn receives_at(&mut self, connection: &mut Connection, name: MessageName, now: UnixTime) {
        let version = name.number.to_string();
        self.account.delivered(connection, name, &version, now);
    }

    /// Acknowledges a message, and the service reads it.
    fn acks(&mut self, name: MessageName) {
        self.account.begin_ack(name);
        self.account.acks_confirmed(&[name]);
    }

    /// Crashes the service, restarts it, and delivers `coming`.
    fn crash_and_return(&mut self, coming: &[MessageName], now: UnixTime) {
        self.account.crashed();
        let mut connection = self.account.connect(self.user_agent, true, now);
        for name in coming {
            self.receives_at(&mut connection, *name, now);
        }
        self.account.settle(&connection, now);
    }

    fn fates(&self) -> Vec<Option<Fate>> {
        self.account.fates().collect()
    }

    fn violated(&self) -> Vec<Violation> {
        self.account.violations.counts.keys().copied().collect()
    }
}

#[test]
fn an_accepted_message_stays_pending_while_it_is_delivered() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    for _ in 0..3 {
        scene.crash_and_return(&[name], NOON);
    }
    assert_eq!(scene.fates(), [None]);
    assert_eq!(scene.violated(), []);
}

#[test]
fn an_accepted_message_that_is_not_delivered_is_missing() {
    let mut scene = Scene::new();
    scene.accepted();
    scene.crash_and_return(&[], NOON);
    assert_eq!(scene.fates(), [Some(Fate::Missing)]);
    assert_eq!(scene.violated(), [Violation::Missing]);
}

#[test]
fn a_message_without_201_may_be_delivered_or_not() {
    let mut scene = Scene::new();
    let (there, gone) = (scene.asked(None, HOUR), scene.asked(None, HOUR));
    scene.account.not_accepted(gone, NOON);
    scene.crash_and_return(&[there], NOON);
    assert_eq!(scene.violated(), []);
    // Once delivered, it must not be lost any more.
    scene.crash_and_return(&[], NOON);
    assert_eq!(scene.violated(), [Violation::Missing]);
}

#[test]
fn an_ack_is_durable_when_a_later_push_is_accepted() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    let mut connection = scene.connection();
    scene.receives(&mut connection, name);
    scene.acks(name);
    let later = scene.accepted();
    scene.crash_and_return(&[name, later], NOON);
    assert_eq!(scene.violated(), [Violation::Again]);
}

#[test]
fn an_ack_that_was_not_durable_may_be_forgotten() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    // This push began before the acknowledgement, so its 201 proves nothing.
    let early = scene.asked(None, HOUR);
    let mut connection = scene.connection();
    scene.receives(&mut connection, name);
    scene.acks(name);
    scene.account.accepted(early, NOON);
    scene.crash_and_return(&[name, early], NOON);
    assert_eq!(scene.violated(), []);
    // The message is pending as before.
    scene.crash_and_return(&[early], NOON);
    assert_eq!(scene.violated(), [Violation::Missing]);
}

#[test]
fn an_ack_that_was_not_durable_may_also_take_effect() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    scene.account.begin_ack(name);
    scene.crash_and_return(&[], NOON);
    assert_eq!(scene.fates(), [Some(Fate::Delivered)]);
    assert_eq!(scene.violated(), []);
    // The message was gone, so it must not come back.
    scene.crash_and_return(&[name], NOON);
    assert_eq!(scene.violated(), [Violation::Again]);
}

#[test]
fn without_a_crash_an_ack_counts_once_the_service_has_read_it() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    let mut first = scene.connection();
    scene.receives(&mut first, name);
    scene.account.begin_ack(name);
    let mut second = scene.connection();
    scene.receives(&mut second, name);
    assert_eq!(
        scene.violated(),
        [],
        "the acknowledgement may not have been read"
    );
    scene.acks(name);
    let mut third = scene.connection();
    scene.receives(&mut third, name);
    assert_eq!(scene.violated(), [Violation::Again]);
}

#[test]
fn an_expired_message_may_be_gone_and_must_not_be_delivered() {
    let mut scene = Scene::new();
    let ttl = Duration::from_secs(10);
    let names = [
        scene.accepted_with(None, ttl),
        scene.accepted_with(None, ttl),
    ];
    scene.crash_and_return(&names[..1], NOON + ttl);
    assert_eq!(scene.fates(), [None, Some(Fate::Expired)]);
    assert_eq!(scene.violated(), []);
    scene.crash_and_return(&names[..1], NOON + ttl + Duration::from_millis(1));
    assert_eq!(scene.violated(), [Violation::Late]);
}

#[test]
fn the_last_message_of_a_topic_stays() {
    let mut scene = Scene::new();
    let first = scene.accepted_with(Some("a"), HOUR);
    let second = scene.accepted_with(Some("a"), HOUR);
    scene.crash_and_return(&[second], NOON);
    assert_eq!(scene.fates(), [Some(Fate::Replaced), None]);
    assert_eq!(scene.violated(), []);
    scene.crash_and_return(&[first, second], NOON);
    assert_eq!(scene.violated(), [Violation::Again]);
}

#[test]
fn one_message_of_a_topic_in_doubt_stays() {
    for (coming, violated) in [
        ([true, false], vec![]),
        ([false, true], vec![]),
        ([true, true], vec![Violation::TopicTwice]),
        ([false, false], vec![Violation::Missing]),
    ] {
        let mut scene = Scene::new();
        let names = [
            scene.accepted_with(Some("a"), HOUR),
            scene.asked(Some("a"), HOUR),
        ];
        let coming: Vec<_> = names
            .into_iter()
            .zip(coming)
            .filter_map(|(name, comes)| comes.then_some(name))
            .collect();
        scene.crash_and_return(&coming, NOON);
        assert_eq!(scene.violated(), violated, "{coming:?}");
    }
}

#[test]
fn a_withdrawal_becomes_durable_like_an_ack() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    scene.account.begin_withdrawal(name);
    scene.account.withdrawal_answered(name, true);
    scene.crash_and_return(&[name], NOON);
    assert_eq!(scene.violated(), [], "the withdrawal was not durable");
    scene.account.begin_withdrawal(name);
    scene.account.withdrawal_answered(name, true);
    let later = scene.accepted();
    scene.crash_and_return(&[later], NOON);
    assert_eq!(scene.fates(), [Some(Fate::Withdrawn), None]);
    assert_eq!(scene.violated(), []);
    scene.crash_and_return(&[name, later], NOON);
    assert_eq!(scene.violated(), [Violation::Again]);
}

#[test]
fn a_withdrawal_that_found_nothing_ends_nothing() {
    let mut scene = Scene::new();
    let name = scene.accepted();
    scene.account.begin_withdrawal(name);
    scene.account.withdrawal_answered(name, false);
    scene.crash_and_return(&[], NOON);
    assert_eq!(scene.violated(), [Violation::Missing]);
}

#[test]
fn a_connection_must_deliver_each_message_once_and_in_order() {
    let mut scene = Scene::new();
    let names = [scene.accepted(), scene.accepted()];
    let mut connection = scene.connection();
    scene.receives(&mut connection, names[1]);
    scene.receives(&mut connection, names[0]);
    assert_eq!(scene.violated(), [Violation::OutOfOrder]);
    scene.receives(&mut connection, names[0]);
    assert_eq!(scene.violated(), [Violation::Twice, Violation::OutOfOrder]);
}

#[test]
fn concurrent_pushes_have_no_order() {
    let mut scene = Scene::new();
    let names = [scene.asked(None, HOUR), scene.asked(None, HOUR)];
    for name in names {
        scene.account.accepted(name, NOON);
    }
    let mut connection = scene.connection();
    scene.receives(&mut connection, names[1]);
    scene.receives(&mut connection, names[0]);
    assert_eq!(scene.violated(), []);
}

#[test]
fn a_version_belongs_to_one_message_and_a_message_to_one_user_agent() {
    let mut scene = Scene::new();
    let names = [scene.accepted(), scene.accepted()];
    let mut connection = scene.connection();
    for name in names {
        scene
            .account
            .delivered(&mut connection, name, "the same", NOON);
    }
    assert_eq!(scene.violated(), [Violation::Version]);
    scene.account.add_user_agent();
    let user_agent = 1;
    let mut other = scene.account.connect(user_agent, false, NOON);
    scene.receives(&mut other, names[0]);
    let never_sent = MessageName {
        user_agent,
        number: 9,
    };
    scene.receives(&mut other, never_sent);
    assert_eq!(scene.account.violations.counts[&Violation::Foreign], 2);
}

#[test]
fn a_forgotten_user_agent_misses_its_messages() {
    let mut scene = Scene::new();
    scene.accepted();
    scene.accepted_with(None, Duration::from_secs(1));
    scene.account.crashed();
    let later = NOON + Duration::from_secs(2);
    scene.account.forgotten(scene.user_agent, later);
    let fates = [Some(Fate::Missing), Some(Fate::Expired)];
    assert_eq!(scene.fates(), fates);
    assert_eq!(scene.violated(), [Violation::Missing, Violation::Forgotten]);
}
