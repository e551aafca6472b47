//! Simulates a service that breaks promises: a proxy between the real service and its user
//! agents loses, repeats or corrupts notifications. The real service does none of that, so this
//! shows that the load tester detects it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::service::Service;

/// The fault to inject into notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The third notification is lost.
    Lose,
    /// The third notification arrives twice.
    Duplicate,
    /// The third notification arrives after the fourth.
    Reorder,
    /// All notifications are delayed by this time.
    Delay(Duration),
    /// A character of the third notification's data is changed.
    Corrupt,
    /// The connection breaks instead of the third notification.
    Break,
    /// Endpoints lead to an unknown path.
    Mislead,
}

/// The number of the affected notification.
const THIRD: u32 = 3;

/// A proxy that injects a fault.
pub struct Proxy {
    /// The URL for user agents.
    pub url: String,
    _service: Service,
    _tasks: JoinSet<()>,
}

/// The state of one connection, and the count shared by all.
struct Relay {
    fault: Fault,
    seen: Arc<Mutex<u32>>,
    held: Option<Message>,
}

impl Proxy {
    /// Starts the proxy in front of a new service.
    pub async fn start(fault: Fault) -> Self {
        let service = Service::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let behind = service.url.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let seen = Arc::default();
            let mut relays = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let relay = Relay {
                    fault,
                    seen: Arc::clone(&seen),
                    held: None,
                };
                relays.spawn(relay.run(stream, behind.clone()));
            }
        });
        Self {
            url,
            _service: service,
            _tasks: tasks,
        }
    }
}

impl Relay {
    /// Relays messages in both directions until one side ends.
    async fn run(mut self, stream: TcpStream, behind: String) {
        let mut user_agent = accept_async(stream).await.unwrap();
        let address = behind.trim_start_matches("ws://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut service, _) = client_async(behind.as_str(), stream).await.unwrap();
        loop {
            tokio::select! {
                printed = user_agent.next() => match printed {
                    Some(Ok(printed)) => drop(service.send(printed).await),
                    _ => return,
                },
                printed = service.next() => match printed {
                    Some(Ok(printed)) => if !self.tell(printed, &mut user_agent).await {
                        return;
                    },
                    _ => return,
                },
            }
        }
    }

    /// Forwards a message from the service, or its faulty variant, to the user agent. Returns
    /// whether the connection continues.
    async fn tell(&mut self, printed: Message, to: &mut WebSocketStream<TcpStream>) -> bool {
        let mut messages = vec![printed];
        if messages[0]
            .to_text()
            .is_ok_and(|text| text.contains("notification"))
        {
            let mut seen = self.seen.lock().await;
            *seen += 1;
            if let (Fault::Delay(time), 1) = (self.fault, *seen) {
                pass(time).await;
            }
            if *seen == THIRD {
                match self.fault {
                    Fault::Lose => messages.clear(),
                    Fault::Duplicate => messages.push(messages[0].clone()),
                    Fault::Reorder => self.held = messages.pop(),
                    Fault::Corrupt => messages[0] = corrupted(&messages[0]),
                    Fault::Break => return false,
                    Fault::Delay(_) | Fault::Mislead => {}
                }
            } else {
                messages.extend(self.held.take());
            }
        }
        if self.fault == Fault::Mislead {
            for message in &mut messages {
                let text = message.to_text().unwrap();
                *message = Message::text(text.replace("/push/", "/lost/"));
            }
        }
        for message in messages {
            if to.send(message).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Waits in real time, for the timers and stopwatches of this process.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The message with another character near the end of its data.
fn corrupted(message: &Message) -> Message {
    let text = message.to_text().unwrap();
    let begin = text.find(r#""data":""#).unwrap() + 200;
    let other = if text.as_bytes()[begin] == b'A' {
        "B"
    } else {
        "A"
    };
    Message::text([&text[..begin], other, &text[begin + 1..]].concat())
}
