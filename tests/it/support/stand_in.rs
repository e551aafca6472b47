//! Servers that may answer in place of the service: other web servers, misconfigured proxies,
//! servers with untrusted certificates.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bugle::Clock;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A response of another web server.
pub type Answer = Response<Full<Bytes>>;

/// Another server, which runs until it is dropped.
pub struct StandIn {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl StandIn {
    /// A web server for HTTP/1.1 only.
    pub async fn http(
        answer: impl Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self::serve(move |stream| {
            let answer = Arc::clone(&answer);
            async move { answer_all(stream, &*answer).await }
        })
        .await
    }

    /// A web server with TLS that responds with 404.
    pub async fn tls(identity: &Identity) -> Self {
        let acceptor = TlsAcceptor::from(identity.config());
        Self::serve(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer_all(stream, &|_| page(404, "")).await;
                }
            }
        })
        .await
    }

    /// A proxy that closes a connection after `idle` without traffic, once the service has sent
    /// `word` on it; before that, it waits without a limit.
    pub async fn proxy(to: &str, word: &'static str, idle: Duration) -> Self {
        let to = to.to_owned();
        Self::serve(move |stream| {
            let to = to.clone();
            async move {
                let service = TcpStream::connect(&to).await.unwrap();
                pass_on(stream, service, word, idle).await;
            }
        })
        .await
    }

    /// A proxy that does not forward the upgrade, the default of many.
    pub async fn proxy_without_upgrade(to: &str) -> Self {
        let to = to.to_owned();
        Self::serve(move |mut stream| {
            let to = to.clone();
            async move {
                let mut service = TcpStream::connect(&to).await.unwrap();
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]);
                let head = head.replace("upgrade: websocket", "x-upgrade: websocket");
                let head = head.replace("connection: Upgrade", "connection: close");
                if service.write_all(head.as_bytes()).await.is_ok() {
                    let _ = copy_bidirectional(&mut stream, &mut service).await;
                }
            }
        })
        .await
    }

    /// A server that responds to `/version` like Bugle, and to no push.
    pub async fn unfinished() -> Self {
        Self::serve(|mut stream| async move {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            if head[..read].starts_with(b"POST") {
                pending::<()>().await;
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }

    async fn serve<F: Future<Output = ()> + Send + 'static>(
        each: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        Self { address, task }
    }

    /// The URL of the server.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(impl Fn(&Request<Incoming>) -> Answer + ?Sized),
) {
    let service = service_fn(|request| {
        let answered = answer(&request);
        async move { Ok::<_, Infallible>(answered) }
    });
    // The peer may close at any time.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Relays bytes in both directions until one side ends, or until `idle` passes without traffic
/// after the service has sent `word`.
async fn pass_on(mut client: TcpStream, mut service: TcpStream, word: &str, idle: Duration) {
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    let mut is_said = false;
    loop {
        let next = async {
            tokio::select! {
                read = client.read(&mut up) => (read, true),
                read = service.read(&mut down) => (read, false),
            }
        };
        let next = match is_said {
            true => timeout(idle, next).await.ok(),
            false => Some(next.await),
        };
        let Some((Ok(read @ 1..), is_up)) = next else {
            return;
        };
        let (octets, to) = match is_up {
            true => (&up[..read], &mut service),
            false => (&down[..read], &mut client),
        };
        is_said |= !is_up && String::from_utf8_lossy(octets).contains(word);
        if to.write_all(octets).await.is_err() {
            return;
        }
    }
}

/// A page of another web server.
pub fn page(status: u16, server: &str) -> Answer {
    let mut answer = Response::builder()
        .status(status)
        .header("content-type", "text/html");
    if !server.is_empty() {
        answer = answer.header("server", server);
    }
    let body = format!("<html><h1>{status}</h1></html>");
    answer.body(Full::new(body.into())).unwrap()
}

/// Bugle's response to `GET /version`.
pub fn version(version: &str) -> Answer {
    let body = format!(r#"{{"name":"bugle","version":"{version}"}}"#);
    Response::new(Full::new(body.into()))
}

/// The time this many days from now.
pub fn days_from_now(days: i64) -> SystemTime {
    let now = SystemTime::from(Clock::system().now());
    let distance = Duration::from_secs(days.unsigned_abs() * 24 * 3600);
    match days < 0 {
        true => now - distance,
        false => now + distance,
    }
}

/// A certificate with its key.
pub struct Identity {
    pub chain: Vec<String>,
    pub key: String,
}

impl Identity {
    fn config(&self) -> Arc<ServerConfig> {
        let chain = self.chain.iter();
        let chain = chain.map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(chain.collect(), key).unwrap())
    }
}

/// A private certificate authority.
pub struct Authority {
    /// Its certificate in PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    /// Issues a certificate for a name, valid between two days relative to now.
    pub fn certify(&self, name: &str, from: i64, until: i64) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = days_from_now(from).into();
        params.not_after = days_from_now(until).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.pem()],
            key: key.serialize_pem(),
        }
    }

    /// Like `certify`, with the authority's certificate appended.
    pub fn certify_with_chain(&self, name: &str, from: i64, until: i64) -> Identity {
        let mut identity = self.certify(name, from, until);
        identity.chain.push(self.certificate.clone());
        identity
    }
}

/// A self-signed certificate, either of an authority or of a service.
pub fn self_signed(name: &str, is_authority: bool) -> Identity {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    Identity {
        chain: vec![params.self_signed(&key).unwrap().pem()],
        key: key.serialize_pem(),
    }
}
