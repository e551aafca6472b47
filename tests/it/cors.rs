//! Pages that push by `fetch` (WS-AS-1).

use crate::support::app_server::{Push, ask};
use crate::support::server::Server;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn ws_as_1_pages_may_push_and_read_the_reply() {
    let server = Server::start().await;
    let endpoint = UserAgent::connect(&server)
        .await
        .register(CHANNEL, None)
        .await;
    let preflight = ask(&server, "OPTIONS", &endpoint).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(preflight.header("access-control-max-age"), "3600");
    for name in [
        "TTL",
        "Urgency",
        "Topic",
        "Authorization",
        "Content-Encoding",
        "Crypto-Key",
    ] {
        assert!(
            preflight
                .header("access-control-allow-headers")
                .contains(name),
            "{name}"
        );
    }
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    let push = Push::to(&server, &endpoint);
    for reply in [push.send().await, push.without("ttl").send().await] {
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(
            reply
                .header("access-control-expose-headers")
                .contains("Location")
        );
    }
}
