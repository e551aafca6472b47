//! A resource of a service, parsed once for any number of requests.

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::request::Builder;
use http::{Method, Request, Uri, Version};
use url::{Position, Url};

use crate::ClientError;

/// A resource of a service, such as a push resource. Its URL has the scheme `http` or `https`.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    uri: Uri,
    host: HeaderValue,
}

impl Target {
    /// Parses the URL of a resource.
    ///
    /// # Errors
    /// When it is not an `http` or `https` URL, or cannot be sent.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let url = http_url(text)?;
        let uri = url.as_str().parse();
        let uri: Uri = uri.map_err(|_| unusable(text, "it cannot be sent"))?;
        let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort]);
        let host = host.map_err(|_| unusable(text, "its host cannot be sent"))?;
        Ok(Self { url, uri, host })
    }

    /// Resolves the URL of another resource, such as a message, in a response of the service.
    /// `None` if it is not a URL of the same origin.
    pub fn resolve(&self, reference: &str) -> Option<Self> {
        let url = self.url.join(reference).ok()?;
        let is_same = url.origin() == self.url.origin();
        Self::new(url.as_str()).ok().filter(|_| is_same)
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Scheme and authority as written in the URL.
    pub fn origin(&self) -> &str {
        &self.url[..Position::BeforePath]
    }

    /// Starts a request. Over HTTP/2 its target contains the host (RFC 9113 §8.3.1); over HTTP/1.1
    /// it has a `Host` field instead (RFC 9112 §3.2).
    pub fn request(&self, method: Method, version: Version) -> Builder {
        let request = Request::builder().method(method);
        if version == Version::HTTP_2 {
            return request.uri(self.uri.clone());
        }
        let path = self.uri.path_and_query().cloned();
        let path = path.map_or_else(Uri::default, Uri::from);
        request.uri(path).header(HOST, &self.host)
    }

    /// Completes a request that [`request`](Self::request) started.
    ///
    /// # Errors
    /// When a header field is invalid.
    pub fn complete(&self, request: Builder, body: Bytes) -> Result<Request<Bytes>, ClientError> {
        let request = request.body(body);
        request.map_err(|error| unusable(self.url.as_str(), &error.to_string()))
    }
}

/// Parses an `http` or `https` URL.
pub(crate) fn http_url(text: &str) -> Result<Url, ClientError> {
    let url = Url::parse(text).map_err(|error| unusable(text, &error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(unusable(text, "its scheme is neither http nor https")),
    }
}

fn unusable(url: &str, problem: &str) -> ClientError {
    ClientError::Url {
        url: url.to_owned(),
        problem: problem.to_owned(),
    }
}
