//! Unmodified Chromium, pointed at the service by switches and by policy.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::chromium::{Chromium, ChromiumProfile, Way};
use crate::senders::{Library, Push, Senders, Subscription, VapidKeys};
use crate::service::Service;
use crate::site::Site;

/// The hosts that are compiled into Chromium, and the one that its endpoints begin with.
const HOSTS: [&str; 3] = [
    "android.clients.google.com",
    "mtalk.google.com",
    "jmt17.google.com",
];

/// Chromium waits for 20 to 30 s after it has lost a connection within ten seconds of its login, and
/// twice as long if it then cannot connect.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(180);

/// A service, a site open in Chromium, and application servers.
struct Stage {
    // The browser is dropped first, then its peers.
    chromium: Option<Chromium>,
    profile: ChromiumProfile,
    senders: Senders,
    keys: VapidKeys,
    site: Site,
    service: Service,
}

fn service(site: &Site) -> Service {
    let hosts: String = HOSTS.map(|host| format!(" --host {host}")).concat();
    let command = format!("bugle tls init --host localhost --host 127.0.0.1{hosts}");
    let authority = Authority::from_commands(&command);
    let site = site.url();
    let settings = [
        ("BUGLE_CHROMIUM__ENABLED", "true"),
        ("BUGLE_CHROMIUM__ORIGINS", site.as_str()),
        ("BUGLE_SERVER__AUDIENCES", "https://jmt17.google.com"),
    ];
    Service::start_with_tls_and(authority, &settings)
}

/// Switches for all three addresses. The certificate is trusted by the digest of its key.
fn by_switches(service: &Service) -> Way {
    let origin = service.origin();
    let pin = service.public_key_pin();
    Way {
        switches: vec![
            format!("--gcm-checkin-url={origin}/checkin"),
            format!("--gcm-registration-url={origin}/c2dm/register3"),
            format!("--gcm-mcs-endpoint={origin}"),
            format!("--ignore-certificate-errors-spki-list={pin}"),
        ],
        policy: None,
    }
}

/// No switch at all: a policy with a proxy for the two hosts, and the authority.
fn by_policy(service: &Service, site: &str) -> Way {
    let port = service.port();
    let pac = format!(
        "function FindProxyForURL(url, host) {{ \
         if (host == '{}' || host == '{}') return 'PROXY localhost:{port}'; \
         return 'DIRECT'; }}",
        HOSTS[0], HOSTS[1],
    );
    let root = service.root().unwrap();
    Way {
        switches: Vec::new(),
        policy: Some(json!({
            "ProxySettings": { "ProxyMode": "pac_script", "ProxyPacUrl": data_url(&pac) },
            "CACertificates": [der(&root)],
            "NotificationsAllowedForUrls": [site],
        })),
    }
}

fn data_url(pac: &str) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(pac);
    format!("data:application/x-ns-proxy-autoconfig;base64,{encoded}")
}

/// A certificate in base64 of DER, from a file in PEM.
fn der(file: &Path) -> Value {
    let pem = std::fs::read_to_string(file).unwrap();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    json!(lines.collect::<String>())
}

impl Stage {
    fn with(way: impl FnOnce(&Service, &str) -> Way) -> Self {
        let site = Site::start();
        let service = service(&site);
        let url = site.url();
        let profile = ChromiumProfile::new(way(&service, &url), &[url]);
        let mut stage = Self {
            chromium: None,
            profile,
            senders: Senders::new(service.root()),
            keys: VapidKeys::generate(),
            site,
            service,
        };
        stage.start();
        stage
    }

    fn start(&mut self) {
        self.chromium = Some(Chromium::start(&self.profile));
    }

    fn chromium(&mut self) -> &mut Chromium {
        self.chromium
            .as_mut()
            .expect("the test has started the browser")
    }

    fn quit(&mut self) {
        self.chromium
            .take()
            .expect("the test has started the browser")
            .quit();
    }

    fn subscribe(&mut self, scope: &str) -> Subscription {
        let (url, key) = (self.site.url(), self.keys.public_key.clone());
        let chromium = self.chromium();
        chromium.open(&url);
        let made = chromium.try_subscribe(scope, &key);
        made.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The subscription as the application server posts to it: with the host of the service.
    fn here(&self, subscription: &Subscription) -> Subscription {
        let endpoint = subscription.endpoint();
        let (_, path) = endpoint
            .split_once("://")
            .unwrap()
            .1
            .split_once('/')
            .unwrap();
        let mut here = subscription.clone();
        here.0["endpoint"] = json!(format!("{}/{path}", self.service.origin()));
        here
    }

    fn push(&self, subscription: &Subscription, texts: &[&str]) {
        let to = self.here(subscription);
        let pushes: Vec<_> = texts
            .iter()
            .map(|text| Push::text(&to, text).signed(&self.keys))
            .collect();
        for answer in self.senders.send_all(Library::WebPush, &pushes) {
            assert_eq!(answer.status, 201, "{answer:?}");
        }
    }

    fn received(&self, scope: &str, count: usize) -> Vec<String> {
        let received = self.site.wait_within(ARRIVAL_TIMEOUT, scope, count);
        let mut texts: Vec<_> = received
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect();
        texts.sort();
        texts
    }
}

/// From a subscription to its end, over a restart of the browser.
fn full_cycle(mut stage: Stage) {
    let subscription = stage.subscribe("/a/");
    assert!(
        subscription
            .endpoint()
            .starts_with("https://jmt17.google.com/fcm/send/")
    );
    stage.push(&subscription, &["at once"]);
    assert_eq!(stage.received("/a/", 1), ["at once"]);

    // Two messages wait while the browser is closed, and come once.
    stage.quit();
    stage.push(&subscription, &["later 1", "later 2"]);
    stage.start();
    assert_eq!(stage.received("/a/", 3), ["at once", "later 1", "later 2"]);
    let url = stage.site.url();
    stage.chromium().open(&url);
    assert_eq!(
        stage.chromium().subscription("/a/"),
        Some(subscription.clone())
    );

    assert!(stage.chromium().unsubscribe("/a/"));
    let to = stage.here(&subscription);
    let late = Push::text(&to, "too late").signed(&stage.keys);
    let answers = stage.senders.send_all(Library::WebPush, &[late]);
    assert_eq!(answers[0].status, 410, "{answers:?}");
    assert_eq!(stage.received("/a/", 3).len(), 3);
}

#[test]
fn chromium_receives_by_switches() {
    full_cycle(Stage::with(|service, _| by_switches(service)));
}

#[test]
fn chromium_receives_by_policy_alone() {
    full_cycle(Stage::with(by_policy));
}

#[test]
fn every_coding_reaches_the_worker_and_what_it_would_drop_is_refused() {
    let mut stage = Stage::with(|service, _| by_switches(service));
    let subscription = stage.subscribe("/codings/");
    let to = stage.here(&subscription);
    let long = "x".repeat(3993);
    let pushes = [
        Push::text(&to, "aes128gcm").signed(&stage.keys),
        Push::text(&to, &long).signed(&stage.keys),
        Push::text(&to, "aesgcm").signed(&stage.keys).aesgcm(),
        Push::empty(&to).signed(&stage.keys),
    ];
    for library in [Library::WebPush, Library::Pywebpush] {
        for answer in stage.senders.send_all(library, &pushes) {
            assert_eq!(answer.status, 201, "{library:?}: {answer:?}");
        }
    }
    let received = stage.received("/codings/", 8);
    let expected = ["", "aes128gcm", "aesgcm", &long]
        .map(|text| [text, text])
        .concat();
    let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(received, expected);
}

#[test]
fn a_restart_of_the_service_loses_and_repeats_nothing() {
    let mut stage = Stage::with(|service, _| by_switches(service));
    let subscription = stage.subscribe("/restarts/");
    stage.push(&subscription, &["1"]);
    assert_eq!(stage.received("/restarts/", 1), ["1"]);
    stage.service.terminate_and_restart();
    stage.push(&subscription, &["2"]);
    assert_eq!(stage.received("/restarts/", 2), ["1", "2"]);
    stage.service.kill_and_restart();
    stage.push(&subscription, &["3"]);
    assert_eq!(stage.received("/restarts/", 3), ["1", "2", "3"]);
}

#[test]
fn a_site_that_is_not_admitted_is_refused_at_once() {
    let mut stage = Stage::with(|service, _| by_switches(service));
    let foreign = Site::start();
    let profile = ChromiumProfile::new(by_switches(&stage.service), &[foreign.url()]);
    stage.chromium = None;
    let mut chromium = Chromium::start(&profile);
    chromium.open(&foreign.url());
    let refused = chromium.try_subscribe("/a/", &stage.keys.public_key);
    let error = refused.unwrap_err();
    assert!(error.contains("push service error"), "{error}");
}

#[test]
fn two_profiles_are_two_devices() {
    let mut stage = Stage::with(|service, _| by_switches(service));
    let first = stage.subscribe("/one/");
    let profile = ChromiumProfile::new(by_switches(&stage.service), &[stage.site.url()]);
    let mut other = Chromium::start(&profile);
    other.open(&stage.site.url());
    let second = other
        .try_subscribe("/two/", &stage.keys.public_key)
        .unwrap();
    assert_ne!(first.endpoint(), second.endpoint());
    stage.push(&first, &["for one"]);
    stage.push(&second, &["for two"]);
    assert_eq!(stage.received("/one/", 1), ["for one"]);
    assert_eq!(stage.received("/two/", 1), ["for two"]);
}
