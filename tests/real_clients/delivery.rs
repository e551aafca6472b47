//! From subscribing to the service worker's push event, and pushes that must not arrive.

use serde_json::json;

use crate::senders::{Library, Push, VapidKeys};
use crate::stage::Stage;

const BOTH: [Library; 2] = [Library::WebPush, Library::Pywebpush];

/// Subscribes with and without an application server key, and sends text in both content
/// codings to each subscription.
fn text_reaches_the_worker(mut stage: Stage, library: Library) {
    let restricted = stage.subscribe("/restricted/");
    let open = stage.firefox().subscribe("/open/", None);

    stage.send_accepted(
        library,
        &[
            Push::text(&restricted, "a signed text").signed(&stage.keys),
            Push::text(&restricted, "ein älterer Text")
                .signed(&stage.keys)
                .aesgcm(),
            Push::text(&open, "an unsigned text"),
            Push::text(&open, "an older text").aesgcm(),
            Push::text(&open, "a text signed for nothing").signed(&stage.keys),
        ],
    );

    assert_texts(
        &stage,
        "/restricted/",
        &["a signed text", "ein älterer Text"],
    );
    assert_texts(
        &stage,
        "/open/",
        &[
            "an unsigned text",
            "an older text",
            "a text signed for nothing",
        ],
    );
}

/// Waits for exactly these texts, in any order.
pub(crate) fn assert_texts(stage: &Stage, scope: &str, expected: &[&str]) {
    let received = stage.site.wait_for(scope, expected.len());
    let mut received: Vec<_> = received.iter().map(Option::as_deref).collect();
    let mut expected: Vec<_> = expected.iter().copied().map(Some).collect();
    received.sort_unstable();
    expected.sort_unstable();
    assert_eq!(received, expected, "in {scope}");
}

#[test]
fn text_from_pywebpush_reaches_the_worker_over_ws() {
    text_reaches_the_worker(Stage::plain(), Library::Pywebpush);
}

#[test]
fn text_from_pywebpush_reaches_the_worker_over_wss_with_a_private_authority() {
    text_reaches_the_worker(Stage::tls(), Library::Pywebpush);
}

#[test]
fn text_from_web_push_reaches_the_worker_over_wss_with_a_private_authority() {
    text_reaches_the_worker(Stage::tls(), Library::WebPush);
}

#[test]
fn a_push_without_payload_gives_an_event_without_data() {
    let mut stage = Stage::tls();
    let subscription = stage.subscribe("/empty/");
    for library in BOTH {
        stage.send_accepted(library, &[Push::empty(&subscription).signed(&stage.keys)]);
    }
    assert_eq!(stage.site.wait_for("/empty/", 2), [None, None]);
}

#[test]
fn the_address_of_the_service_opens_an_explanatory_page() {
    let mut stage = Stage::tls();
    let url = stage.service.page_url();
    stage.firefox().open(&url);
    assert!(stage.firefox().title().contains("Web Push"));
}

#[test]
fn a_page_of_another_origin_may_push_and_read_the_response() {
    let mut stage = Stage::plain();
    let subscription = stage.firefox().subscribe("/fetch/", None);
    let headers = json!({ "TTL": "60", "Urgency": "high", "Topic": "fetch" });
    let answer = stage.firefox().push_by_fetch(&subscription, &headers);
    assert_eq!(answer["status"], 201, "{answer}");
    assert_eq!(answer["ttl"], "60", "{answer}");
    assert!(answer["location"].is_string(), "{answer}");
    assert_eq!(stage.site.wait_for("/fetch/", 1), [None]);
}

#[test]
fn after_unsubscribing_the_endpoint_is_gone() {
    let mut stage = Stage::tls();
    let left = stage.subscribe("/left/");
    let kept = stage.subscribe("/kept/");
    assert!(stage.firefox().unsubscribe("/left/"));

    for library in BOTH {
        stage.send_refused(
            library,
            Push::text(&left, "too late").signed(&stage.keys),
            410,
        );
    }
    stage.push(Library::WebPush, &kept, ["still here"]);
    assert_texts(&stage, "/kept/", &["still here"]);
    assert_texts(&stage, "/left/", &[]);
}

#[test]
fn a_push_without_the_subscriptions_key_is_refused_and_never_arrives() {
    let mut stage = Stage::tls();
    let subscription = stage.subscribe("/mine/");
    let stranger = VapidKeys::generate();

    for library in BOTH {
        let forged = Push::text(&subscription, "forged").signed(&stranger);
        stage.send_refused(library, forged.clone(), 403);
        stage.send_refused(library, forged.aesgcm(), 403);
        stage.send_refused(library, Push::text(&subscription, "unsigned"), 401);
    }
    // The browser stays connected: an accepted push of the others would arrive before this one.
    stage.push(Library::Pywebpush, &subscription, ["genuine"]);
    assert_texts(&stage, "/mine/", &["genuine"]);
}
