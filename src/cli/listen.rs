//! `bugle listen`

mod http;
mod mcs;
mod output;
mod websocket;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bugle_client::{Dialer, Notification, PushSubscription};
use bugle_protocol::{PublicKey, Urgency};
use url::Url;

use super::identity::Identity;
use super::retry::Retry;
use super::url_arg::{UrlArg, shown};
use super::{Failure, files, note, print, stop_signal};

pub(super) const EXAMPLE: &str = "\
Example:
  bugle listen --subscription subscription.json
  bugle send subscription.json \"Hello\"";

/// How many versions are remembered to detect duplicates; as many as Firefox remembers.
const REMEMBERED_VERSIONS: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL of the service: ws, wss, http or https; @FILE reads it from a file, - from standard
    /// input, which hides a secret in it from `ps` [default: that of the identity, or
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    server: Option<UrlArg>,
    /// Receive over HTTP/2 server push (RFC 8030) instead of a WebSocket
    #[arg(long)]
    rfc8030: bool,
    /// Receive over the push protocol of Chromium, as the site that --site names
    #[arg(long, conflicts_with = "rfc8030")]
    mcs: bool,
    /// Origin of the site that subscribes; chromium.origins must admit it
    #[arg(
        long,
        value_name = "ORIGIN",
        requires = "mcs",
        default_value = "https://localhost"
    )]
    site: String,
    /// Minimum urgency: very-low, low, normal or high; the service keeps the rest
    #[arg(long, requires = "rfc8030")]
    urgency: Option<Urgency>,
    /// Accept only pushes signed by this key: the public key that `bugle vapid` prints
    #[arg(long, value_name = "KEY", value_parser = PublicKey::from_base64url)]
    vapid_key: Option<PublicKey>,
    /// File of the identity of this user agent, kept across restarts (secret, mode 0600) [default:
    /// bugle-user-agent.json; bugle-rfc8030.json with --rfc8030, bugle-mcs.json with --mcs]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Also write the PushSubscription JSON to this file
    #[arg(long, value_name = "FILE")]
    subscription: Option<PathBuf>,
    /// Print one JSON object per line: type "subscription", then type "push" for each push
    #[arg(long)]
    json: bool,
    /// Exit after this number of pushes
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Also trust these certificates (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Args {
    /// Whether the protocol is over HTTP, not over a WebSocket.
    fn is_http(&self) -> bool {
        self.rfc8030 || self.mcs
    }

    /// The file of the identity. The protocols have separate identities, so each has a default of
    /// its own.
    fn identity(&self) -> &Path {
        let default = match (self.rfc8030, self.mcs) {
            (true, _) => "bugle-rfc8030.json",
            (_, true) => "bugle-mcs.json",
            _ => "bugle-user-agent.json",
        };
        self.identity.as_deref().unwrap_or(Path::new(default))
    }

    /// The URL of the service, with a scheme of the protocol in use.
    fn server(&self, kept: Option<&Identity>) -> Result<Url, Failure> {
        let mut url = match (&self.server, kept) {
            (Some(server), _) => server.read()?,
            (None, Some(identity)) => Url::parse(&identity.server)?,
            (None, None) => Url::parse("ws://127.0.0.1:8080/")?,
        };
        let scheme = match (url.scheme(), self.is_http()) {
            ("ws" | "http", true) => "http",
            ("wss" | "https", true) => "https",
            ("ws" | "http", false) => "ws",
            ("wss" | "https", false) => "wss",
            _ => {
                let url = shown(&url);
                return Err(format!("{url}: its scheme is none of ws, wss, http, https").into());
            }
        };
        let scheme = scheme.to_owned();
        url.set_scheme(&scheme)
            .map_err(|()| format!("{} cannot be used with {scheme}", shown(&url)))?;
        Ok(url)
    }
}

/// Listens until Ctrl-C, or until `--count` pushes have arrived.
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
    /// Number of pushes received.
    received: u64,
    /// The versions of the latest pushes.
    seen: VecDeque<String>,
    /// The subscription that was printed last.
    printed: Option<PushSubscription>,
    retry: Retry,
}

impl Listener {
    fn new(args: Args) -> Result<Self, Failure> {
        let kept = Identity::load(args.identity())?;
        let server = args.server(kept.as_ref())?;
        let vapid_key = args.vapid_key.map(|key| key.to_base64url());
        let file = args.identity().display();
        let mut identity = match kept {
            Some(identity) if identity.server != server.as_str() => {
                let known = Url::parse(&identity.server)?;
                return Err(format!(
                    "{file} belongs to {}: name another file by --identity for {}",
                    shown(&known),
                    shown(&server)
                )
                .into());
            }
            Some(identity) => identity,
            None => Identity::new(&server, vapid_key.clone()),
        };
        if vapid_key.is_some() {
            if identity.subscription.is_some() && identity.vapid_key != vapid_key {
                return Err(format!(
                    "the subscription in {file} is not restricted to this key: name another file \
                     by --identity"
                )
                .into());
            }
            identity.vapid_key = vapid_key;
        }
        Ok(Self {
            dialer: Dialer::new(args.ca.as_deref())?,
            args,
            server,
            identity,
            received: 0,
            seen: VecDeque::new(),
            printed: None,
            retry: Retry::new(),
        })
    }

    /// Serves one connection to its end. Returns `Ok` when `--count` is reached.
    async fn session(&mut self) -> Result<(), Failure> {
        match (self.args.rfc8030, self.args.mcs) {
            (true, _) => http::session(self).await,
            (_, true) => mcs::session(self).await,
            _ => websocket::session(self).await,
        }
    }

    fn wants_more(&self) -> bool {
        self.args.count.is_none_or(|count| self.received < count)
    }

    /// Starts with a new identity after the service has forgotten the old one.
    fn start_over(&mut self, why: &str) {
        note(format!(
            "{why}. The old subscription is dead; the application server needs the new one:"
        ));
        let vapid_key = self.identity.vapid_key.take();
        self.identity = Identity::new(&self.server, vapid_key);
    }

    /// Saves the current identity, and prints its subscription if it has changed.
    fn is_connected(&mut self) -> Result<(), Failure> {
        self.identity.save(self.args.identity())?;
        let subscription = self.identity.subscription();
        if subscription != self.printed {
            let mut json = serde_json::to_value(&subscription)?;
            if let Some(path) = &self.args.subscription {
                files::replace_private(path, &format!("{json}\n"))?;
            }
            if self.args.json {
                json["type"] = "subscription".into();
            }
            print(json.to_string())?;
            self.printed = subscription;
        }
        note(format!(
            "Connected to {}, waiting for pushes; Ctrl-C ends",
            shown(&self.server)
        ));
        Ok(())
    }

    /// Prints a push unless it is a duplicate. Returns its acknowledgement code (WS-N-8).
    /// Acknowledge only afterwards: if the process is killed in between, the push is printed twice
    /// rather than never.
    fn take(&mut self, push: &Notification) -> Result<u16, Failure> {
        if self.seen.contains(&push.version) {
            // A duplicate: the earlier acknowledgement was lost.
            return Ok(102);
        }
        self.received += 1;
        if self.seen.len() == REMEMBERED_VERSIONS {
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

    use bugle_client::{Subscription, new_key_pair};

    use super::*;

    fn args(server: Option<&str>) -> Args {
        Args {
            server: server.map(|server| server.parse().unwrap()),
            rfc8030: false,
            mcs: false,
            site: String::new(),
            urgency: None,
            vapid_key: None,
            identity: None,
            subscription: None,
            json: false,
            count: None,
            ca: None,
        }
    }

    #[test]
    fn an_identity_is_not_shown_to_another_service() {
        let folder = tempfile::tempdir().unwrap();
        let listener = |server: Option<&str>, rfc8030| {
            let mut args = args(server);
            args.rfc8030 = rfc8030;
            args.identity = Some(folder.path().join("identity"));
            Listener::new(args)
        };
        let first = listener(Some("ws://127.0.0.1:1"), false).unwrap();
        first.identity.save(first.args.identity()).unwrap();
        let again = listener(None, false).unwrap();
        assert_eq!(again.server.as_str(), "ws://127.0.0.1:1/");
        for (server, rfc8030) in [
            (Some("ws://127.0.0.1:2/"), false),
            (Some("http://127.0.0.1:1/"), true),
            (None, true),
        ] {
            let error = listener(server, rfc8030).err().unwrap().to_string();
            assert!(error.contains("belongs to ws://127.0.0.1:1/"), "{error}");
        }
    }

    #[test]
    fn a_subscription_over_http_keeps_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let listener = |key| {
            let mut args = args(Some("http://127.0.0.1:1"));
            args.rfc8030 = true;
            args.vapid_key = key;
            args.identity = Some(folder.path().join("identity"));
            Listener::new(args)
        };
        let key = new_key_pair().public_key();
        let mut first = listener(Some(key)).unwrap();
        first.identity.subscription = Some(Subscription {
            url: "http://127.0.0.1:1/s".to_owned(),
            push: "http://127.0.0.1:1/p".to_owned(),
            set: None,
        });
        first.identity.save(first.args.identity()).unwrap();
        assert!(listener(Some(key)).is_ok() && listener(None).is_ok());
        let other = listener(Some(new_key_pair().public_key()));
        let error = other.err().unwrap().to_string();
        assert!(error.contains("not restricted to this key"), "{error}");
    }

    #[test]
    fn either_scheme_names_the_service() {
        for (given, websocket, http) in [
            ("ws://a:1/", "ws://a:1/", "http://a:1/"),
            ("https://a", "wss://a/", "https://a/"),
        ] {
            let mut args = args(Some(given));
            assert_eq!(args.server(None).unwrap().as_str(), websocket);
            args.rfc8030 = true;
            assert_eq!(args.server(None).unwrap().as_str(), http);
        }
        assert!(args(Some("ftp://a/")).server(None).is_err());
    }
}
