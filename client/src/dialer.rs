//! TCP and TLS connections to a service.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{ClientError, TIMEOUT};

/// HTTP/2 in ALPN (RFC 9113 §3.1).
const HTTP2: &[u8] = b"h2";

/// A byte stream, plain or encrypted.
pub type Stream = Box<dyn ReadWrite>;

/// The traits of a [`Stream`].
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// Opens connections and holds the certificates to trust.
#[derive(Clone)]
pub struct Dialer {
    http1: TlsConnector,
    http2: TlsConnector,
    bare: TlsConnector,
    pub(crate) roots: Arc<RootCertStore>,
    sources: Option<Arc<Sources>>,
    /// Host and port to connect to, whatever a URL names.
    target: Option<(Arc<str>, u16)>,
}

/// Local addresses to connect from, used in turn.
struct Sources {
    addresses: Vec<IpAddr>,
    next: AtomicUsize,
}

impl Dialer {
    /// Trusts the system's certificates and those in `ca` (PEM).
    ///
    /// # Errors
    /// When `ca` cannot be read or holds no certificate.
    pub fn new(ca: Option<&Path>) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        // A system without certificates is no error: `ca` may hold the only one needed.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca {
            add_certificates(&mut roots, path).map_err(|problem| ClientError::Certificates {
                path: path.to_owned(),
                problem,
            })?;
        }
        let roots = Arc::new(roots);
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Protocol(error.to_string()))?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self {
            http1: speaking(b"http/1.1"),
            http2: speaking(HTTP2),
            bare: TlsConnector::from(Arc::new(config)),
            roots,
            sources: None,
            target: None,
        })
    }

    /// Connects from these addresses in turn. More connections fit than one address has
    /// ports, or than a service allows for one address. With an empty list, the system chooses.
    pub fn connect_from(mut self, addresses: Vec<IpAddr>) -> Self {
        let next = AtomicUsize::new(0);
        self.sources = (!addresses.is_empty()).then(|| Arc::new(Sources { addresses, next }));
        self
    }

    /// Connects to this host and port, whatever a URL names, as a client does whose name service or
    /// proxy leads there. Certificates must still be those of the URL.
    pub fn connect_to(mut self, host: &str, port: u16) -> Self {
        self.target = Some((host.into(), port));
        self
    }

    /// Connects to the hosts of URLs again.
    pub fn connect_to_hosts(mut self) -> Self {
        self.target = None;
        self
    }

    /// Connects to the host of `url` for HTTP/1.1; `https` and `wss` use TLS.
    ///
    /// # Errors
    /// When the URL has no host or an unsupported scheme, or the connection takes longer
    /// than [`TIMEOUT`].
    pub async fn dial(&self, url: &Url) -> Result<Stream, ClientError> {
        Ok(self.connect(url, &self.http1).await?.0)
    }

    /// Connects for HTTP/2. Over plain TCP, the client assumes it without negotiation (RFC
    /// 9113 §3.3).
    ///
    /// # Errors
    /// Those of [`Dialer::dial`], and when a TLS service does not choose HTTP/2.
    pub async fn dial_http2(&self, url: &Url) -> Result<Stream, ClientError> {
        let (stream, protocol) = self.connect(url, &self.http2).await?;
        match protocol {
            Protocol::Chosen(Some(protocol)) if protocol == HTTP2 => Ok(stream),
            Protocol::Chosen(_) => {
                Err(ClientError::Protocol("it does not speak HTTP/2".to_owned()))
            }
            Protocol::Assumed => Ok(stream),
        }
    }

    /// Connects without naming a protocol, as a Chromium does for its push connection.
    ///
    /// # Errors
    /// Those of [`Dialer::dial`].
    pub async fn dial_bare(&self, url: &Url) -> Result<Stream, ClientError> {
        Ok(self.connect(url, &self.bare).await?.0)
    }

    pub(crate) async fn connect(
        &self,
        url: &Url,
        tls: &TlsConnector,
    ) -> Result<(Stream, Protocol), ClientError> {
        let unusable = |problem: &str| ClientError::Url {
            url: url.to_string(),
            problem: problem.to_owned(),
        };
        let is_tls = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return Err(unusable("its scheme is none of http, https, ws, wss")),
        };
        let host = url.host_str().ok_or_else(|| unusable("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url
            .port_or_known_default()
            .ok_or_else(|| unusable("it has no port"))?;
        let (to, at) = match &self.target {
            Some((host, port)) => (&**host, *port),
            None => (host, port),
        };
        let connect = async {
            let stream = match &self.sources {
                None => TcpStream::connect((to, at)).await?,
                Some(sources) => sources.connect(to, at).await?,
            };
            stream.set_nodelay(true)?;
            if !is_tls {
                return Ok((Box::new(stream) as Stream, Protocol::Assumed));
            }
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let stream = tls.connect(name, stream).await?;
            let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            Ok((Box::new(stream) as Stream, Protocol::Chosen(chosen)))
        };
        let connected = timeout(TIMEOUT, connect).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| failed(format!("{host}:{port}"), error))
    }
}

impl Sources {
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let source = self.addresses[turn % self.addresses.len()];
        let mut found = lookup_host((host, port)).await?;
        let Some(target) = found.find(|target| target.is_ipv4() == source.is_ipv4()) else {
            let problem = format!("it has no address that {source} can connect to");
            return Err(io::Error::other(problem));
        };
        let socket = match source {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(target).await
    }
}

/// The application protocol of a new connection.
pub(crate) enum Protocol {
    /// Plain TCP: the client decides.
    Assumed,
    /// The protocol that the service chose by ALPN (RFC 7301), if any.
    Chosen(Option<Vec<u8>>),
}

fn failed(host: String, error: io::Error) -> ClientError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(problem)) => ClientError::Untrusted {
            host,
            problem: problem.to_string(),
        },
        _ => ClientError::Connect { host, error },
    }
}

fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let before = roots.len();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.len() == before {
        return Err("it holds no certificate".to_owned());
    }
    Ok(())
}
