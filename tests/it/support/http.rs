//! An HTTP client for both versions; one connection per request.

use bugle_client::{Http2Connection, HttpConnection};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::secrets;
use super::user_agent::TIMEOUT;

/// The HTTP version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

impl Version {
    /// The version for tests that work with both: `BUGLE_TEST_HTTP_VERSION`, 1.1 or 2.
    pub fn of_run() -> Self {
        match std::env::var("BUGLE_TEST_HTTP_VERSION").as_deref() {
            Err(_) | Ok("1.1") => Self::Http1,
            Ok("2") => Self::Http2,
            Ok(other) => panic!("BUGLE_TEST_HTTP_VERSION is '{other}'; it is 1.1 or 2"),
        }
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    fn seen(answer: Response<Bytes>) -> Self {
        let (parts, body) = answer.into_parts();
        for value in parts.headers.values() {
            secrets::see(&String::from_utf8_lossy(value.as_bytes()));
        }
        secrets::see(&String::from_utf8_lossy(&body));
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The value of a header, or an empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// The errno of an error response.
    pub fn errno(&self) -> u64 {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["code"], self.status.as_u16(), "{body}");
        assert!(!body["message"].as_str().unwrap().is_empty(), "{body}");
        body["errno"].as_u64().unwrap()
    }
}

fn request(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> http::request::Builder {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{authority}{path}"));
    secrets::see(path);
    for (name, value) in headers {
        secrets::see(value);
        request = request.header(*name, *value);
    }
    request
}

/// Sends a request over this version.
pub async fn send(
    version: Version,
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    match version {
        Version::Http1 => http1(authority, method, path, headers, body).await,
        Version::Http2 => http2(authority, method, path, headers, body).await,
    }
}

/// Sends a request over HTTP/1.1.
pub async fn http1(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let stream = TcpStream::connect(authority).await.unwrap();
    let mut connection = HttpConnection::on_stream(Box::new(stream)).await.unwrap();
    let request = request(authority, method, path, headers)
        .header("host", authority)
        .uri(path);
    let request = request.body(Bytes::copy_from_slice(body).into()).unwrap();
    Reply::seen(connection.send(request).await.unwrap())
}

/// Sends bytes and returns what arrives until the service closes the connection.
pub async fn raw(authority: &str, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    // A reset after the response counts as an end.
    let _ = read.expect("the service closes");
    answer
}

/// Sends a request over HTTP/2.
pub async fn http2(
    authority: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let stream = TcpStream::connect(authority).await.unwrap();
    let origin = format!("http://{authority}/").parse().unwrap();
    let connection = Http2Connection::on_stream(Box::new(stream), origin);
    let request = request(authority, method, path, headers);
    let request = request.body(Bytes::copy_from_slice(body)).unwrap();
    let answer = connection.await.unwrap().send("a request", request).await;
    Reply::seen(answer.unwrap())
}

pub async fn read(response: Response<h2::RecvStream>) -> Reply {
    let (parts, mut body) = response.into_parts();
    let mut octets = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        octets.extend_from_slice(&chunk);
    }
    Reply::seen(Response::from_parts(parts, octets.into()))
}
