//! The expiry of unused subscriptions (`expiry.unused`).

use std::time::Duration;

use bugle::Config;
use bugle::config::Profile;

use crate::support::app_server::{Push, ask};
use crate::support::held::{Events, drain};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

const DAY: Duration = Duration::from_secs(24 * 3600);
const UNUSED: &str = "bugle_subscriptions_unused_total";

/// Days before anything unused may end: the setting, plus six days during which a use need not
/// be recorded.
const EARLY: u64 = 7;

/// The shortest allowed setting.
fn short_expiry(config: &mut Config) {
    config.compat.profile = Profile::Lenient;
    config.push.max_ttl = Duration::from_secs(3600);
    config.expiry.unused = DAY;
}

/// Advances the clock by a day and waits until the service has noticed: the message that was
/// stored for today has expired.
async fn next_day(server: &Server, endpoint: &str) {
    let expired = server.metric("bugle_messages_expired_total").await;
    let message = Push::to(server, endpoint).ttl(60).text("x");
    message.accepted().await;
    server.advance(DAY);
    let is_later = |now| now > expired;
    server
        .await_that("bugle_messages_expired_total", is_later)
        .await;
}

/// Advances the clock until an unused subscription ends.
async fn until_one_ends(server: &Server, endpoint: &str) {
    for _ in 0..EARLY {
        next_day(server, endpoint).await;
    }
    server.counts(UNUSED, 0.0).await;
    for _ in 0..100 {
        if server.metric(UNUSED).await > 0.0 {
            return;
        }
        next_day(server, endpoint).await;
    }
    panic!("no subscription has ended");
}

#[tokio::test]
async fn ws_h_9_unused_subscriptions_end_and_the_browser_gets_a_new_uaid() {
    needs_ours!("its settings and clock");
    let server = Server::start_with(short_expiry).await;
    let mut unused = UserAgent::connect(&server).await;
    let gone = unused.register(CHANNEL, None).await;
    unused.register(CHANNEL_2, None).await;
    let uaid = unused.uaid.clone();
    unused.leave(&server).await;
    let mut sent_to = UserAgent::connect(&server).await;
    let in_use = sent_to.register(CHANNEL, None).await;
    let quiet = sent_to.register(CHANNEL_2, None).await;
    let known = sent_to.uaid.clone();
    sent_to.leave(&server).await;
    let mut connected = UserAgent::connect(&server).await;
    let here = connected.register(CHANNEL, None).await;

    until_one_ends(&server, &in_use).await;
    server.counts(UNUSED, 2.0).await;
    assert_eq!(Push::to(&server, &gone).text("x").send().await.status, 410);
    let again = UserAgent::reconnect(&server, &uaid).await;
    assert_ne!(again.uaid, uaid);
    // A message to one subscription keeps the others of its user agent.
    let back = UserAgent::reconnect(&server, &known).await;
    assert_eq!(back.uaid, known);
    Push::to(&server, &quiet).text("x").accepted().await;
    Push::to(&server, &here).text("here").accepted().await;
    connected.notification().await;
}

#[tokio::test]
async fn reading_over_http_counts_as_use() {
    needs_ours!("its settings and clock");
    let server = Server::start_with(short_expiry).await;
    let unused = Subscription::new(&server).await;
    let (held, read) = (
        Subscription::new(&server).await,
        Subscription::new(&server).await,
    );
    let fence = Subscription::new(&server).await;
    let mut events = Events::get(&server, &held.url, &[]).await;
    for day in 0..100 {
        if server.metric(UNUSED).await > 0.0 {
            break;
        }
        let url = [&read.url, &read.set][day % 2];
        assert_eq!(drain(&server, url).await.1, 204);
        next_day(&server, &fence.push).await;
    }
    server.counts(UNUSED, 1.0).await;
    assert_eq!(ask(&server, "GET", &unused.url).await.status, 404);
    let refused = Push::to(&server, &unused.push).text("x").send().await;
    assert_eq!(refused.status, 410);
    for push in [&held.push, &read.push, &fence.push] {
        Push::to(&server, push).text("x").accepted().await;
    }
    assert!(events.next().await.is_some());
}

#[tokio::test]
async fn days_on_which_the_service_did_not_run_do_not_count() {
    needs_ours!("its settings and clock");
    let mut server = Server::start_with(short_expiry).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    next_day(&server, &endpoint).await;
    server.restart_after(DAY * 1000).await;
    let back = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(back.uaid, uaid);
    server.counts(UNUSED, 0.0).await;
}
