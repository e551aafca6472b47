//! Selects the service under test: one that the tests start, or an external one given by
//! `BUGLE_TEST_HTTP` and `BUGLE_TEST_WS`.

use std::env;
use std::io::Write;

use http::Uri;

/// The URLs of an external service.
pub struct Elsewhere {
    /// The origin of its endpoints, such as `http://127.0.0.1:8080`.
    pub http: String,
    /// The URL for user agents, such as `ws://127.0.0.1:8080/`.
    pub websocket: String,
}

impl Elsewhere {
    /// Reads the external service from the environment.
    pub fn from_environment() -> Option<Self> {
        let named = |name, scheme: &str| {
            let url = env::var(name).ok()?;
            let good = url
                .strip_prefix(scheme)
                .is_some_and(|rest| !rest.is_empty());
            assert!(good, "{name} is '{url}'; it must begin with {scheme}");
            Some(url)
        };
        let http = named("BUGLE_TEST_HTTP", "http://");
        match (http, named("BUGLE_TEST_WS", "ws://")) {
            (None, None) => None,
            (Some(http), Some(websocket)) => Some(Self {
                http: http.trim_end_matches('/').to_owned(),
                websocket,
            }),
            _ => panic!("BUGLE_TEST_HTTP and BUGLE_TEST_WS go together; one is not set"),
        }
    }
}

/// Host and port of a URL.
pub fn authority(url: &str) -> String {
    let url: Uri = url.parse().expect("a URL");
    let host = url.host().expect("a URL with a host");
    format!("{host}:{}", url.port_u16().unwrap_or(80))
}

/// Whether a test runs: against an external service, a test that needs more than the wire is
/// skipped. Reports that on standard error, uncaptured by the test runner.
pub fn is_ours(needs: &str) -> bool {
    let ours = Elsewhere::from_environment().is_none();
    if !ours {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test").to_owned();
        let line = format!("{test}: not run against another service: needs {needs}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    ours
}

/// Begins a test that needs more than the wire of the service: its settings, clock, metrics, or
/// a restart.
macro_rules! needs_ours {
    ($what:literal) => {
        if !$crate::support::subject::is_ours($what) {
            return;
        }
    };
}
pub(crate) use needs_ours;
