//! A client of the admin API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bugle_client::{Dialer, HttpConnection, Stream, TIMEOUT};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;
use url::{Position, Url};

use crate::Config;
use crate::cli::{Failure, files};

/// The address of the API and the token for it.
pub(super) struct Api {
    target: Target,
    /// `None` on the unix socket, which needs no token.
    token: Option<String>,
}

enum Target {
    Url(Box<Dialer>, Url),
    Socket(PathBuf),
}

impl Api {
    /// The API of the service with this configuration; `url` and `token_file` override it.
    ///
    /// # Errors
    /// If the service has no admin listener, or the token cannot be read.
    pub(super) fn new(
        config: &Config,
        url: Option<String>,
        token_file: Option<PathBuf>,
        ca: Option<&Path>,
    ) -> Result<Self, Failure> {
        let token =
            |file: Option<PathBuf>| token(&file.unwrap_or_else(|| config.admin_token_file()));
        let url = match (url, &config.admin.socket) {
            (Some(url), _) => url,
            (None, Some(socket)) => {
                let token = token_file.map(|file| token(Some(file))).transpose()?;
                let target = Target::Socket(socket.clone());
                return Ok(Self { target, token });
            }
            (None, None) => {
                let listen = config.admin.listen.ok_or(
                    "admin.listen is empty, so this service has no admin listener: set it, or name \
                     one by --url",
                )?;
                format!("http://{}", reachable(listen))
            }
        };
        let url = Url::parse(&url).map_err(|error| format!("--url {url}: {error}"))?;
        Ok(Self {
            target: Target::Url(Box::new(Dialer::new(ca)?), url),
            token: Some(token(token_file)?),
        })
    }

    /// Sends a request and returns the response; `null` if it has no body. `path` is relative to
    /// `/admin/v1/`.
    ///
    /// # Errors
    /// If nothing answers, or the service refuses.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let (host, base) = match &self.target {
            Target::Url(_, url) => {
                let host = &url[Position::BeforeHost..Position::AfterPort];
                (host.to_owned(), url.path().trim_end_matches('/'))
            }
            Target::Socket(_) => ("localhost".to_owned(), ""),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/admin/v1/{path}"))
            .header(HOST, &host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answered = timeout(TIMEOUT, self.exchange(request)).await;
        let answered = answered.map_err(|_| format!("{host} does not answer"))??;
        let status = answered.status();
        let answer = match answered.body().as_ref() {
            b"" => Value::Null,
            body => serde_json::from_slice(body)
                .map_err(|_| format!("{host} is not the admin listener of Bugle ({status})"))?,
        };
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["message"].as_str().unwrap_or("it does not say why");
        Err(format!("{status}: {message}").into())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        let stream: Stream = match &self.target {
            Target::Url(dialer, url) => dialer.dial(url).await?,
            Target::Socket(path) => {
                let connected = UnixStream::connect(path).await;
                Box::new(connected.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        let mut connection = HttpConnection::on_stream(stream).await?;
        Ok(connection.send(request).await?)
    }
}

fn token(file: &Path) -> Result<String, Failure> {
    let text = files::read(file).map_err(|error| {
        format!(
            "{error}; the service makes it at its first start, readable by its user alone: name \
             its folder by --data or --config, or a copy by --token-file"
        )
    })?;
    Ok(text.trim().to_owned())
}

/// The address of a listener as reached from this machine: loopback for an unspecified address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
