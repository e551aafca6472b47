//! The hostile clients of each siege. They continue until dropped, whatever the service
//! responds.

use std::fmt;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bugle::Clock;
use bugle_client::{ClientError, Dialer, Http2Connection, UserAgent, new_channel_id, new_key_pair};
use bugle_protocol::UnixTime;
use bugle_protocol::websocket::ClientMessage;
use bytes::Bytes;
use clap::ValueEnum;
use http::Request;
use http::header::LOCATION;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;
use url::{Position, Url};

use super::frames::{self, Head};
use super::hoard::Hoard;
use super::tally::Shared;
use crate::cli::Common;

/// Concurrent requests on each HTTP/2 connection.
const STREAMS: u32 = 128;

/// Number of connections with [`STREAMS`] requests each: enough to exhaust
/// `limits.requests` if bodies in progress counted against it.
const CONNECTIONS: usize = 17;

/// Number of connections with [`STREAMS`] held GETs each.
const HOLDERS: usize = 72;

/// Number of concurrent connections that are reopened endlessly.
const OPENED: usize = 9000;

/// Pause after a refusal or a failed connection.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The kind of a siege.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Kind {
    /// 17 connections with 128 requests to subscribe each, whose bodies never end
    Subscribes,
    /// 17 connections with 128 pushes each, signed by one key per push, whose bodies never
    /// end
    Pushes,
    /// 72 connections with 128 held GETs each
    Gets,
    /// 9,000 concurrent connections
    Connections,
    /// Pushes with an invalid signature, as fast as 16 connections send them
    Signatures,
    /// 16 WebSockets that send without a pause
    Websockets,
    /// Messages of 4 KiB with a TTL of 30 days, to 256 subscriptions and signed by 64 keys,
    /// as fast as 16 connections send them: limits.stored_bytes
    Stored,
    /// Pushes with TTL 0 that request receipts and are never acknowledged, every other one
    /// for a new receipt subscription, as fast as 16 connections send them:
    /// limits.receipt_subscriptions, limits.live_receipts
    Receipts,
    /// Requests to subscribe, as fast as 16 connections send them: limits.subscriptions
    Subscriptions,
}

impl Kind {
    /// Whether it fills storage while following the protocol.
    fn hoards(self) -> bool {
        matches!(self, Self::Stored | Self::Receipts | Self::Subscriptions)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// The hostile clients of one siege.
pub(super) struct Strangers {
    kind: Kind,
    dialer: Dialer,
    websocket: Url,
    http: Url,
    /// The requests, prepared ahead because signing takes time.
    heads: OnceLock<Arc<Vec<Head>>>,
    /// The state of a siege that fills storage.
    hoard: OnceLock<Arc<Hoard>>,
    tally: Shared,
}

impl Strangers {
    /// Creates hostile clients with this source address.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(super) fn new(kind: Kind, common: &Common, address: IpAddr) -> Result<Self, ClientError> {
        let mut http = common.url.clone();
        let scheme = if common.url.scheme() == "wss" {
            "https"
        } else {
            "http"
        };
        // Changing between special schemes cannot fail.
        let _ = http.set_scheme(scheme);
        Ok(Self {
            kind,
            dialer: Dialer::new(common.ca.as_deref())?.connect_from(vec![address]),
            websocket: common.url.clone(),
            http,
            heads: OnceLock::new(),
            hoard: OnceLock::new(),
            tally: Shared::default(),
        })
    }

    /// The counts of a siege that fills storage, shared with the running siege.
    pub(super) fn tally(&self) -> Option<Shared> {
        self.kind.hoards().then(|| self.tally.clone())
    }

    /// Prepares what must exist before the siege.
    pub(super) async fn prepare(&self) {
        let heads = match self.kind {
            Kind::Subscribes => vec![self.subscribe()],
            Kind::Pushes => self.pushes(CONNECTIONS * STREAMS as usize, false).await,
            Kind::Signatures => self.pushes(1, true).await,
            Kind::Gets => self.gets().await,
            _ => Vec::new(),
        };
        // `prepare` runs once, so the cells are empty.
        let _ = self.heads.set(Arc::new(heads));
        let urls = [self.websocket.clone(), self.http.clone()];
        if self.kind.hoards() {
            let (dialer, tally) = (self.dialer.clone(), self.tally.clone());
            let hoard = Hoard::prepared(self.kind, dialer, urls, tally).await;
            let _ = self.hoard.set(Arc::new(hoard));
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn besiege(&self) {
        let heads = self.heads.get().cloned().unwrap_or_default();
        let mut strangers = JoinSet::new();
        let count = match self.kind {
            Kind::Subscribes | Kind::Pushes => CONNECTIONS,
            Kind::Gets => HOLDERS,
            Kind::Connections => OPENED,
            _ => 16,
        };
        for nth in 0..count {
            let (kind, dialer, heads) = (self.kind, self.dialer.clone(), Arc::clone(&heads));
            let (http, websocket) = (self.http.clone(), self.websocket.clone());
            let hoard = self.hoard.get().cloned();
            strangers.spawn(async move {
                loop {
                    // After any end, open another connection.
                    let _ = match (kind, &hoard) {
                        (_, Some(hoard)) => Arc::clone(hoard).ask().await,
                        (Kind::Websockets, _) => flood(&dialer, &websocket).await,
                        (Kind::Connections, _) => hold(&dialer, &http).await,
                        _ => ask(&dialer, &http, kind, &heads, nth).await,
                    };
                    sleep(RETRY_PAUSE).await;
                }
            });
        }
        pending::<()>().await;
        drop(strangers);
    }

    fn head(&self, method: &'static str, path: &str) -> Head {
        Head {
            method,
            is_tls: self.http.scheme() == "https",
            authority: self.http[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
        }
    }

    fn subscribe(&self) -> Head {
        let mut head = self.head("POST", "/subscribe");
        let options = "application/webpush-options+json".to_owned();
        head.fields.push(("content-type", options));
        head
    }

    /// Pushes to a new subscription, each signed by its own key; with an invalid signature
    /// if `forged`.
    async fn pushes(&self, count: usize, forged: bool) -> Vec<Head> {
        let Ok(endpoint) = self.endpoint().await else {
            return Vec::new();
        };
        let expires_at = UnixTime::from_secs(Clock::system().now().as_secs() + 12 * 3600);
        let origin = &endpoint[..Position::BeforePath];
        let signed = (0..count).map(|_| {
            let keys = new_key_pair();
            let token = keys.sign(origin, expires_at, None);
            let named = if forged { new_key_pair() } else { keys };
            let key = named.public_key().to_base64url();
            let mut head = self.head("POST", endpoint.path());
            head.fields.extend([
                ("ttl", "60".to_owned()),
                ("content-encoding", "aes128gcm".to_owned()),
                ("authorization", format!("vapid t={token}, k={key}")),
            ]);
            head
        });
        signed.collect()
    }

    async fn endpoint(&self) -> Result<Url, ClientError> {
        let mut user_agent = UserAgent::connect(&self.dialer, &self.websocket).await?;
        user_agent.hello(None).await?;
        let endpoint = user_agent.register(new_channel_id(), None).await?;
        Url::parse(&endpoint).map_err(|error| ClientError::Url {
            url: endpoint,
            problem: error.to_string(),
        })
    }

    /// GETs of different subscriptions, because a second GET would supersede the first.
    async fn gets(&self) -> Vec<Head> {
        let mut made = JoinSet::new();
        for _ in 0..HOLDERS {
            made.spawn(subscriptions(self.dialer.clone(), self.http.clone()));
        }
        let paths = made.join_all().await.into_iter().flatten().flatten();
        paths.map(|path| self.head("GET", &path)).collect()
    }
}

/// Creates one subscription for each stream of a connection and returns their paths.
async fn subscriptions(dialer: Dialer, url: Url) -> Result<Vec<String>, ClientError> {
    let connection = Http2Connection::open(&dialer, url.as_str()).await?;
    let subscribe = format!("{}/subscribe", &url[..Position::BeforePath]);
    let mut paths = Vec::new();
    for _ in 0..STREAMS {
        let request = Request::post(&subscribe).body(Bytes::new());
        let request = request.map_err(|error| ClientError::Protocol(error.to_string()))?;
        let answer = connection.send("subscribe", request).await?;
        let made = answer.headers().get(LOCATION);
        let made = made.and_then(|made| Url::parse(made.to_str().ok()?).ok());
        paths.extend(made.map(|made| made.path().to_owned()));
    }
    Ok(paths)
}

/// Sends requests on one connection and repeats those that ended.
async fn ask(
    dialer: &Dialer,
    url: &Url,
    kind: Kind,
    heads: &[Head],
    nth: usize,
) -> Result<(), ClientError> {
    if heads.is_empty() {
        return Err(ClientError::Protocol("nothing was prepared".to_owned()));
    }
    let stream = dialer.dial_http2(url).await?;
    let (answers, mut requests) = tokio::io::split(stream);
    let mut answers = tokio::spawn(read_all(answers));
    let asking = async {
        requests.write_all(&frames::begin()).await?;
        let mut own = heads.iter().cycle().skip(nth * STREAMS as usize);
        let mut stream = 1;
        loop {
            let mut asked = Vec::new();
            for head in own.by_ref().take(STREAMS as usize) {
                let whole = matches!(kind, Kind::Gets | Kind::Signatures);
                asked.extend(head.on(stream, whole));
                stream += 2;
            }
            requests.write_all(&asked).await?;
            requests.flush().await?;
            match kind {
                Kind::Signatures => yield_now().await,
                // Requests in progress stay open; those that the service ended are repeated.
                _ => sleep(Duration::from_secs(2)).await,
            }
        }
    };
    let failed: std::io::Result<()> = tokio::select! {
        failed = asking => failed,
        _ = &mut answers => Ok(()),
    };
    answers.abort();
    failed.map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Opens a connection, sends one request, and keeps it open as long as the service does.
async fn hold(dialer: &Dialer, url: &Url) -> Result<(), ClientError> {
    let mut stream = dialer.dial(url).await?;
    let ask = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let asked = stream.write_all(ask).await;
    asked.map_err(|error| ClientError::Protocol(error.to_string()))?;
    read_all(stream).await;
    Ok(())
}

/// Sends pings without a pause.
async fn flood(dialer: &Dialer, url: &Url) -> Result<(), ClientError> {
    let mut user_agent = UserAgent::connect(dialer, url).await?;
    user_agent.hello(None).await?;
    loop {
        user_agent.send(&ClientMessage::Ping).await?;
        yield_now().await;
    }
}

async fn read_all(mut from: impl AsyncRead + Unpin) {
    let mut octets = vec![0; 16 << 10];
    while from.read(&mut octets).await.is_ok_and(|read| read > 0) {}
}
