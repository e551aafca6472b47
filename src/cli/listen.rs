//! `bugle listen`

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::PublicKey;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use url::Url;

use super::identity::Identity;
use super::{Failure, files, note, print, stop_signal};
use crate::client::{ClientError, Dialer, Notification, OpenError, PushSubscription, UserAgent};

pub(super) const EXAMPLE: &str = "\
Example:
  bugle listen --subscription subscription.json
  bugle send subscription.json \"Hello\"";

const DEFAULT_SERVER: &str = "ws://127.0.0.1:8080/";

/// Times between attempts to connect: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How many pushes are known again when they come twice; as many as Firefox
/// knows.
const REMEMBERED: usize = 100;

/// After so long without a push, ask whether the service is still there.
const QUIET: Duration = Duration::from_secs(4 * 60);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// WebSocket URL of the service [default: that of the identity, or ws://127.0.0.1:8080/]
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// Take pushes signed by this key alone: the public key that `bugle vapid` shows
    #[arg(long, value_name = "KEY", value_parser = PublicKey::from_base64url)]
    vapid_key: Option<PublicKey>,
    /// Who this user agent is, kept for the next start (secret, mode 0600)
    #[arg(long, value_name = "FILE", default_value = "bugle-user-agent.json")]
    identity: PathBuf,
    /// Write the PushSubscription JSON to this file too
    #[arg(long, value_name = "FILE")]
    subscription: Option<PathBuf>,
    /// Print one JSON object a line: type "subscription", then type "push" for each push
    #[arg(long)]
    json: bool,
    /// Exit after so many pushes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Trust these certificates too (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Listens until Ctrl-C, or until `--count` pushes have come.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut stopped = pin!(stop_signal()?);
    let mut listener = Listener::new(args)?;
    loop {
        let error = tokio::select! {
            ended = listener.session() => match ended {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            () = &mut stopped => return Ok(()),
        };
        let error = passing(error)?;
        let wait = listener.next_retry();
        note(format!("{error}; trying again in {} s", wait.as_secs()));
        tokio::select! {
            () = sleep(wait) => {}
            () = &mut stopped => return Ok(()),
        }
    }
}

/// Passes on what another connection may mend; the rest ends the command.
fn passing(error: Failure) -> Result<ClientError, Failure> {
    match *error.downcast::<ClientError>()? {
        // A refusal of the request itself would be the same next time.
        error @ (ClientError::Refused {
            status: 400..=499, ..
        }
        | ClientError::Url { .. }) => Err(error.into()),
        error => Ok(error),
    }
}

/// A user agent across its connections.
struct Listener {
    args: Args,
    dialer: Dialer,
    server: Url,
    identity: Identity,
    /// Pushes that have come.
    received: u64,
    /// The versions of the last of them.
    seen: VecDeque<String>,
    /// What was printed last.
    told: Option<PushSubscription>,
    retry: Duration,
}

impl Listener {
    fn new(args: Args) -> Result<Self, Failure> {
        let kept = Identity::load(&args.identity)?;
        let server = match (&args.server, &kept) {
            (Some(server), _) => server.clone(),
            (None, Some(identity)) => Url::parse(&identity.server)?,
            (None, None) => Url::parse(DEFAULT_SERVER)?,
        };
        let vapid_key = args.vapid_key.map(|key| key.to_base64url());
        let mut identity = match kept {
            Some(identity) if identity.server != server.as_str() => {
                let (file, known) = (args.identity.display(), identity.server);
                return Err(format!(
                    "{file} belongs to {known}: name another file by --identity for {server}"
                )
                .into());
            }
            Some(identity) => identity,
            None => Identity::new(&server, vapid_key.clone()),
        };
        if vapid_key.is_some() {
            identity.vapid_key = vapid_key;
        }
        Ok(Self {
            dialer: Dialer::new(args.ca.as_deref())?,
            args,
            server,
            identity,
            received: 0,
            seen: VecDeque::new(),
            told: None,
            retry: FIRST_RETRY,
        })
    }

    /// One connection, to its end. `Ok` when enough pushes have come.
    async fn session(&mut self) -> Result<(), Failure> {
        let mut agent = UserAgent::connect(&self.dialer, &self.server).await?;
        self.introduce(&mut agent).await?;
        self.retry = FIRST_RETRY;
        while self.args.count.is_none_or(|count| self.received < count) {
            match timeout(QUIET, agent.receive()).await {
                Ok(push) => self.take(&mut agent, &push?).await?,
                Err(_) => agent.ping().await?,
            }
        }
        agent.close().await;
        Ok(())
    }

    /// Says hello and registers, as who it was before where the service still
    /// knows it.
    async fn introduce(&mut self, agent: &mut UserAgent) -> Result<(), Failure> {
        let before = self.identity.uaid.clone();
        let known = before.as_ref().and_then(|uaid| uaid.parse().ok());
        let uaid = agent.hello(known).await?.to_string();
        if before.as_ref().is_some_and(|before| *before != uaid) {
            note(
                "The service no longer knows this user agent. The old subscription is dead; the \
                 application server needs the new one:",
            );
            let vapid_key = self.identity.vapid_key.take();
            self.identity = Identity::new(&self.server, vapid_key);
        }
        let key = self.identity.vapid_key.as_deref();
        let key = key.map(PublicKey::from_base64url).transpose()?;
        let endpoint = agent.register(self.identity.channel, key.as_ref()).await?;
        self.identity.uaid = Some(uaid);
        self.identity.endpoint = Some(endpoint);
        self.identity.save(&self.args.identity)?;
        self.tell_subscription()?;
        note(format!(
            "Connected to {}, waiting for pushes; Ctrl-C ends",
            self.server
        ));
        Ok(())
    }

    /// Prints the subscription, unless it is the one that was printed last.
    fn tell_subscription(&mut self) -> Result<(), Failure> {
        let subscription = self.identity.subscription();
        if subscription == self.told {
            return Ok(());
        }
        let mut json = serde_json::to_value(&subscription)?;
        if let Some(path) = &self.args.subscription {
            files::replace_private(path, &format!("{json}\n"))?;
        }
        if self.args.json {
            json["type"] = "subscription".into();
        }
        print(json.to_string())?;
        self.told = subscription;
        Ok(())
    }

    /// Shows a push, then ends its delivery: whoever is killed in between sees
    /// it again rather than never.
    async fn take(&mut self, agent: &mut UserAgent, push: &Notification) -> Result<(), Failure> {
        let is_mine = push.channel == self.identity.channel.to_string();
        if !is_mine || self.seen.contains(&push.version) {
            // Or it came already, and its acknowledgement was lost (WS-N-8).
            return Ok(agent.acknowledge(push, 102).await?);
        }
        self.received += 1;
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(push.version.clone());
        let data = push.decrypt(&self.identity.keys);
        let code = if data.is_ok() { 100 } else { 101 };
        self.show(push, data)?;
        Ok(agent.acknowledge(push, code).await?)
    }

    fn show(
        &self,
        push: &Notification,
        data: Result<Option<Vec<u8>>, OpenError>,
    ) -> Result<(), Failure> {
        if self.args.json {
            return Ok(print(push_json(push, data).to_string())?);
        }
        match data {
            Ok(None) => print("(a push without data)")?,
            Ok(Some(data)) => print(printable(&String::from_utf8_lossy(&data)))?,
            Err(error) => note(format!("A push that cannot be read: {error}")),
        }
        Ok(())
    }

    fn next_retry(&mut self) -> Duration {
        let wait = self.retry;
        self.retry = (wait * 2).min(LAST_RETRY);
        wait
    }
}

/// A push for scripts: `text` where it is text, else `data` in base64url, or
/// `error`.
fn push_json(push: &Notification, data: Result<Option<Vec<u8>>, OpenError>) -> Value {
    let mut json = json!({ "type": "push", "version": push.version, "encoding": push.encoding() });
    match data.map(|data| data.map(String::from_utf8)) {
        Ok(None) => json["text"] = Value::Null,
        Ok(Some(Ok(text))) => json["text"] = text.into(),
        Ok(Some(Err(octets))) => json["data"] = URL_SAFE_NO_PAD.encode(octets.as_bytes()).into(),
        Err(error) => json["error"] = error.to_string().into(),
    }
    json
}

/// What others wrote, harmless for a terminal: control characters are escaped.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    fn push() -> Notification {
        Notification {
            channel: "c".to_owned(),
            version: "v".to_owned(),
            data: None,
            headers: Default::default(),
        }
    }

    #[test]
    fn pushes_for_scripts() {
        let json = |data| {
            let mut json = push_json(&push(), data);
            assert_eq!(
                (&json["type"], &json["version"]),
                (&"push".into(), &"v".into())
            );
            json.as_object_mut().unwrap().remove("version");
            json.as_object_mut().unwrap().remove("type");
            json.as_object_mut().unwrap().remove("encoding");
            json
        };
        assert_eq!(json(Ok(None)), json!({ "text": null }));
        assert_eq!(
            json(Ok(Some(b"a\x1b".to_vec()))),
            json!({ "text": "a\u{1b}" })
        );
        assert_eq!(json(Ok(Some(vec![255, 254]))), json!({ "data": "__4" }));
        let error = OpenError::NotEncrypted;
        assert_eq!(
            json(Err(error.clone())),
            json!({ "error": error.to_string() })
        );
    }

    #[test]
    fn a_push_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\tb\n\u{1b}[2J\u{9b}é"),
            "a\tb\n\\u{1b}[2J\\u{9b}é"
        );
    }

    #[test]
    fn some_errors_are_worth_another_connection() {
        let refused = |status| ClientError::Refused {
            what: "register",
            status,
        };
        assert!(passing(refused(503).into()).is_ok());
        assert!(passing(refused(400).into()).is_err());
        assert!(passing(ClientError::Silence("hello").into()).is_ok());
        assert!(passing("cannot write".into()).is_err());
    }

    #[test]
    fn an_identity_is_not_shown_to_another_service() {
        let folder = tempfile::tempdir().unwrap();
        let listener = |server: Option<&str>| {
            Listener::new(Args {
                server: server.map(|server| server.parse().unwrap()),
                vapid_key: None,
                identity: folder.path().join("identity"),
                subscription: None,
                json: false,
                count: None,
                ca: None,
            })
        };
        let mut first = listener(Some("ws://127.0.0.1:1")).unwrap();
        first.identity.save(&first.args.identity).unwrap();
        assert_eq!(listener(None).unwrap().server.as_str(), "ws://127.0.0.1:1/");
        let error = listener(Some("ws://127.0.0.1:2/"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("belongs to ws://127.0.0.1:1/"), "{error}");
        let waits: Vec<_> = (0..8).map(|_| first.next_retry().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
