//! The web site whose service worker receives the pushes.
//!
//! It serves a page and a worker on loopback, which browsers treat as a secure context, and
//! stores the worker's reports.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bugle_launch::wait_until;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const PAGE: &str = include_str!("site/index.html");
const WORKER: &str = include_str!("site/worker.js");

/// Firefox reconnects 5 s after losing its connection, then after 10 s.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(40);

/// Maximum size of a report from the worker, in bytes.
const MAX_REPORT: usize = 64 * 1024;

/// A push event in the worker.
#[derive(Clone, Debug, Deserialize)]
struct Received {
    scope: String,
    text: Option<String>,
}

type Inbox = Arc<Mutex<Vec<Received>>>;

/// The running site; its thread ends on drop.
pub(crate) struct Site {
    address: SocketAddr,
    inbox: Inbox,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Starts the site on a free port.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let inbox = Inbox::default();
        let (stop, stopped) = oneshot::channel();
        let reports = Arc::clone(&inbox);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, reports) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            inbox,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The page that subscribes.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}/", self.address.port())
    }

    /// The pushes that the worker of a scope has received so far.
    pub(crate) fn received(&self, scope: &str) -> Vec<Option<String>> {
        let inbox = self.inbox.lock().unwrap();
        inbox
            .iter()
            .filter(|event| event.scope == scope)
            .map(|event| event.text.clone())
            .collect()
    }

    /// Waits until the worker of a scope has received this many pushes. Returns them in the
    /// order of their events, which may differ from the order on the wire because Firefox
    /// decrypts concurrently.
    pub(crate) fn wait_for(&self, scope: &str, count: usize) -> Vec<Option<String>> {
        self.wait_within(ARRIVAL_TIMEOUT, scope, count)
    }

    /// Like `wait_for`, with another timeout.
    pub(crate) fn wait_within(
        &self,
        timeout: Duration,
        scope: &str,
        count: usize,
    ) -> Vec<Option<String>> {
        let what = format!("{count} pushes in {scope}");
        wait_until(&what, timeout, || {
            Some(self.received(scope)).filter(|received| received.len() >= count)
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if thread::panicking() {
            eprintln!("received by the worker: {:?}", self.inbox.lock());
        }
    }
}

async fn serve(listener: TcpListener, inbox: Inbox) {
    while let Ok((stream, _)) = listener.accept().await {
        let inbox = Arc::clone(&inbox);
        let service = service_fn(move |request| answer(request, Arc::clone(&inbox)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    inbox: Inbox,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let (kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => ("text/html", PAGE),
        (&Method::GET, "/worker.js") => ("text/javascript", WORKER),
        (&Method::POST, "/received") => return report(request, &inbox).await,
        _ => return status(StatusCode::NOT_FOUND),
    };
    Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .body(Full::from(body))
}

async fn report(
    request: Request<Incoming>,
    inbox: &Inbox,
) -> Result<Response<Full<Bytes>>, http::Error> {
    let Ok(body) = Limited::new(request.into_body(), MAX_REPORT)
        .collect()
        .await
    else {
        return status(StatusCode::BAD_REQUEST);
    };
    let Ok(received) = serde_json::from_slice(&body.to_bytes()) else {
        return status(StatusCode::BAD_REQUEST);
    };
    inbox
        .lock()
        .expect("nothing panics while it holds the inbox")
        .push(received);
    status(StatusCode::NO_CONTENT)
}

fn status(status: StatusCode) -> Result<Response<Full<Bytes>>, http::Error> {
    Response::builder().status(status).body(Full::default())
}
