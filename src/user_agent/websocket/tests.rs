//! Cases that no client can cause.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;
use crate::server::Server;
use crate::time::Clock;

/// A frame with `{"messageType":"hello"}`, masked with zeros.
const HELLO: &[u8] = b"\x81\x97\0\0\0\0{\"messageType\":\"hello\"}";

/// A connection that panics when it is read.
struct Panics;

impl AsyncRead for Panics {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("a bug, as the test wants it")
    }
}

impl AsyncWrite for Panics {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_panic_before_or_after_hello_is_no_connected_user_agent() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = (Ipv4Addr::LOCALHOST, 0).into();
    config.admin.listen = None;
    config.server.data = folder.path().join("data");
    let server = Server::bind(config, Clock::system()).await.unwrap();
    let settings = Arc::new(session_settings(server.app().service.config()));
    for (read, says_hello) in [(Vec::new(), false), (HELLO.to_vec(), true)] {
        let (app, settings) = (Arc::clone(server.app()), Arc::clone(&settings));
        let (hello, answered) = tokio::sync::oneshot::channel();
        let served = tokio::spawn(async move {
            let (address, stop) = (Ipv4Addr::LOCALHOST.into(), CancellationToken::new());
            let opened = open(Panics, read, app, settings, address, &stop).await;
            hello.send(()).unwrap();
            let (mut connection, owner) = opened.unwrap();
            connection.serve(owner).await;
        });
        assert!(served.await.unwrap_err().is_panic());
        assert_eq!(answered.await.is_ok(), says_hello);
        let metrics = server.app().service.metrics();
        assert_eq!(metrics.user_agents.get(), 0, "after hello: {says_hello}");
    }
}
