//! RFC 8030 with independent HTTP clients: Node's `http2` as user agent and application server,
//! nghttp to show frames, curl without server push.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::senders::{Senders, Subscription, node};
use crate::service::Service;
use crate::stage::Stage;

const TIMEOUT: Duration = Duration::from_secs(20);

// --- Node ---------------------------------------------------------------------

/// A complete life cycle: subscribe, monitor, receive, acknowledge, receipt, remove.
fn from_subscribing_to_the_receipt(service: &Service) {
    let origin = service.origin();
    let input = json!({ "origin": origin, "payload": "für Node" });
    let senders = Senders::new(service.root());
    let reported: Value = senders.run(node("rfc8030.mjs"), "rfc8030.mjs", &input);

    let subscribed = &reported["subscribed"];
    assert_eq!(subscribed["status"], 201, "{reported}");
    let is_at = |url: &Value, path: &str| {
        let url = url.as_str().unwrap_or_default();
        assert!(
            url.starts_with(&format!("{origin}/{path}/")),
            "{url}: {reported}"
        );
    };
    is_at(&subscribed["subscription"], "subscription");
    is_at(&subscribed["endpoint"], "push");
    is_at(&subscribed["set"], "subscription-set");
    assert_eq!(reported["empty"], 204, "{reported}");

    let (accepted, pushed) = (&reported["accepted"], &reported["pushed"]);
    assert_eq!(accepted["status"], 202, "{reported}");
    assert_eq!(accepted["ttl"], "60", "{reported}");
    is_at(&accepted["message"], "message");
    assert_eq!(pushed["method"], "GET", "{reported}");
    assert_eq!(pushed["url"], accepted["message"], "{reported}");
    assert_eq!(pushed["status"], 200, "{reported}");
    assert_eq!(pushed["endpoint"], subscribed["endpoint"], "{reported}");
    assert_eq!(
        pushed["promisedEndpoint"], subscribed["endpoint"],
        "{reported}"
    );
    assert_eq!(pushed["encoding"], "aes128gcm", "{reported}");
    assert!(pushed["lastModified"].is_string(), "{reported}");
    assert_eq!(pushed["text"], "für Node", "{reported}");
    assert_eq!(reported["acknowledged"], 204, "{reported}");

    let receipt =
        json!({ "method": "GET", "url": accepted["message"], "status": 204, "octets": 0 });
    assert_eq!(reported["receipt"], receipt, "{reported}");
    assert_eq!(reported["receiptsRemoved"], 204, "{reported}");
    assert_eq!(reported["receiptsEnded"], 404, "{reported}");
    assert_eq!(reported["emptyAgain"], 204, "{reported}");
    assert_eq!(reported["removed"], 204, "{reported}");
    assert_eq!(reported["monitoringEnded"], 404, "{reported}");
    assert_eq!(reported["gone"], 404, "{reported}");
}

#[test]
fn node_completes_the_life_cycle_without_tls() {
    from_subscribing_to_the_receipt(&Service::start());
}

#[test]
fn node_completes_the_life_cycle_over_tls() {
    from_subscribing_to_the_receipt(&Service::start_with_tls(Authority::new()));
}

// --- curl ---------------------------------------------------------------------

/// A response as curl shows it.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The value of a header field with this lower-case name.
    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter_map(|(field, value)| (field == name).then_some(value));
        values.next()
    }

    /// The target of the link with this relation type.
    fn link(&self, relation: &str) -> String {
        let relation = format!("rel=\"urn:ietf:params:{relation}\"");
        let mut links = self.head.lines().filter(|line| line.ends_with(&relation));
        let link = links
            .next()
            .unwrap_or_else(|| panic!("{relation}: {self:?}"));
        let (_, url) = link.split_once('<').unwrap();
        url.split_once('>').unwrap().0.to_owned()
    }
}

fn curl(arguments: &[&str]) -> Answer {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--noproxy", "*"])
        .args(["--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl must be installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Pushes without payload and requests a receipt.
fn push_for_receipt(endpoint: &str) -> Answer {
    let fields = ["-H", "TTL: 60", "-H", "Prefer: respond-async"];
    let accepted = curl(&[&["-X", "POST", endpoint], &fields[..]].concat());
    assert_eq!(accepted.status, 202, "{accepted:?}");
    accepted
}

/// The type and data of each event in a body, without comments and retry times.
fn events(body: &str) -> Vec<(&str, Value)> {
    let parts = body.split_terminator("\n\n");
    let events = parts.filter(|part| part.contains("data: ")).map(|event| {
        let (kind, data) = event.split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (kind.strip_prefix("event: ").unwrap(), data)
    });
    events.collect()
}

/// Asserts the response to a GET without server push over this HTTP version.
fn tells_what_to_do(version: &str) {
    let service = Service::start();
    let subscribe = format!("{}/subscribe", service.origin());
    let made = curl(&[version, "-X", "POST", &subscribe]);
    assert_eq!(made.status, 201, "{made:?}");
    let set = made.link("push:set");
    for url in [made.header("location").unwrap(), &set] {
        let empty = curl(&[version, "-H", "Prefer: wait=0", url]);
        assert_eq!((empty.status, &*empty.body), (204, ""), "{empty:?}");
        let refused = curl(&[version, url]);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("text/event-stream"), "{refused:?}");
    }
}

#[test]
fn curl_without_server_push_gets_instructions_over_http1() {
    tells_what_to_do("--http1.1");
}

/// curl disables server push in its SETTINGS.
#[test]
fn curl_without_server_push_gets_instructions_over_http2() {
    tells_what_to_do("--http2-prior-knowledge");
}

#[test]
fn curl_reads_messages_and_receipts_as_events() {
    let service = Service::start();
    let subscribe = format!("{}/subscribe", service.origin());
    let ask = ["-H", "Accept: text/event-stream", "-H", "Prefer: wait=0"];
    let read = |version: &str, url: &str| {
        let answer = curl(&[&[version, url], &ask[..]].concat());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        answer.body
    };
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let made = curl(&[version, "-X", "POST", &subscribe]);
        let (endpoint, set) = (made.link("push"), made.link("push:set"));
        let accepted = push_for_receipt(&endpoint);
        let message = accepted.header("location").unwrap();
        let body = read(version, &set);
        let [("message", data)] = &events(&body)[..] else {
            panic!("not one message: {body}");
        };
        assert_eq!(
            (&data["message"], &data["push"]),
            (&json!(message), &json!(endpoint))
        );

        assert_eq!(curl(&[version, "-X", "DELETE", message]).status, 204);
        let receipts = accepted.link("push:receipt");
        let body = read(version, &receipts);
        let reported = json!({ "message": message, "status": 204 });
        assert_eq!(events(&body), [("receipt", reported)]);
    }
}

// --- nghttp -------------------------------------------------------------------

/// nghttp with a held GET, and the frames that it prints.
struct Nghttp {
    directory: TempDir,
    _process: Process,
}

impl Nghttp {
    fn get(url: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let output = File::create(directory.path().join("frames")).unwrap();
        // stdbuf, because nghttp otherwise buffers its output until it ends.
        let mut command = Command::new("stdbuf");
        command
            .args(["--output=L", "nghttp", "--verbose", url])
            .stdin(Stdio::null())
            .stdout(output);
        let needs = "stdbuf and nghttp must be installed (Debian: coreutils, nghttp2-client)";
        Self {
            _process: Process::start(&mut command).expect(needs),
            directory,
        }
    }

    /// Waits for a server push of this URL; returns the header fields of its response.
    fn wait_for(&self, url: &str) -> Vec<String> {
        wait_until(&format!("a server push of {url}"), TIMEOUT, || {
            let frames = fs::read_to_string(self.directory.path().join("frames")).unwrap();
            let frames: Vec<_> = frames.lines().collect();
            pushed(&frames, url)
        })
    }
}

/// The response to the promised request for this URL, once complete.
fn pushed(frames: &[&str], url: &str) -> Option<Vec<String>> {
    let (_, path) = url.split_once("/message/").unwrap();
    let path = format!(":path: /message/{path}");
    let requested = frames
        .iter()
        .position(|line| line.contains("recv") && line.ends_with(&path))?;
    let mut after = frames[requested..].iter();
    let promised =
        after.find_map(|line| line.split_once("promised_stream_id=")?.1.strip_suffix(')'))?;
    let stream = format!("recv (stream_id={promised}) ");
    let end = format!("stream_id={promised}>");
    let mut lines = frames[requested..].iter();
    let fields = lines.by_ref().take_while(|line| !line.contains(&end));
    let fields = fields.filter_map(|line| Some(line.split_once(&stream)?.1.to_owned()));
    let fields: Vec<_> = fields.collect();
    lines.next()?.contains("END_STREAM").then_some(fields)
}

#[test]
fn nghttp_receives_pushes_and_receipts() {
    let service = Service::start();
    let made = curl(&["-X", "POST", &format!("{}/subscribe", service.origin())]);
    let endpoint = made.link("push");
    let user_agent = Nghttp::get(made.header("location").unwrap());
    let accepted = push_for_receipt(&endpoint);
    let message = accepted.header("location").unwrap();
    let fields = user_agent.wait_for(message);
    let link = format!("link: <{endpoint}>; rel=\"urn:ietf:params:push\"");
    for field in [
        ":status: 200",
        "content-length: 0",
        "cache-control: private",
        &link,
    ] {
        assert!(
            fields.iter().any(|line| line == field),
            "{field}: {fields:?}"
        );
    }

    let application_server = Nghttp::get(&accepted.link("push:receipt"));
    assert_eq!(curl(&["-X", "DELETE", message]).status, 204);
    assert_receipt(&application_server, message);
}

#[test]
fn nghttp_receives_the_receipt_of_a_push_to_firefox() {
    let mut stage = Stage::plain();
    let Subscription(subscription) = stage.firefox().subscribe("/receipt/", None);
    let accepted = push_for_receipt(subscription["endpoint"].as_str().unwrap());
    let application_server = Nghttp::get(&accepted.link("push:receipt"));
    assert_eq!(stage.site.wait_for("/receipt/", 1), [None]);
    assert_receipt(&application_server, accepted.header("location").unwrap());
}

/// Asserts a receipt with 204: acknowledged (RFC 8030 §6.3).
fn assert_receipt(application_server: &Nghttp, message: &str) {
    let fields = application_server.wait_for(message);
    assert!(fields.contains(&":status: 204".to_owned()), "{fields:?}");
}
