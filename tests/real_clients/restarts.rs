//! No accepted message is lost when the browser or the service ends and starts again.

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
fn messages_sent_while_the_browser_is_closed_arrive_after_its_start() {
    let mut stage = Stage::plain();
    let subscription = stage.subscribe("/away/");
    let uaid = stage.firefox().uaid();
    stage.quit_firefox();

    let away = numbered("away", 200);
    stage.push(Library::Pywebpush, &subscription, texts(&away));
    stage.start_firefox();
    stage.site.wait_for("/away/", away.len());

    // The last message shows that the endpoint still works, and that no message arrived twice
    // before it.
    stage.push(Library::Pywebpush, &subscription, ["back"]);
    assert_texts(&stage, "/away/", &[texts(&away), vec!["back"]].concat());
    assert_eq!(stage.firefox().uaid(), uaid);
    stage.open_site();
    assert_eq!(stage.firefox().subscription("/away/"), Some(subscription));
}

#[test]
fn unacknowledged_messages_of_a_frozen_browser_arrive_after_it_is_killed() {
    let mut stage = Stage::plain();
    let subscription = stage.subscribe("/frozen/");
    stage.freeze_firefox("/frozen/");

    // These messages go to a connection that looks alive.
    let sent = numbered("unseen", 10);
    stage.push(Library::Pywebpush, &subscription, texts(&sent));
    stage.kill_firefox();
    stage.start_firefox();
    stage.site.wait_for("/frozen/", sent.len());
    stage.push(Library::Pywebpush, &subscription, ["back"]);
    assert_texts(&stage, "/frozen/", &[texts(&sent), vec!["back"]].concat());
}

#[test]
fn the_newer_of_two_messages_with_one_topic_is_stored() {
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

/// The service restarts under a connected browser: messages accepted right before and right
/// after arrive once each, on the same subscription.
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
fn no_message_is_lost_when_the_service_is_stopped_and_restarted() {
    survives_a_restart_of_the_service(
        Stage::tls(),
        Library::WebPush,
        Service::terminate_and_restart,
    );
}

#[test]
fn no_message_is_lost_when_the_service_is_killed_and_restarted() {
    survives_a_restart_of_the_service(
        Stage::plain(),
        Library::Pywebpush,
        Service::kill_and_restart,
    );
}

#[test]
fn no_message_is_lost_when_browser_and_service_restart() {
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
