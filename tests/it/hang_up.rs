//! Clients that disconnect while the disk is slow: the service completes their requests, and
//! affected peers are informed. Over HTTP/1.1, where the end of a connection cancels its
//! request.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::admin::Token;
use crate::support::disk::{Fault, FaultyDisk};
use crate::support::held::{Events, Held};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

const STORED: &str = "bugle_stored_messages";
const SUBSCRIPTIONS: &str = "bugle_subscriptions";

/// A client that sends one request and reads nothing.
struct OneShot(TcpStream);

impl OneShot {
    async fn send(authority: &str, request: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("{request} HTTP/1.1\r\nhost: {authority}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(authority).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Sends a push to an endpoint.
    async fn push(server: &Server, endpoint: &str) -> Self {
        let path = endpoint.strip_prefix(&server.origin()).unwrap();
        let request = format!("POST {path}");
        Self::send(server.authority(), &request, &[("ttl", "60")], "").await
    }

    /// Sends a DELETE for a resource.
    async fn delete(server: &Server, url: &str) -> Self {
        let path = url.strip_prefix(&server.origin()).unwrap();
        Self::send(server.authority(), &format!("DELETE {path}"), &[], "").await
    }

    /// Sends a change to the admin API.
    async fn operate(server: &Server, method: &str, path: &str, body: &Value) -> Self {
        let bearer = format!("Bearer {}", server.admin_token(Token::Full));
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
        ];
        let request = format!("{method} /admin/v1/{path}");
        Self::send(server.admin(), &request, &headers, &body.to_string()).await
    }

    /// Resets the connection.
    fn hang_up(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// A service on a disk that can stall.
async fn scene() -> (FaultyDisk, Server) {
    let disk = FaultyDisk::new();
    let data = disk.data();
    let server = Server::start_program_in(disk.environment(), Some(&data), |_| ()).await;
    // Once the service responds, its token files exist.
    assert_eq!(server.get("/health").await.status, 200);
    (disk, server)
}

/// Serves other requests, so that the service has time to notice the closed connections.
async fn let_service_notice(server: &Server) {
    for _ in 0..50 {
        assert_eq!(server.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn messages_are_delivered_although_their_sender_hangs_up() {
    needs_ours!("its disk");
    let (disk, server) = scene().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for _ in 0..3 {
        disk.fails(Fault::None, Fault::Stall);
        let mut senders = Vec::new();
        for _ in 0..20 {
            senders.push(OneShot::push(&server, &endpoint).await);
        }
        server.await_metric(STORED, 20.0).await;
        senders.into_iter().for_each(OneShot::hang_up);
        let_service_notice(&server).await;
        disk.fails(Fault::None, Fault::None);
        for _ in 0..20 {
            let notification = user_agent.notification().await;
            user_agent.ack(&notification).await;
        }
        server.await_metric(STORED, 0.0).await;
    }
}

#[tokio::test]
async fn held_gets_end_although_the_owner_who_deletes_hangs_up() {
    needs_ours!("its disk");
    let (disk, server) = scene().await;
    let subscription = Subscription::new(&server).await;
    let mut on_it = Events::get(&server, &subscription.url, &[]).await;
    let on_the_set = Held::get(&server, &subscription.set, &[]).await;
    server.await_metric("bugle_monitors", 2.0).await;
    disk.fails(Fault::None, Fault::Stall);
    let owner = OneShot::delete(&server, &subscription.url).await;
    server.await_metric(SUBSCRIPTIONS, 0.0).await;
    owner.hang_up();
    let_service_notice(&server).await;
    disk.fails(Fault::None, Fault::None);
    assert_eq!(on_it.next().await, None);
    assert_eq!(on_the_set.ended().await.status, 404);
}

#[tokio::test]
async fn a_broadcast_is_sent_although_the_operator_hangs_up() {
    needs_ours!("its disk");
    let (disk, server) = scene().await;
    let hello = json!({
        "messageType": "hello",
        "use_webpush": true,
        "broadcasts": { "settings": "1" },
    });
    let mut user_agent = UserAgent::hello(&server, hello).await;
    disk.fails(Fault::None, Fault::Stall);
    let version = json!({ "version": "2" });
    let operator = OneShot::operate(&server, "PUT", "broadcasts/settings", &version).await;
    let applied = async {
        while server.look("broadcasts").await["broadcasts"]["settings"] != "2" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), applied).await.unwrap();
    operator.hang_up();
    let_service_notice(&server).await;
    disk.fails(Fault::None, Fault::None);
    let news = json!({ "messageType": "broadcast", "broadcasts": { "settings": "2" } });
    assert_eq!(user_agent.hear().await, news);
}

/// The newest entries of the audit log as pairs of action and outcome.
async fn audited(server: &Server) -> Vec<(String, String)> {
    let log = server.look("audit").await;
    let entries = log["entries"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| (text(&entry["action"]), text(&entry["outcome"])))
        .collect()
}

/// Waits until the newest entry has this action and outcome.
async fn await_audit(server: &Server, action: &str, outcome: &str) {
    let newest = (action.to_owned(), outcome.to_owned());
    let noted = async {
        while audited(server).await.first() != Some(&newest) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let noted = timeout(Duration::from_secs(30), noted).await;
    let found = audited(server).await;
    assert!(noted.is_ok(), "{newest:?} is not the newest of {found:?}");
}

#[tokio::test]
async fn a_drop_is_completed_and_audited_although_the_operator_hangs_up() {
    needs_ours!("its disk");
    let (disk, server) = scene().await;
    let mut user_agent = UserAgent::connect(&server).await;
    for channel in [CHANNEL, CHANNEL_2] {
        user_agent.register(channel, None).await;
    }
    disk.fails(Fault::None, Fault::Stall);
    let subject = json!({ "subject": user_agent.uaid });
    let operator = OneShot::operate(&server, "POST", "user-agents/drop", &subject).await;
    server.await_metric(SUBSCRIPTIONS, 1.0).await;
    await_audit(&server, "dropUserAgent", "asked").await;
    operator.hang_up();
    let_service_notice(&server).await;
    disk.fails(Fault::None, Fault::None);
    await_audit(&server, "dropUserAgent", "done").await;
    assert_eq!(server.metric(SUBSCRIPTIONS).await, 0.0);
    user_agent.closed().await;
}

#[tokio::test]
async fn a_block_is_applied_and_audited_although_the_operator_hangs_up() {
    needs_ours!("its disk");
    let (disk, server) = scene().await;
    disk.fails(Fault::None, Fault::Stall);
    let path = "blocks/addresses/192.0.2.0%2F24";
    let operator = OneShot::operate(&server, "PUT", path, &json!({ "note": "" })).await;
    await_audit(&server, "blockAddresses", "asked").await;
    operator.hang_up();
    let_service_notice(&server).await;
    disk.fails(Fault::None, Fault::None);
    await_audit(&server, "blockAddresses", "done").await;
    // A later change keeps the block.
    let other = "blocks/addresses/198.51.100.0%2F24";
    let reply = server.operate("PUT", other, &json!({ "note": "" })).await;
    assert_eq!(reply.status, 204);
    let blocks = server.look("blocks").await;
    assert_eq!(blocks["addresses"].as_array().unwrap().len(), 2, "{blocks}");
}

#[tokio::test]
async fn a_failed_change_is_audited_as_failed() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let reply = server
        .operate("DELETE", "blocks/addresses/192.0.2.0%2F24", &Value::Null)
        .await;
    assert_eq!(reply.status, 404);
    let expected = ("unblockAddresses".to_owned(), "failed".to_owned());
    assert_eq!(audited(&server).await, [expected]);
}

#[tokio::test]
async fn a_drop_includes_a_pending_register_of_a_superseded_connection() {
    needs_ours!("its disk");
    let disk = FaultyDisk::new();
    let data = disk.data();
    let large = |config: &mut bugle::Config| {
        config.limits.body_bytes = 2 << 20;
        config.compat.allow_unencrypted = true;
    };
    let server = Server::start_program_in(disk.environment(), Some(&data), large).await;
    let mut older = UserAgent::connect(&server).await;
    let endpoint = older.register(CHANNEL, None).await;
    disk.fails(Fault::None, Fault::Stall);
    // The store applies changes of up to 4 MiB between two syncs, and counts 4 KiB for each of
    // the 140 records of such a message: the fourth, and what comes after it, waits.
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let (request, body) = (format!("POST {path}"), "x".repeat(700_000));
    let mut senders = Vec::new();
    for nth in 1..=4 {
        let headers = [("ttl", "60")];
        senders.push(OneShot::send(server.authority(), &request, &headers, &body).await);
        server.await_metric(STORED, f64::from(nth.min(3))).await;
    }
    let_service_notice(&server).await;
    let register = json!({ "messageType": "register", "channelID": CHANNEL_2 });
    older.say(register).await;
    let_service_notice(&server).await;
    let mut newer = UserAgent::reconnect(&server, &older.uaid).await;
    let subject = json!({ "subject": older.uaid });
    let mut dropped = pin!(server.operate("POST", "user-agents/drop", &subject));
    tokio::select! {
        reply = &mut dropped => panic!("{reply:?}"),
        () = newer.closed_at_last() => {}
    }
    assert_eq!(server.metric(SUBSCRIPTIONS).await, 1.0);
    disk.fails(Fault::None, Fault::None);
    assert_eq!(dropped.await.status, 200);
    older.closed_at_last().await;
    assert_eq!(server.metric(SUBSCRIPTIONS).await, 0.0);
}
