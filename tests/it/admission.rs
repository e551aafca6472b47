//! Restricting who may connect as a user agent (`[admission]`).

use ::http::HeaderValue;
use ::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle::Config;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::cli::{bugle, json, lines};
use crate::support::app_server::{Push, ask};
use crate::support::http::{self, Reply, Version};
use crate::support::secrets;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

const SECRET: &str = "0123456789abcdef";
const NEARLY: &str = "0123456789abcdeg";

/// A service with these settings of `[admission]`.
async fn server(settings: &[(&str, &str)]) -> Server {
    for (_, value) in settings.iter().filter(|(key, _)| *key != "addresses") {
        secrets::note(value);
    }
    let settings = settings.iter().map(|(key, value)| {
        let name = format!("BUGLE_ADMISSION__{}", key.to_ascii_uppercase());
        (name.into(), (*value).into())
    });
    let admission = Config::load(None, settings, &[]).unwrap().admission;
    Server::start_with(|config| config.admission = admission).await
}

/// The status of a WebSocket handshake at a path.
async fn upgrade(server: &Server, path: &str, authorization: Option<&str>) -> u16 {
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let url = format!("ws://{}{path}", server.authority());
    let mut request = url.into_client_request().unwrap();
    if let Some(field) = authorization {
        let field = HeaderValue::from_str(field).unwrap();
        request.headers_mut().insert(AUTHORIZATION, field);
    }
    match client_async(request, stream).await {
        Ok((_, reply)) => reply.status().as_u16(),
        Err(tungstenite::Error::Http(reply)) => reply.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

/// Sends `POST` to a subscribe path, optionally with credentials.
async fn subscribe(server: &Server, path: &str, authorization: Option<&str>) -> Reply {
    let headers = authorization.map(|field| [("authorization", field)]);
    let headers = headers.as_ref().map_or(&[][..], |headers| headers);
    let version = Version::of_run();
    http::send(version, server.authority(), "POST", path, headers, b"").await
}

fn basic(credentials: &str) -> String {
    let credentials = STANDARD.encode(credentials);
    secrets::note(&credentials);
    format!("Basic {credentials}")
}

#[tokio::test]
async fn user_agents_must_use_the_secret_path() {
    needs_ours!("its settings");
    let server = server(&[("path", SECRET)]).await;
    for path in ["/", &format!("/{NEARLY}"), &format!("/{SECRET}x"), "//"] {
        assert_eq!(upgrade(&server, path, None).await, 404, "{path}");
    }
    assert_eq!(upgrade(&server, &format!("/{SECRET}"), None).await, 101);
    assert_eq!(upgrade(&server, &format!("/{SECRET}/"), None).await, 101);
    assert_eq!(subscribe(&server, "/subscribe", None).await.status, 404);
    let made = subscribe(&server, &format!("/{SECRET}/subscribe"), None).await;
    assert_eq!(made.status, 201, "{made:?}");
    // Pages for people and monitoring stay at their paths; below the secret path there is
    // nothing else.
    assert_eq!(server.get("/health").await.status, 200);
    let below = format!("/{SECRET}/health");
    assert_eq!(server.get(&below).await.status, 404);
    let page = server.get("/").await.text();
    assert!(!page.contains(SECRET));
}

#[tokio::test]
async fn user_agents_need_the_token_and_application_servers_do_not() {
    needs_ours!("its settings");
    let mut server = server(&[("token", SECRET)]).await;
    for query in [
        "",
        "?token=",
        &format!("?token={NEARLY}"),
        &format!("?t={SECRET}"),
    ] {
        assert_eq!(
            upgrade(&server, &format!("/{query}"), None).await,
            403,
            "{query}"
        );
        let refused = subscribe(&server, &format!("/subscribe{query}"), None).await;
        assert_eq!((refused.status.as_u16(), refused.errno()), (403, 109));
        assert!(refused.text().contains("\"setting\":\"admission.token\""));
    }
    let refused = "bugle_refused_total{reason=\"admission.token\"}";
    assert_eq!(server.metric(refused).await, 8.0);
    let path = format!("/subscribe?token={SECRET}");
    assert_eq!(subscribe(&server, &path, None).await.status, 201);
    server.user_agents_at(&format!("/?a=b&token={SECRET}"));
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;
}

#[tokio::test]
async fn a_missing_password_gets_a_basic_challenge() {
    needs_ours!("its settings");
    let server = server(&[("basic", "me:s:cret")]).await;
    let good = basic("me:s:cret");
    for bad in [
        None,
        Some(basic("me:secret")),
        Some(basic("me:s:cret ")),
        Some(format!("{good}!")),
        Some("Basic".to_owned()),
        Some("vapid t=a, k=b".to_owned()),
    ] {
        assert_eq!(upgrade(&server, "/", bad.as_deref()).await, 401, "{bad:?}");
        let refused = subscribe(&server, "/subscribe", bad.as_deref()).await;
        assert_eq!((refused.status.as_u16(), refused.errno()), (401, 109));
        let challenge = refused.header("www-authenticate");
        assert_eq!(challenge, r#"Basic realm="user agents", charset="UTF-8""#);
    }
    assert_eq!(upgrade(&server, "/", Some(&good)).await, 101);
    let scheme = good.replace("Basic", "basic");
    assert_eq!(
        subscribe(&server, "/subscribe", Some(&scheme)).await.status,
        201
    );
}

#[tokio::test]
async fn addresses_restrict_every_resource_of_user_agents() {
    needs_ours!("its settings");
    let server = server(&[("addresses", "10.0.0.0/8, ::/0")]).await;
    assert_eq!(upgrade(&server, "/", None).await, 403);
    let refused = subscribe(&server, "/subscribe", None).await;
    assert_eq!((refused.status.as_u16(), refused.errno()), (403, 109));
    for resource in ["subscription", "subscription-set"] {
        for method in ["GET", "DELETE"] {
            let url = format!("{}/{resource}/x", server.origin());
            assert_eq!(
                ask(&server, method, &url).await.status,
                403,
                "{method} {url}"
            );
        }
    }
    // Application servers use these.
    for path in ["/push/x", "/receipt-subscription/x", "/message/x"] {
        assert_ne!(server.get(path).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn all_admission_settings_apply_together() {
    needs_ours!("its settings");
    let server = server(&[
        ("path", SECRET),
        ("token", SECRET),
        ("basic", "me:secret"),
        ("addresses", "127.0.0.0/8"),
    ])
    .await;
    let (path, good) = (format!("/{SECRET}?token={SECRET}"), basic("me:secret"));
    assert_eq!(upgrade(&server, &path, Some(&good)).await, 101);
    assert_eq!(upgrade(&server, &path, None).await, 401);
    assert_eq!(
        upgrade(&server, &format!("/{SECRET}"), Some(&good)).await,
        403
    );
    let query = format!("/?token={SECRET}");
    assert_eq!(upgrade(&server, &query, Some(&good)).await, 404);
}

#[tokio::test]
async fn bugle_listen_sends_the_credentials_in_its_url() {
    needs_ours!("its settings");
    let server = server(&[("path", SECRET), ("token", SECRET), ("basic", "me:s:cret")]).await;
    let url = format!(
        "ws://me:s%3Acret@{}/{SECRET}?token={SECRET}",
        server.authority()
    );
    for protocol in [&[][..], &["--rfc8030"]] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["listen", "--json", "--subscription", "s.json", "--server"];
        let arguments = [&arguments[..], &[&url], protocol].concat();
        let mut child = bugle(folder.path(), &arguments).spawn().unwrap();
        let subscription = json(&mut lines(&mut child)).await;
        let endpoint = subscription["endpoint"].as_str().unwrap();
        Push::to(&server, endpoint).text("x").accepted().await;
        child.kill().await.unwrap();
    }
}
