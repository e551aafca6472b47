//! A unix socket as the public listener, for a proxy on the same machine.

use std::os::unix::fs::PermissionsExt;

use bugle::{Clock, Config, Server as Bugle};
use tokio::net::UnixStream;

use crate::support::app_server::Push;
use crate::support::channels::subscribed;
use crate::support::proxied::{exchange, handshake, request, server, websocket};
use crate::support::subject::needs_ours;

#[tokio::test]
async fn a_unix_socket_is_a_listener_whose_peers_are_trusted() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    let mut server = server(&[
        ("SERVER__SOCKET", path.to_str().unwrap()),
        ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
    ])
    .await;
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let client = [("x-forwarded-for", "192.0.2.7")];
    let connect = async || UnixStream::connect(&path).await.unwrap();
    websocket(connect().await, &client).await.unwrap();
    assert_eq!(websocket(connect().await, &[]).await.unwrap_err(), 403);
    let (client, connection) = h2::client::handshake(connect().await).await.unwrap();
    tokio::spawn(connection);
    let post = ::http::Request::post("http://push.example/subscribe");
    let post = post
        .header("x-forwarded-for", "192.0.2.7")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, _) = client.send_request(post, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 201);
    // The TCP listener still works and trusts no peer.
    assert_eq!(
        handshake(&server, &[("x-forwarded-for", "192.0.2.7")])
            .await
            .unwrap_err(),
        403
    );
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn only_a_stale_unix_socket_is_replaced() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _first = server(&[
        ("SERVER__SOCKET", path.to_str().unwrap()),
        ("SERVER__SOCKET_MODE", "0600"),
    ])
    .await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for (taken, printed) in [(&path, "server.socket"), (&file, "no socket")] {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = None;
        config.server.data = folder.path().join("other");
        config.server.socket = Some(taken.clone());
        let refused = Bugle::bind(config, Clock::system()).await.err().unwrap();
        assert!(refused.to_string().contains(printed), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn a_push_is_delivered_over_the_unix_socket() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    let server = server(&[("SERVER__SOCKET", path.to_str().unwrap())]).await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let path_of_push = endpoint.strip_prefix(&server.origin()).unwrap();
    let stream = UnixStream::connect(&path).await.unwrap();
    let post = request("POST", path_of_push).replace("Host", "TTL: 60\r\nHost");
    let answer = exchange(stream, &[post.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    Push::to(&server, &endpoint).accepted().await;
}
