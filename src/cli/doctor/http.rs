//! HTTP checks: the supported versions, the server's version, and its clock.

use std::time::Duration;

use bugle_client::{ClientError, Dialer, Http2Connection, HttpConnection};
use bugle_protocol::UnixTime;
use bytes::Bytes;
use http::header::{DATE, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use httpdate::parse_http_date;
use serde::Deserialize;
use url::{Position, Url};

use super::network::{Trouble, within};
use super::refusal::{RequestKind, explain};
use super::report::{Finding, Outcome};
use super::site::Site;
use crate::time::Clock;

/// The clock difference that causes a warning.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// A response, and the local time before and after.
pub(super) struct Timed {
    answer: Response<Bytes>,
    before: UnixTime,
    after: UnixTime,
}

/// Requests `/version` over both versions of HTTP.
pub(super) async fn check(site: &Site, dialer: &Dialer, limit: Duration) -> Outcome<Timed> {
    let before = Clock::system().now();
    let answer = within(limit, get_version(dialer, site.origin.origin())).await;
    let after = Clock::system().now();
    let answer = answer.map_err(|trouble| no_http(site, &trouble))?;
    let timed = Timed {
        answer,
        before,
        after,
    };
    if timed.answer.status() != StatusCode::OK {
        return Ok((explain(RequestKind::Page, &timed.answer), timed));
    }
    let http2 = within(limit, get_version_over_http2(site, dialer)).await;
    let finding = match http2 {
        Ok(answer) if answer.status() == StatusCode::OK => {
            Finding::ok("HTTP/1.1 and HTTP/2 are answered").with("http2", true)
        }
        other => {
            let why = match other {
                Ok(answer) => format!("HTTP/2 is answered {}", answer.status().as_u16()),
                Err(trouble) => trouble.to_string(),
            };
            Finding::warn(
                format!("HTTP/1.1 is answered, HTTP/2 is not ({why})"),
                "senders and Firefox do without; user agents of RFC 8030 need it: switch HTTP/2 on \
                 in the proxy, and for server push let it pass TCP through (docs/proxies.md)",
            )
            .with("http2", false)
        }
    };
    Ok((finding, timed))
}

/// Requests `GET /version` from an origin, over HTTP/1.1.
pub(super) async fn get_version(
    dialer: &Dialer,
    origin: &str,
) -> Result<Response<Bytes>, ClientError> {
    let mut connection = HttpConnection::open(dialer, origin).await?;
    let unusable = |problem: String| ClientError::Url {
        url: origin.to_owned(),
        problem,
    };
    let url = Url::parse(origin).map_err(|error| unusable(error.to_string()))?;
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let request = Request::get("/version").header(HOST, authority);
    let request = request.body(Full::default());
    connection
        .send(request.map_err(|error| unusable(error.to_string()))?)
        .await
}

async fn get_version_over_http2(
    site: &Site,
    dialer: &Dialer,
) -> Result<Response<Bytes>, ClientError> {
    let connection = Http2Connection::open(dialer, site.origin.origin()).await?;
    let url = site.origin.url("/version");
    let request = Request::get(&url).body(Bytes::new());
    let request = request.map_err(|error| ClientError::Url {
        url,
        problem: error.to_string(),
    })?;
    connection.send("GET /version", request).await
}

fn no_http(site: &Site, trouble: &Trouble) -> Finding {
    let mend = match (trouble, site.origin.is_tls()) {
        (Trouble::Client(ClientError::Http(_)), false) => {
            "if it is TLS that is spoken there, begin the URL (server.public_url) with https://"
        }
        _ => "see the log of what listens there: the service, or the proxy before it",
    };
    Finding::fail(format!("no HTTP is answered: {trouble}"), mend)
}

/// Checks that the server is Bugle, in the version of this program.
pub(super) fn version(timed: &Timed) -> Finding {
    #[derive(Deserialize)]
    struct Version {
        name: String,
        version: String,
    }
    const OURS: &str = env!("CARGO_PKG_VERSION");
    let version: Option<Version> = serde_json::from_slice(timed.answer.body()).ok();
    match version.filter(|version| version.name == "bugle") {
        None if timed.answer.status() != StatusCode::OK => {
            Finding::skip("nothing was answered that tells the version")
        }
        None => Finding::fail(
            "what answers GET /version is not Bugle",
            "let the proxy forward this host and all its paths to the service, or correct the URL",
        ),
        Some(version) if version.version == OURS => {
            Finding::ok(format!("{OURS}, that of this program")).with("version", OURS)
        }
        Some(version) => Finding::warn(
            format!("the service is {}, this program {OURS}", version.version),
            "restart the service, if it is to be this version (systemctl restart bugle)",
        )
        .with("version", version.version),
    }
}

/// Compares the two clocks; `leeway` is what the service tolerates from senders.
pub(super) fn clock(timed: &Timed, leeway: Duration) -> Finding {
    let date = timed.answer.headers().get(DATE);
    let date = date.and_then(|date| parse_http_date(date.to_str().ok()?).ok());
    let Some(date) = date.map(UnixTime::from) else {
        return Finding::warn(
            "the answer has no Date, so nothing tells the time there",
            "let the proxy pass the Date header on",
        );
    };
    // The Date was written between the two moments, in whole seconds.
    let behind = timed.before.since(date + Duration::from_secs(1));
    let ahead = date.since(timed.after);
    let offset = behind.max(ahead);
    let word = if ahead > behind { "ahead" } else { "behind" };
    let secs = offset.as_secs();
    let signed = i64::try_from(secs).unwrap_or(i64::MAX) * if ahead > behind { 1 } else { -1 };
    let text = format!("the clock there is {secs} s {word} of the one here");
    let mend = "set the clock that is wrong (timedatectl set-ntp true)";
    let finding = if offset > leeway {
        let why = "VAPID tokens that are signed now may be refused there";
        Finding::fail(format!("{text}: {why}"), mend)
    } else if offset > NOTICEABLE {
        Finding::warn(text, mend)
    } else {
        Finding::ok("the clocks there and here agree")
    };
    finding.with("offset_s", signed)
}
