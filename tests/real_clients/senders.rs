//! Application servers: npm's web-push and PyPI's pywebpush.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::secrets;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/senders");

/// The result of `PushSubscription.toJSON()`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Subscription(pub(crate) Value);

impl Subscription {
    /// The push resource.
    pub(crate) fn endpoint(&self) -> &str {
        self.0["endpoint"].as_str().unwrap()
    }
}

/// A VAPID key pair, base64url without padding.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VapidKeys {
    pub(crate) public_key: String,
    private_key: String,
}

impl VapidKeys {
    /// Generates a key pair.
    pub(crate) fn generate() -> Self {
        let mut scalar = [0; 32];
        rand::fill(&mut scalar).unwrap();
        // One scalar in 2^32 is not below the group's order.
        let key = SecretKey::from_slice(&scalar).unwrap();
        let point = key.public_key().to_sec1_point(false);
        Self {
            public_key: URL_SAFE_NO_PAD.encode(point.as_bytes()),
            private_key: URL_SAFE_NO_PAD.encode(scalar),
        }
    }
}

/// A push, as the scripts in `tests/senders` read it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Push {
    pub(crate) subscription: Subscription,
    payload: Option<String>,
    /// In seconds.
    pub(crate) ttl: u32,
    encoding: &'static str,
    topic: Option<String>,
    vapid: Option<VapidKeys>,
}

impl Push {
    /// A push of this text with aes128gcm and a TTL of an hour.
    pub(crate) fn text(subscription: &Subscription, text: &str) -> Self {
        Self {
            payload: Some(text.to_owned()),
            ..Self::empty(subscription)
        }
    }

    /// A push without payload with a TTL of an hour.
    pub(crate) fn empty(subscription: &Subscription) -> Self {
        Self {
            subscription: subscription.clone(),
            payload: None,
            ttl: 3600,
            encoding: "aes128gcm",
            topic: None,
            vapid: None,
        }
    }

    /// Signs the push with this key.
    pub(crate) fn signed(self, keys: &VapidKeys) -> Self {
        Self {
            vapid: Some(keys.clone()),
            ..self
        }
    }

    /// Uses the older content coding aesgcm.
    pub(crate) fn aesgcm(self) -> Self {
        Self {
            encoding: "aesgcm",
            ..self
        }
    }

    /// Sets a topic.
    pub(crate) fn topic(self, topic: &str) -> Self {
        Self {
            topic: Some(topic.to_owned()),
            ..self
        }
    }
}

/// The response to a push.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: serde_json::Map<String, Value>,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header field with this lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.as_str()
    }
}

/// The libraries for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// npm's `web-push`, which requires TLS.
    WebPush,
    /// PyPI's `pywebpush`.
    Pywebpush,
}

/// The application servers and their trusted authority.
pub(crate) struct Senders {
    authority: Option<PathBuf>,
}

impl Senders {
    /// Creates senders that trust this authority.
    pub(crate) fn new(authority: Option<PathBuf>) -> Self {
        Self { authority }
    }

    /// Sends pushes sequentially and returns the responses in order.
    pub(crate) fn send_all(&self, library: Library, pushes: &[Push]) -> Vec<Answer> {
        let command = script(library);
        let answers: Vec<Answer> = self.run(command, &format!("{library:?}"), &pushes);
        assert_eq!(answers.len(), pushes.len());
        answers
    }

    /// Runs a script in `tests/senders` with JSON as input and output.
    pub(crate) fn run<T: DeserializeOwned>(
        &self,
        mut command: Command,
        name: &str,
        input: &impl Serialize,
    ) -> T {
        // A proxy from the environment must not come between sender and service.
        command.env("NO_PROXY", "*").env("no_proxy", "*");
        if let Some(authority) = &self.authority {
            command
                .env("NODE_EXTRA_CA_CERTS", authority)
                .env("REQUESTS_CA_BUNDLE", authority);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}); run ./test"));
        let input = serde_json::to_vec(input).unwrap();
        secrets::see(&String::from_utf8_lossy(&input));
        process.stdin.take().unwrap().write_all(&input).unwrap();
        let output = process.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} failed: {errors}");
        secrets::see(&String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn script(library: Library) -> Command {
    match library {
        Library::WebPush => node("send.mjs"),
        Library::Pywebpush => {
            let python = concat!(env!("CARGO_MANIFEST_DIR"), "/target/senders/bin/python");
            let mut command = Command::new(python);
            command.arg(format!("{FOLDER}/send.py"));
            command
        }
    }
}

/// Node with a script of `tests/senders`.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(format!("{FOLDER}/{script}"));
    command
}
