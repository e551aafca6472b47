//! The body of a push: its framing and maximum size.

use crate::support::app_server::{Push, encrypted};
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn rfc8030_7_2_d_4096_octets_are_accepted_in_any_framing() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let most = encrypted(&"x".repeat(3993));
    assert_eq!(most.len(), 4096);
    let more = [&most[..], &[0]].concat();
    let push = Push::to(&server, &endpoint).text("");
    for push in [
        push.clone().over(Http1),
        push.clone()
            .over(Http1)
            .header("transfer-encoding", "chunked"),
        // The HTTP/2 client of the tests sends no Content-Length.
        push.clone().over(Http2),
        push.over(Http2).header("content-length", "4096"),
    ] {
        push.clone().body(most.clone()).accepted().await;
        assert_eq!(user_agent.notification().await.data(), most);
        let push = push.without("content-length").body(more.clone());
        let reply = push.send().await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (413, 104));
    }
}
