//! `bugle listen`

mod output;
mod websocket;

use std::collections::VecDeque;
use std::path::PathBuf;

use bugle_protocol::PublicKey;
use url::Url;

use super::identity::Identity;
use super::retry::Retry;
use super::{Failure, files, note, print, stop_signal};
use crate::client::{Dialer, Notification, PushSubscription};

pub(super) const EXAMPLE: &str = "\
Example:
  bugle listen --subscription subscription.json
  bugle send subscription.json \"Hello\"";

const DEFAULT_SERVER: &str = "ws://127.0.0.1:8080/";

/// How many pushes are known again when they come twice; as many as Firefox
/// knows.
const REMEMBERED: usize = 100;

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
    let stopped = stop_signal()?;
    let mut listener = Listener::new(args)?;
    let sessions = async {
        loop {
            match listener.session().await {
                Ok(()) => return Ok(()),
                Err(error) => listener.retry.pause(error).await?,
            }
        }
    };
    tokio::select! {
        ended = sessions => ended,
        () = stopped => Ok(()),
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
    retry: Retry,
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
        let file = args.identity.display();
        let mut identity = match kept {
            Some(identity) if identity.server != server.as_str() => {
                let known = identity.server;
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
            retry: Retry::new(),
        })
    }

    /// One connection, to its end. `Ok` when enough pushes have come.
    async fn session(&mut self) -> Result<(), Failure> {
        websocket::session(self).await
    }

    fn wants_more(&self) -> bool {
        self.args.count.is_none_or(|count| self.received < count)
    }

    /// Becomes another user agent, where the service has forgotten this one.
    fn start_over(&mut self, why: &str) {
        note(format!(
            "{why}. The old subscription is dead; the application server needs the new one:"
        ));
        let vapid_key = self.identity.vapid_key.take();
        self.identity = Identity::new(&self.server, vapid_key);
    }

    /// Keeps the identity that the service knows now, and prints its
    /// subscription, unless it is the one that was printed last.
    fn is_connected(&mut self) -> Result<(), Failure> {
        self.identity.save(&self.args.identity)?;
        let subscription = self.identity.subscription();
        if subscription != self.told {
            let mut json = serde_json::to_value(&subscription)?;
            if let Some(path) = &self.args.subscription {
                files::replace_private(path, &format!("{json}\n"))?;
            }
            if self.args.json {
                json["type"] = "subscription".into();
            }
            print(json.to_string())?;
            self.told = subscription;
        }
        note(format!(
            "Connected to {}, waiting for pushes; Ctrl-C ends",
            self.server
        ));
        Ok(())
    }

    /// Shows a push, unless it came before. Returns how it ends, in the codes
    /// of the WebSocket protocol (WS-N-8). The delivery is to be ended only
    /// then: whoever is killed in between sees it again rather than never.
    fn take(&mut self, push: &Notification) -> Result<u16, Failure> {
        if self.seen.contains(&push.version) {
            // Its acknowledgement was lost.
            return Ok(102);
        }
        self.received += 1;
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(push.version.clone());
        let data = push.decrypt(&self.identity.keys);
        let code = if data.is_ok() { 100 } else { 101 };
        output::show(push, data, self.args.json)?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

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
        let first = listener(Some("ws://127.0.0.1:1")).unwrap();
        first.identity.save(&first.args.identity).unwrap();
        assert_eq!(listener(None).unwrap().server.as_str(), "ws://127.0.0.1:1/");
        let error = listener(Some("ws://127.0.0.1:2/"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("belongs to ws://127.0.0.1:1/"), "{error}");
    }
}
