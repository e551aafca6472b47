//! Firefox with each form of admission to a restricted service; all of it is part of
//! `dom.push.serverURL`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::delivery::assert_texts;
use crate::secrets;
use crate::senders::Library;
use crate::service::Service;
use crate::stage::Stage;

/// Subscribes and receives with a URL that contains these credentials and this path.
fn comes_in(admission: &[(&'static str, &'static str)], user: &str, path: &str) {
    for (_, value) in admission
        .iter()
        .filter(|(name, _)| !name.ends_with("ADDRESSES"))
    {
        secrets::note(value);
        secrets::note(&STANDARD.encode(value));
    }
    let service = Service::start_guarded(admission);
    let url = format!("ws://{user}localhost:{}{path}", service.port());
    let mut stage = Stage::with_url(service, &url);
    let subscription = stage.subscribe("/guarded/");
    stage.push(Library::Pywebpush, &subscription, ["let in"]);
    assert_texts(&stage, "/guarded/", &["let in"]);
}

#[test]
fn firefox_connects_with_a_secret_path() {
    let admission = [("BUGLE_ADMISSION__PATH", "only-for-friends")];
    comes_in(&admission, "", "/only-for-friends");
}

#[test]
fn firefox_connects_with_a_token_in_the_query() {
    let admission = [("BUGLE_ADMISSION__TOKEN", "only-for-friends")];
    comes_in(&admission, "", "/?token=only-for-friends");
}

#[test]
fn firefox_connects_by_its_address() {
    let admission = [("BUGLE_ADMISSION__ADDRESSES", "127.0.0.0/8, ::1")];
    comes_in(&admission, "", "/");
}

#[test]
fn firefox_connects_with_user_and_password() {
    let admission = [("BUGLE_ADMISSION__BASIC", "friend:password")];
    comes_in(&admission, "friend:password@", "/");
}
