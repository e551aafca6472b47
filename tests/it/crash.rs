//! A 201 is a promise: what was accepted survives `kill -9` of the real
//! program, and the loss of power.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::app_server::{Push, decrypted};
use crate::support::disk::Disk;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

/// How many application servers push at one time.
const SENDERS: usize = 8;

/// What was answered 201, sender by sender, in order.
#[derive(Default)]
struct Accepted(Mutex<Vec<(usize, usize)>>);

impl Accepted {
    /// Pushes without a pause until the service is gone.
    async fn push_on(&self, server: &Server, endpoint: &str) {
        let sender = |sender: usize| async move {
            for count in 0.. {
                let push = Push::to(server, endpoint).text(&format!("{sender} {count}"));
                match push.try_send().await {
                    Some(reply) if reply.status == 201 => {
                        self.0.lock().unwrap().push((sender, count));
                    }
                    // Between the end of the disk and that of the service.
                    Some(reply) if reply.status == 503 => return,
                    Some(reply) => panic!("{reply:?}"),
                    None => return,
                }
            }
        };
        join_all((0..SENDERS).map(sender)).await;
    }

    /// Everything arrives, once, and that of one sender in its order. What was
    /// never answered may arrive too.
    async fn all_arrive(self, server: &Server, uaid: &str) -> usize {
        let accepted = self.0.into_inner().unwrap();
        let mut user_agent = UserAgent::reconnect(server, uaid).await;
        assert_eq!(user_agent.uaid, uaid, "the user agent is known");
        let stored = server.metric("bugle_stored_messages").await;
        let mut next = [0; SENDERS];
        let mut arrived = 0;
        while f64::from(arrived) < stored {
            let notification = user_agent.notification().await;
            let text = decrypted(&notification.data());
            let (sender, count) = text.split_once(' ').unwrap();
            let (sender, count): (usize, usize) = (sender.parse().unwrap(), count.parse().unwrap());
            assert_eq!(count, next[sender], "of sender {sender}");
            next[sender] += 1;
            user_agent.ack(&notification).await;
            arrived += 1;
        }
        user_agent.hears_nothing().await;
        for (sender, count) in &accepted {
            assert!(
                *count < next[*sender],
                "message {count} of sender {sender} is lost"
            );
        }
        accepted.len()
    }
}

/// A service under load that ends, by `end`, after a while.
async fn push_until(
    server: &Server,
    endpoint: &str,
    after: Duration,
    end: impl FnOnce(),
) -> Accepted {
    let accepted = Accepted::default();
    let ending = async {
        tokio::time::sleep(after).await;
        end();
    };
    tokio::join!(accepted.push_on(server, endpoint), ending);
    accepted
}

/// A user agent that has subscribed and is away: its uaid and its endpoint.
async fn away(server: &Server) -> (String, String) {
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (user_agent.uaid.clone(), endpoint)
}

#[tokio::test]
async fn what_was_accepted_survives_kill_9() {
    needs_ours!("the program");
    let mut server = Server::start_program(None).await;
    let (uaid, endpoint) = away(&server).await;
    for round in 0..5 {
        let after = Duration::from_millis(100 + 70 * round);
        let accepted = push_until(&server, &endpoint, after, || server.kill()).await;
        server.run_program().await;
        let count = accepted.all_arrive(&server, &uaid).await;
        assert!(count > 0, "nothing was accepted in round {round}");
    }
}

#[tokio::test]
async fn what_was_accepted_survives_the_loss_of_power() {
    needs_ours!("the program");
    let disk = Disk::new(256);
    let data = disk.root().join("data");
    let mut server = Server::start_program(Some(&data)).await;
    let (uaid, endpoint) = away(&server).await;
    for round in 0..3 {
        let after = Duration::from_millis(300 + 150 * round);
        let pull_the_plug = || {
            disk.cut_power();
            server.kill();
        };
        let accepted = push_until(&server, &endpoint, after, pull_the_plug).await;
        assert!(
            disk.unmount() && disk.mount(),
            "the disk can be mounted again"
        );
        server.run_program().await;
        let count = accepted.all_arrive(&server, &uaid).await;
        assert!(count > 0, "nothing was accepted in round {round}");
    }
    server.kill();
}
