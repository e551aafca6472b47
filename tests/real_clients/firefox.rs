//! Firefox as a user agent: its process, and scripts in its pages.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, Signal, wait_until};
use serde_json::{Value, json};

use crate::marionette::{Context, Marionette};
use crate::profile::Profile;
use crate::senders::Subscription;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const QUIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Registers the worker in its own scope and subscribes there.
const SUBSCRIBE: &str = r#"
    const [scope, applicationServerKey] = arguments;
    const registration = await navigator.serviceWorker.register("/worker.js", { scope });
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    while (worker.state !== "activated") {
        await new Promise((done) => worker.addEventListener("statechange", done, { once: true }));
    }
    const options = { userVisibleOnly: true };
    if (applicationServerKey) options.applicationServerKey = applicationServerKey;
    return (await registration.pushManager.subscribe(options)).toJSON();
"#;

const UNSUBSCRIBE: &str = r#"
    const registration = await navigator.serviceWorker.getRegistration(arguments[0]);
    return await (await registration.pushManager.getSubscription()).unsubscribe();
"#;

const SUBSCRIPTION: &str = r#"
    const registration = await navigator.serviceWorker.getRegistration(arguments[0]);
    return (await registration.pushManager.getSubscription())?.toJSON() ?? null;
"#;

/// Pushes from the page, which may read only the response header fields that the service
/// exposes.
const PUSH_BY_FETCH: &str = r#"
    const [endpoint, headers] = arguments;
    const answer = await fetch(endpoint, { method: "POST", headers });
    const [location, ttl] = ["Location", "TTL"].map((name) => answer.headers.get(name));
    return { status: answer.status, location, ttl };
"#;

const NOTIFICATIONS: &str = r#"
    const registration = await navigator.serviceWorker.ready;
    return (await registration.getNotifications()).map(({ body }) => body);
"#;

const SET_PREFERENCE: &str = r#"
    const [name, value] = arguments;
    const { prefs } = Services;
    if (value === null) prefs.clearUserPref(name);
    else if (typeof value === "boolean") prefs.setBoolPref(name, value);
    else prefs.setStringPref(name, value);
"#;

const UAID: &str = "return Services.prefs.getStringPref('dom.push.userAgentID', '');";

/// A running Firefox, killed on drop.
pub(crate) struct Firefox {
    session: Marionette,
    process: Process,
}

impl Firefox {
    /// Starts Firefox with this profile.
    pub(crate) fn start(profile: &Profile) -> Self {
        let port_file = profile.path("MarionetteActivePort");
        // Remove the file of the previous run; Firefox writes it again once it listens.
        let _ = fs::remove_file(&port_file);
        let mut command = Command::new("firefox-esr");
        command
            .args(["--headless", "--no-remote", "--marionette"])
            .args(["--remote-allow-system-access", "--profile"])
            .arg(profile.path(""))
            .arg("about:blank")
            .env("HOME", profile.path(""))
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command).expect("firefox-esr must be installed");
        let session = wait_until("Firefox to answer", START_TIMEOUT, || {
            let port = fs::read_to_string(&port_file).ok()?.trim().parse().ok()?;
            Marionette::connect(port).ok()
        });
        Self { session, process }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.session.navigate(url).unwrap();
    }

    /// Subscribes in a scope, with or without an application server key.
    pub(crate) fn subscribe(&mut self, scope: &str, key: Option<&str>) -> Subscription {
        Subscription(self.in_page(SUBSCRIBE, &json!([scope, key])))
    }

    /// The current subscription of a scope.
    pub(crate) fn subscription(&mut self, scope: &str) -> Option<Subscription> {
        let subscription = self.in_page(SUBSCRIPTION, &json!([scope]));
        (!subscription.is_null()).then_some(Subscription(subscription))
    }

    /// Ends the subscription of a scope; true if the push service confirmed.
    pub(crate) fn unsubscribe(&mut self, scope: &str) -> bool {
        self.in_page(UNSUBSCRIBE, &json!([scope])) == json!(true)
    }

    /// Pushes without payload from the page, with these request headers.
    pub(crate) fn push_by_fetch(&mut self, subscription: &Subscription, headers: &Value) -> Value {
        self.in_page(PUSH_BY_FETCH, &json!([subscription.endpoint(), headers]))
    }

    /// Clicks on the element of the current page that a CSS selector matches.
    pub(crate) fn click(&mut self, selector: &str) {
        self.session.click(selector).unwrap();
    }

    /// The text of an element of the current page.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0]).textContent;";
        let text = self.in_page(script, &json!([selector]));
        text.as_str().unwrap().to_owned()
    }

    /// The texts of the notifications that the page's worker currently shows.
    pub(crate) fn notifications(&mut self) -> Value {
        self.in_page(NOTIFICATIONS, &json!([]))
    }

    /// Sets a preference like a person in about:config; null removes it.
    pub(crate) fn set_preference(&mut self, name: &str, value: &Value) {
        self.session
            .run(Context::Chrome, SET_PREFERENCE, &json!([name, value]))
            .unwrap();
    }

    /// The title of the current page.
    pub(crate) fn title(&mut self) -> String {
        let title = self.in_page("return document.title;", &json!([]));
        title.as_str().unwrap().to_owned()
    }

    /// The uaid of this browser.
    pub(crate) fn uaid(&mut self) -> String {
        let uaid = self.session.run(Context::Chrome, UAID, &json!([])).unwrap();
        uaid.as_str().unwrap().to_owned()
    }

    /// Quits like a person, so that the profile is saved.
    pub(crate) fn quit(mut self) {
        let flags = json!({ "flags": ["eAttemptQuit"] });
        self.session.command("Marionette:Quit", &flags).unwrap();
        let status = self.process.wait(QUIT_TIMEOUT).expect("Firefox ends");
        assert!(status.success(), "Firefox ended with {status}");
    }

    /// Suspends the process (SIGSTOP): its connections stay open, but it reads and answers
    /// nothing. Afterwards it can only be dropped.
    pub(crate) fn freeze(&mut self) {
        self.process.signal(Signal::STOP).unwrap();
    }

    fn in_page(&mut self, script: &str, arguments: &Value) -> Value {
        self.session
            .run(Context::Content, script, arguments)
            .unwrap()
    }
}
