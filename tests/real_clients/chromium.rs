//! Chromium as a user agent: its process, its profile, and scripts in its pages.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::client;
use tokio_tungstenite::tungstenite::{Message, WebSocket};
use url::Url;

use crate::senders::Subscription;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const QUIT_TIMEOUT: Duration = Duration::from_secs(30);
/// A subscription needs a check-in, a registration and sometimes a connection.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(90);

/// Registers the worker in its own scope and subscribes there.
const SUBSCRIBE: &str = r#"async (scope, key) => {
    const registration = await navigator.serviceWorker.register("/worker.js", { scope });
    const worker = registration.installing ?? registration.waiting ?? registration.active;
    while (worker.state !== "activated") {
        await new Promise((done) => worker.addEventListener("statechange", done, { once: true }));
    }
    const raw = atob(key.replaceAll("-", "+").replaceAll("_", "/"));
    const applicationServerKey = Uint8Array.from(raw, (c) => c.charCodeAt(0));
    try {
        const options = { userVisibleOnly: true, applicationServerKey };
        return { subscription: (await registration.pushManager.subscribe(options)).toJSON() };
    } catch (error) {
        return { error: `${error.name}: ${error.message}` };
    }
}"#;

const UNSUBSCRIBE: &str = r#"async (scope) => {
    const registration = await navigator.serviceWorker.getRegistration(scope);
    return await (await registration.pushManager.getSubscription()).unsubscribe();
}"#;

const SUBSCRIPTION: &str = r#"async (scope) => {
    const registration = await navigator.serviceWorker.getRegistration(scope);
    return (await registration.pushManager.getSubscription())?.toJSON() ?? null;
}"#;

/// How a Chromium is pointed at a service.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Switches on its command line.
    pub(crate) switches: Vec<String>,
    /// The managed policy.
    pub(crate) policy: Option<Value>,
}

/// The files of one browser.
pub(crate) struct ChromiumProfile {
    folder: TempDir,
    way: Way,
}

impl ChromiumProfile {
    /// Creates a profile in which these sites may show notifications. A grant by the debugger
    /// would end with the browser.
    pub(crate) fn new(way: Way, sites: &[String]) -> Self {
        let folder = TempDir::new().unwrap();
        let default = folder.path().join("profile/Default");
        fs::create_dir_all(&default).unwrap();
        let allowed = |site: &String| {
            (
                format!("{},*", site.trim_end_matches('/')),
                json!({ "setting": 1 }),
            )
        };
        let allowed: serde_json::Map<_, _> = sites.iter().map(allowed).collect();
        let preferences = json!({
            "profile": { "content_settings": { "exceptions": { "notifications": allowed } } },
        });
        fs::write(default.join("Preferences"), preferences.to_string()).unwrap();
        if let Some(policy) = &way.policy {
            let managed = folder.path().join("policies/managed");
            fs::create_dir_all(&managed).unwrap();
            fs::write(managed.join("bugle.json"), policy.to_string()).unwrap();
        }
        Self { folder, way }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that starts the browser. A policy is that of this browser alone: it is mounted
    /// where Debian's Chromium looks for it, in a namespace of its own.
    fn command(&self) -> Command {
        const MOUNT: &str = r#"mkdir -p /etc/chromium/policies &&
            mount --bind "$0" /etc/chromium/policies && exec "$@""#;
        let mut command = match &self.way.policy {
            None => Command::new("chromium"),
            Some(_) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", MOUNT]);
                command.arg(self.path("policies")).arg("chromium");
                command
            }
        };
        command
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args(["--remote-debugging-port=0", "--disable-dev-shm-usage"])
            .arg(format!(
                "--user-data-dir={}",
                self.path("profile").display()
            ))
            .args(&self.way.switches)
            .arg("about:blank")
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A running Chromium, killed on drop.
pub(crate) struct Chromium {
    socket: WebSocket<TcpStream>,
    process: Process,
    last: u64,
    /// The session of the page.
    page: String,
}

impl Chromium {
    /// Starts Chromium with this profile and an empty page.
    pub(crate) fn start(profile: &ChromiumProfile) -> Self {
        let port_file = profile.path("profile/DevToolsActivePort");
        // Remove the file of the previous run; Chromium writes it again once it listens.
        let _ = fs::remove_file(&port_file);
        let process = Process::start(&mut profile.command()).expect("chromium must be installed");
        let socket = wait_until("Chromium to answer", START_TIMEOUT, || connect(&port_file));
        socket
            .get_ref()
            .set_read_timeout(Some(SCRIPT_TIMEOUT))
            .unwrap();
        let mut this = Self {
            socket,
            process,
            last: 0,
            page: String::new(),
        };
        let target = this.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = this.call("Target.attachToTarget", &attach);
        this.page = attached["sessionId"].as_str().unwrap().to_owned();
        this
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
        wait_until("the page to load", START_TIMEOUT, || {
            let state = self.run(
                "(url) => [location.href.startsWith(url), document.readyState]",
                &json!([url]),
            );
            (state == json!([true, "complete"])).then_some(())
        });
    }

    /// Subscribes in a scope with an application server key, or returns the page's error.
    pub(crate) fn try_subscribe(&mut self, scope: &str, key: &str) -> Result<Subscription, String> {
        let made = self.run(SUBSCRIBE, &json!([scope, key]));
        match made["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(Subscription(made["subscription"].clone())),
        }
    }

    /// The current subscription of a scope.
    pub(crate) fn subscription(&mut self, scope: &str) -> Option<Subscription> {
        let subscription = self.run(SUBSCRIPTION, &json!([scope]));
        (!subscription.is_null()).then_some(Subscription(subscription))
    }

    /// Ends the subscription of a scope.
    pub(crate) fn unsubscribe(&mut self, scope: &str) -> bool {
        self.run(UNSUBSCRIBE, &json!([scope])) == json!(true)
    }

    /// Quits like a person, so that the profile is saved.
    pub(crate) fn quit(mut self) {
        self.page.clear();
        self.call("Browser.close", &json!({}));
        self.process.wait(QUIT_TIMEOUT).expect("Chromium ends");
    }

    /// Calls a function in the page with these arguments, and waits for what it promises.
    fn run(&mut self, function: &str, arguments: &Value) -> Value {
        let expression = format!("({function})(...{arguments})");
        let evaluate =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let evaluated = self.call("Runtime.evaluate", &evaluate);
        let failed = evaluated.get("exceptionDetails");
        assert!(failed.is_none(), "{function}: {failed:?}");
        evaluated["result"]["value"].clone()
    }

    /// Sends a command to the page, or to the browser before there is a page.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.page.is_empty() {
            command["sessionId"] = json!(self.page);
        }
        self.socket
            .send(Message::text(command.to_string()))
            .unwrap();
        loop {
            let message = self.socket.read().expect("Chromium answers");
            let Message::Text(text) = message else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

/// Connects to the debugger whose port and path are in this file.
fn connect(port_file: &Path) -> Option<WebSocket<TcpStream>> {
    let text = fs::read_to_string(port_file).ok()?;
    let (port, path) = text.trim().split_once('\n')?;
    let stream = TcpStream::connect(("127.0.0.1", port.parse().ok()?)).ok()?;
    let url: Url = format!("ws://127.0.0.1:{port}{path}").parse().ok()?;
    Some(client(url.as_str(), stream).ok()?.0)
}
