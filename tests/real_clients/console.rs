//! The console in real browsers: Chromium runs `tests/console/chromium.mjs`, and Firefox
//! receives a push.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bugle_launch::wait_until;

use crate::service::Service;
use crate::stage::Stage;

const TIMEOUT: Duration = Duration::from_secs(40);

#[test]
fn the_console_works_in_chromium() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let screenshots = root.join("target/console");
    fs::create_dir_all(&screenshots).unwrap();
    let service = Service::start();
    let output = Command::new("node")
        .arg(root.join("tests/console/chromium.mjs"))
        .args(["/usr/bin/chromium", &service.console_url()])
        .args(["admin-token", "admin-read-token"].map(|file| service.token(file)))
        .arg(screenshots)
        .output()
        .expect("node must be installed");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
}

#[test]
fn the_console_receives_a_push_in_firefox() {
    let mut stage = Stage::plain();
    let console = stage.service.console_url();
    let token = stage.service.token("admin-token");
    let firefox = stage.firefox();
    firefox.open(&format!("{console}#token={token}"));
    wait_until("the overview", TIMEOUT, || {
        firefox.text("#about").contains("up since").then_some(())
    });
    firefox.click("a[href='#try']");
    firefox.click("#try-subscribe");
    wait_until("the page to be a user agent", TIMEOUT, || {
        let state = firefox.text("#try-state");
        state.starts_with("Subscribed").then_some(())
    });
    firefox.click("#send-form button");
    wait_until("the push, decrypted", TIMEOUT, || {
        firefox.text("#pushes").contains("hello").then_some(())
    });
}
