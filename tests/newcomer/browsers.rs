//! The browsers of this machine, used like a person does.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::marionette::{Context, Marionette};

const TIMEOUT: Duration = Duration::from_secs(60);
const PREFERENCES: &str = include_str!("../real_clients/user.js");

const SET_PREFERENCE: &str = r"
    const [name, value] = arguments;
    if (value === null) Services.prefs.clearUserPref(name);
    else if (typeof value === 'boolean') Services.prefs.setBoolPref(name, value);
    else Services.prefs.setStringPref(name, value);
";

/// Marks the button with this text for a real click.
const MARK: &str = r"
    for (const button of document.querySelectorAll('button'))
        button.toggleAttribute('data-chosen', button.textContent === arguments[0]);
    return document.querySelectorAll('[data-chosen]').length;
";

const TEXT: &str = "return document.querySelector(arguments[0]).textContent;";

const NOTIFICATIONS: &str = r"
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map(({ body }) => body);
";

/// Opens an address in Chromium and presses the controls with these names; the push must
/// appear.
pub fn try_it(address: &str, pressed: &[String]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../newcomer/try.mjs");
    let output = Command::new("node")
        .arg(script)
        .args(["/usr/bin/chromium", address])
        .args(pressed)
        .output()
        .expect("node must be installed");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
}

/// A Firefox with a new profile, killed on drop.
pub struct Firefox {
    session: Marionette,
    _process: Process,
    _profile: TempDir,
}

impl Firefox {
    /// Starts Firefox without preferences for Bugle.
    pub fn start() -> Self {
        let profile = TempDir::new().unwrap();
        fs::write(profile.path().join("user.js"), PREFERENCES).unwrap();
        let mut command = Command::new("firefox-esr");
        command
            .args(["--headless", "--no-remote", "--marionette"])
            .args(["--remote-allow-system-access", "--profile"])
            .arg(profile.path())
            .arg("about:blank")
            .env("HOME", profile.path())
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command).expect("firefox-esr must be installed");
        let port = profile.path().join("MarionetteActivePort");
        let session = wait_until("Firefox to answer", TIMEOUT, || {
            let port = fs::read_to_string(&port).ok()?.trim().parse().ok()?;
            Marionette::connect(port).ok()
        });
        let mut firefox = Self {
            session,
            _process: process,
            _profile: profile,
        };
        // Other tests preset this preference; here the reader sets it.
        firefox.set_preference("dom.push.testing.allowInsecureServerURL", &Value::Null);
        firefox
    }

    /// Sets a preference like about:config; null removes it.
    pub fn set_preference(&mut self, name: &str, value: &Value) {
        self.session
            .run(Context::Chrome, SET_PREFERENCE, &json!([name, value]))
            .unwrap();
    }

    /// Opens the page, presses the buttons with these texts, and returns the subscription that
    /// the page shows.
    pub fn subscribe(&mut self, url: &str, pressed: &[String]) -> String {
        self.session.navigate(url).unwrap();
        assert!(!pressed.is_empty(), "the document names no button");
        for name in pressed {
            assert_eq!(self.in_page(MARK, name), 1, "no button is called {name}");
            self.session.click("[data-chosen]").unwrap();
        }
        wait_until("the subscription", TIMEOUT, || {
            let state = self.in_page(TEXT, "#state");
            assert!(!state.to_string().contains("Error"), "{state}");
            let shown = self.in_page(TEXT, "#subscription");
            shown
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        })
    }

    /// Waits until the page and a notification show a text.
    pub fn shows(&mut self, text: &str) {
        wait_until("the page to show the push", TIMEOUT, || {
            let pushes = self.in_page(TEXT, "#pushes");
            pushes.as_str()?.contains(text).then_some(())
        });
        wait_until("the notification", TIMEOUT, || {
            let shown = self.in_page(NOTIFICATIONS, "");
            shown.as_array()?.contains(&text.into()).then_some(())
        });
    }

    fn in_page(&mut self, script: &str, argument: &str) -> Value {
        self.session
            .run(Context::Content, script, &json!([argument]))
            .unwrap()
    }
}
