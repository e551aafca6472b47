//! HTTP/1.1 of strangers: requests that others would understand otherwise,
//! octets that come one at a time, answers that are not read.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::server::Server;
use crate::support::siege::{Siege, connect, pour};
use crate::support::subject::needs_ours;
use crate::support::user_agent::PATIENCE;

#[tokio::test]
async fn one_who_asks_and_does_not_read_is_let_go() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, |config| {
        config.limits.body_timeout = Duration::from_millis(300);
    })
    .await;
    let mut siege = Siege::of(&server).await;
    let request = format!(
        "GET /errors HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.authority()
    );
    let requests = request.repeat(100);
    let mut stream = connect(&server).await;
    let asking = timeout(PATIENCE, pour(&mut stream, requests.as_bytes(), 100_000));
    let asked = siege.withstands(asking).await;
    assert!(asked.is_ok_and(|times| times < 100_000), "it is kept");
}
