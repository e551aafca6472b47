//! Nothing accepted is lost when the browser or the service goes and comes back.

use crate::delivery::assert_texts;
use crate::senders::{Library, Push};
use crate::service::Service;
use crate::stage::Stage;

fn numbered(word: &str, count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("{word} {number}"))
        .collect()
}

fn texts(numbered: &[String]) -> Vec<&str> {
    numbered.iter().map(String::as_str).collect()
}

#[test]
fn what_was_sent_while_the_browser_was_away_arrives_at_its_return() {
    let mut stage = Stage::plain();
    let subscription = stage.subscribe("/away/");
    let uaid = stage.firefox().uaid();
    stage.quit_firefox();

    let away = numbered("away", 200);
    stage.push(Library::Pywebpush, &subscription, texts(&away));
    stage.start_firefox();
    stage.site.wait_for("/away/", away.len());

    // The last one shows that the same endpoint still works, and that by then
    // nothing has come twice.
    stage.push(Library::Pywebpush, &subscription, ["back"]);
    assert_texts(&stage, "/away/", &[texts(&away), vec!["back"]].concat());
    assert_eq!(stage.firefox().uaid(), uaid);
    stage.open_site();
    assert_eq!(stage.firefox().subscription("/away/"), Some(subscription));
}

#[test]
fn what_a_frozen_browser_left_unacknowledged_arrives_after_it_was_killed() {
    let mut stage = Stage::plain();
    let subscription = stage.subscribe("/frozen/");
    stage.freeze_firefox("/frozen/");

    // These go to a connection that still looks alive.
    let sent = numbered("unseen", 10);
    stage.push(Library::Pywebpush, &subscription, texts(&sent));
    stage.kill_firefox();
    stage.start_firefox();
    stage.site.wait_for("/frozen/", sent.len());
    stage.push(Library::Pywebpush, &subscription, ["back"]);
    assert_texts(&stage, "/frozen/", &[texts(&sent), vec!["back"]].concat());
}

#[test]
fn of_two_messages_with_one_topic_the_newer_waits_for_the_browser() {
    let mut stage = Stage::tls();
    let subscription = stage.subscribe("/topic/");
    stage.quit_firefox();

    for library in [Library::WebPush, Library::Pywebpush] {
        let push = |text| Push::text(&subscription, text).signed(&stage.keys);
        let topic = format!("{library:?}");
        stage.send_accepted(
            library,
            &[push("old").topic(&topic), push("new").topic(&topic)],
        );
    }
    stage.start_firefox();
    stage.site.wait_for("/topic/", 2);
    stage.push(Library::WebPush, &subscription, ["back"]);
    assert_texts(&stage, "/topic/", &["new", "new", "back"]);
}

/// The browser stays, the service goes and comes back: what was accepted right
/// before and right after arrives, each once, on the same subscription.
fn survives_a_restart_of_the_service(
    mut stage: Stage,
    library: Library,
    restart: fn(&mut Service),
) {
    let subscription = stage.subscribe("/kept/");
    let uaid = stage.firefox().uaid();

    let before = numbered("before", 20);
    stage.push(library, &subscription, texts(&before));
    restart(&mut stage.service);
    let after = numbered("after", 20);
    stage.push(library, &subscription, texts(&after));
    stage.site.wait_for("/kept/", before.len() + after.len());

    stage.push(library, &subscription, ["last"]);
    assert_texts(
        &stage,
        "/kept/",
        &[texts(&before), texts(&after), vec!["last"]].concat(),
    );
    assert_eq!(stage.firefox().uaid(), uaid);
    assert_eq!(stage.firefox().subscription("/kept/"), Some(subscription));
}

#[test]
fn nothing_is_lost_when_the_service_is_told_to_stop_and_started_again() {
    survives_a_restart_of_the_service(
        Stage::tls(),
        Library::WebPush,
        Service::terminate_and_restart,
    );
}

#[test]
fn nothing_is_lost_when_the_service_is_killed_and_started_again() {
    survives_a_restart_of_the_service(
        Stage::plain(),
        Library::Pywebpush,
        Service::kill_and_restart,
    );
}

#[test]
fn nothing_is_lost_when_both_go_and_come_back() {
    let mut stage = Stage::plain();
    let subscription = stage.subscribe("/both/");
    stage.quit_firefox();
    let away = numbered("away", 20);
    stage.push(Library::Pywebpush, &subscription, texts(&away));
    stage.service.kill_and_restart();
    stage.start_firefox();
    stage.site.wait_for("/both/", away.len());
    stage.push(Library::Pywebpush, &subscription, ["back"]);
    assert_texts(&stage, "/both/", &[texts(&away), vec!["back"]].concat());
}
