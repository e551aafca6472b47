//! The stages of a shutdown (docs/reliability.md, "Restarts").

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ::http::Request;
use bugle_launch::Service;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::{Push, encrypted};
use crate::support::held::{Events, Held};
use crate::support::http::{self, read};
use crate::support::server::Server;
use crate::support::service_manager::ServiceManager;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;
use crate::support::user_agent::{CHANNEL, TIMEOUT, UserAgent};

/// A duration that never ends within a test.
const FOR_EVER: Duration = Duration::from_secs(3600);

async fn status_of(server: &Server, path: &str) -> u16 {
    server.get(path).await.status.as_u16()
}

/// Waits until the admin listener reports that the shutdown has begun.
async fn await_shutdown(server: &Server) {
    let begun = async {
        let ready = || http::http1(server.admin(), "GET", "/ready", &[], b"");
        while ready().await.status != 503 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TIMEOUT, begun).await.expect("the shutdown begins");
}

/// Waits until the service accepts no more connections.
async fn refuses_connections(server: &Server) {
    let refused = async {
        while TcpStream::connect(server.authority()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TIMEOUT, refused)
        .await
        .expect("the listener closes");
}

#[tokio::test]
async fn readiness_fails_first_and_everything_else_continues() {
    needs_ours!("a stop");
    let mut server = Server::start_with(|config| config.server.stop_notice = FOR_EVER).await;
    let mut here = UserAgent::connect(&server).await;
    let endpoint = here.register(CHANNEL, None).await;
    assert_eq!(status_of(&server, "/ready").await, 200);
    server.begin_stop();
    await_shutdown(&server).await;
    assert_eq!(status_of(&server, "/ready").await, 503);
    assert_eq!(status_of(&server, "/health").await, 200);
    Push::to(&server, &endpoint).text("one").accepted().await;
    let notification = here.notification().await;
    here.ack(&notification).await;
    here.receives_nothing().await;
    let mut newcomer = UserAgent::connect(&server).await;
    newcomer.register(CHANNEL, None).await;
}

#[tokio::test]
async fn a_request_in_progress_is_answered_and_ends_its_connection() {
    needs_ours!("a stop");
    let mut server = Server::start_with(|config| config.server.drain = FOR_EVER).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let body = encrypted("one");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nttl: 60\r\ncontent-encoding: aes128gcm\r\n\
         content-length: {}\r\n\r\n",
        server.authority(),
        body.len()
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (first, rest) = body.split_at(20);
    stream.write_all(first).await.unwrap();
    // The service has started to handle the request.
    server.await_metric("bugle_connections", 3.0).await;
    server.begin_stop();
    assert_eq!(user_agent.closed().await, 1001);
    refuses_connections(&server).await;
    stream.write_all(rest).await.unwrap();
    let mut answer = String::new();
    let read = timeout(TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.expect("the connection ends").unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_in_progress_is_answered_after_goaway() {
    needs_ours!("a stop");
    let mut server = Server::start_with(|config| config.server.drain = FOR_EVER).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::post(&endpoint)
        .header("ttl", "60")
        .header("content-encoding", "aes128gcm");
    let (response, mut body) = client
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    body.send_data(Bytes::new(), false).unwrap();
    server.await_metric("bugle_connections", 3.0).await;
    server.begin_stop();
    refuses_connections(&server).await;
    body.send_data(encrypted("one").into(), true).unwrap();
    let reply = timeout(TIMEOUT, response).await.expect("a response");
    assert_eq!(read(reply.unwrap()).await.status, 201);
    let ended = timeout(TIMEOUT, connection).await;
    ended.expect("the connection ends").unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn held_gets_end_and_events_send_a_retry_time() {
    needs_ours!("a stop");
    let mut server = Server::start().await;
    let made = Subscription::new(&server).await;
    let held = Held::get(&server, &made.url, &[]).await;
    let other = Subscription::new(&server).await;
    let mut events = Events::get(&server, &other.url, &[]).await;
    server.await_metric("bugle_monitors", 2.0).await;
    let ((), status, end) = tokio::join!(server.stop(), held.ended(), events.next());
    assert_eq!(status.status, 204);
    assert_eq!(end, None);
    let retry = events.retry().expect("a reconnection time");
    assert!((1000..5000).contains(&retry), "{retry} ms");
}

#[tokio::test]
async fn a_second_signal_ends_the_program_at_once() {
    needs_ours!("the program");
    let mut manager = ServiceManager::new(|config| config.server.stop_notice = FOR_EVER);
    manager.start().await;
    let server = Server::at(&manager.authority());
    manager.hears("WATCHDOG=1").await;
    manager.terminate();
    manager.hears("STOPPING=1").await;
    assert_eq!(status_of(&server, "/health").await, 200);
    // The watchdog message shows that the process is alive and its store responds.
    manager.hears("WATCHDOG=1").await;
    manager.terminate();
    manager.ended().await;
}

/// Waits until a process opens this FIFO for reading. It blocks while the returned file is
/// open.
async fn await_reader(fifo: &Path) -> File {
    const O_NONBLOCK: i32 = 0o4000;
    let opened = async {
        loop {
            let mut options = OpenOptions::new();
            // Opening fails as long as there is no reader (fifo(7)).
            match options.write(true).custom_flags(O_NONBLOCK).open(fifo) {
                Ok(file) => return file,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    timeout(TIMEOUT, opened).await.expect("the file is read")
}

#[tokio::test]
async fn sigterm_is_handled_while_the_data_folder_is_being_opened() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let made = Command::new("mkfifo").arg(&keys).status();
    assert!(made.unwrap().success());
    let mut program = Command::new(env!("CARGO_BIN_EXE_bugle"));
    program
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--data", "data"])
        .env("BUGLE_KEYS__ENDPOINT_KEYS_FILE", &keys)
        .current_dir(folder.path());
    let mut service = Service::start(&mut program, &folder.path().join("log")).unwrap();
    let _writer = await_reader(&keys).await;
    service.stop().await.unwrap();
}
