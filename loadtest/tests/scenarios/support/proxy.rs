//! A stand-in for a service that does not keep its promises: the real one,
//! with somebody between it and its user agents who loses notifications, sends
//! them twice, or otherwise spoils them. The real service does none of that, so
//! nothing else could show that the load tester sees it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::service::Service;

/// What is done to notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The third does not arrive.
    Lose,
    /// The third arrives twice.
    Duplicate,
    /// The third arrives after the fourth.
    Reorder,
    /// All arrive when so much time has passed.
    Delay(Duration),
    /// A letter of the third's data is another one.
    Corrupt,
    /// The connection breaks in place of the third.
    Break,
    /// Endpoints lead nowhere.
    Mislead,
}

/// Which notification it happens to.
const THIRD: u32 = 3;

/// A service that spoils one notification.
pub struct Proxy {
    /// Where user agents connect.
    pub url: String,
    _service: Service,
    _tasks: JoinSet<()>,
}

/// What one connection knows, and the count that all share.
struct Relay {
    fault: Fault,
    seen: Arc<Mutex<u32>>,
    held: Option<Message>,
}

impl Proxy {
    /// In front of a service of its own.
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
    /// Passes messages on in both directions, until one side ends.
    async fn run(mut self, stream: TcpStream, behind: String) {
        let mut user_agent = accept_async(stream).await.unwrap();
        let address = behind.trim_start_matches("ws://").trim_end_matches('/');
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut service, _) = client_async(behind.as_str(), stream).await.unwrap();
        loop {
            tokio::select! {
                said = user_agent.next() => match said {
                    Some(Ok(said)) => drop(service.send(said).await),
                    _ => return,
                },
                said = service.next() => match said {
                    Some(Ok(said)) => if !self.tell(said, &mut user_agent).await {
                        return;
                    },
                    _ => return,
                },
            }
        }
    }

    /// Tells the user agent what the service said, or what is made of it.
    /// Whether the connection goes on.
    async fn tell(&mut self, said: Message, to: &mut WebSocketStream<TcpStream>) -> bool {
        let mut messages = vec![said];
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

/// Lets time pass for the timers and stopwatches of this process.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// The same message with another letter in its data, near its end.
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
