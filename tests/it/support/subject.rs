//! Whose service is tested: one that the tests start for themselves, or, by
//! `BUGLE_TEST_HTTP` and `BUGLE_TEST_WS`, one that somebody else has started.

use std::env;
use std::io::Write;

use http::Uri;

/// Where another service listens.
pub struct Elsewhere {
    /// What its endpoints begin with, such as `http://127.0.0.1:8080`.
    pub http: String,
    /// Where its user agents connect, such as `ws://127.0.0.1:8080/`.
    pub websocket: String,
}

impl Elsewhere {
    /// The service that the environment names.
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

/// Whether a test runs: not against another service, when it needs more than the
/// wire. Says so on standard error, past what the test runner captures.
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

/// Stands first in a test that needs more of its subject than the wire: its
/// settings, its clock, its metrics, a restart.
macro_rules! needs_ours {
    ($what:literal) => {
        if !$crate::support::subject::is_ours($what) {
            return;
        }
    };
}
pub(crate) use needs_ours;
