//! The registry, without connections.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::sleep;

use super::*;

const UAID: Uaid = Uaid::from_bytes([1; 16]);
const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const READER: Reader = Reader::UserAgent(UAID);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn wakes_are_kept_and_coalesced() {
    let clients = Clients::new(1);
    let registration = clients.register(READER, HERE);
    clients.wake(UAID, CHANNEL, Instant::now());
    clients.wake(UAID, CHANNEL, Instant::now());
    assert!(registration.mail().await.log);
    let nothing = tokio::time::timeout(Duration::ZERO, registration.mail()).await;
    assert!(nothing.is_err());
}

#[tokio::test]
async fn wake_all_wakes_every_reader() {
    let clients = Clients::new(1);
    let readers = [READER, Reader::Channel(UAID, CHANNEL)];
    let registrations = readers.map(|reader| clients.register(reader, HERE));
    clients.wake_all().await;
    for registration in registrations {
        let mail = registration.mail().await;
        assert!(mail.log && mail.broadcasts);
    }
}

#[tokio::test]
async fn newest_connection_supersedes_older_whose_late_end_changes_nothing() {
    let clients = Clients::new(1);
    let older = clients.register(READER, HERE);
    let newer = clients.register(READER, HERE);
    assert_eq!(older.mail().await.ended, Some(Ended::Superseded));
    drop(older);
    clients.wake(UAID, CHANNEL, Instant::now());
    assert!(newer.mail().await.log);
    drop(newer);
    assert!(clients.connected.is_empty());
}

#[tokio::test]
async fn a_registration_after_close_all_is_closed_at_once() {
    let clients = Clients::new(1);
    let before = clients.register(READER, HERE);
    clients.close_all(Ended::ShuttingDown);
    let after = clients.register(Reader::Channel(UAID, CHANNEL), HERE);
    for registration in [before, after] {
        assert_eq!(registration.mail().await.ended, Some(Ended::ShuttingDown));
    }
}

/// Registers `count` connections of different user agents.
fn many(clients: &Arc<Clients>, count: u16) -> Vec<Registration> {
    let reader = |index: u16| {
        let mut uaid = [0; 16];
        uaid[..2].copy_from_slice(&index.to_be_bytes());
        Reader::UserAgent(Uaid::from_bytes(uaid))
    };
    let register = |index| clients.register(reader(index), HERE);
    (0..count).map(register).collect()
}

#[tokio::test(start_paused = true)]
async fn waking_all_is_spread() {
    let clients = Clients::new(1);
    let all = many(&clients, 200);
    let woken = || all.iter().filter(|it| it.mailbox.mail().log).count();
    let looking = async {
        for expected in [64, 128, 192, 200] {
            sleep(Duration::from_millis(5)).await;
            assert_eq!(woken(), expected);
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(clients.wake_all(), looking);
}

#[tokio::test(start_paused = true)]
async fn closing_all_is_spread_over_the_window() {
    let clients = Clients::new(1);
    let all = many(&clients, 1000);
    let woken = || {
        all.iter()
            .filter(|it| it.mailbox.mail().ended.is_some())
            .count()
    };
    for (window, few, half) in [(400, 25, 500), (3_600_000, 10, 500)] {
        for registration in &all {
            registration.mailbox.mail().ended = None;
        }
        let closing = clients.close_within(Ended::ShuttingDown, Duration::from_millis(window));
        let looking = async {
            sleep(Duration::from_millis(5)).await;
            assert_eq!(woken(), few, "at first");
            // The longer window is shortened to 1 ms per connection.
            let middle = window.min(1000) / 2 - 10;
            sleep(Duration::from_millis(middle)).await;
            assert_eq!(woken(), half, "in the middle");
        };
        tokio::join!(closing, looking);
        assert_eq!(woken(), 1000, "at the end");
    }
}

#[tokio::test]
async fn the_connections_of_a_range_of_addresses_are_closed() {
    let clients = Clients::new(1);
    let at = |last: u8, address: &str| {
        let reader = Reader::UserAgent(Uaid::from_bytes([last; 16]));
        clients.register(reader, address.parse().unwrap())
    };
    let inside = [at(1, "192.0.2.7"), at(2, "::ffff:192.0.2.200")];
    let outside = [at(3, "192.0.3.1"), at(4, "2001:db8::1")];
    clients.close_addresses(&"192.0.2.0/24".parse().unwrap(), Ended::Blocked);
    for registration in inside {
        assert_eq!(registration.mail().await.ended, Some(Ended::Blocked));
    }
    for registration in outside {
        assert_eq!(registration.mailbox.mail().ended, None);
    }
}

#[tokio::test]
async fn the_first_reason_to_close_counts() {
    let clients = Clients::new(1);
    let registration = clients.register(READER, HERE);
    assert_eq!(registration.closing(), None);
    clients.close(READER, Ended::Removed);
    clients.close_all(Ended::ShuttingDown);
    assert_eq!(registration.closing(), Some(Ended::Removed));
    assert_eq!(registration.mail().await.ended, Some(Ended::Removed));
}
