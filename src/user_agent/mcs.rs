//! The connection of a Chromium (MCS): drives a [`Session`] over one connection.

mod delivery;
mod end;
mod reading;

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::Urgency;
use bugle_protocol::mcs::session::{Command, Login, Session, Timeout};
use bugle_protocol::mcs::{Close, Device};
use bugle_protocol::session::SessionSettings;
use bugle_protocol::window::Window;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::delivery::Addressee;
use self::end::End;
use self::reading::{Reading, Received};
use super::drain::{Drain, Next};
use crate::app::App;
use crate::config::Limit;
use crate::gate::fairness::Slot;
use crate::service::registry::Registration;
use crate::service::{Error, Outcome, PushService};

/// Serves a connection of a client at `address` until it ends. `stop` ends it until the login, the
/// mailbox afterwards.
///
/// Not an `async fn`, which would store its arguments twice: this future is most of the memory of
/// an idle device beside its TLS state.
pub fn serve<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    io: IO,
    app: Arc<App>,
    settings: Arc<SessionSettings>,
    address: IpAddr,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send {
    // Boxed, so that the state of opening is freed before the session begins.
    let opening = Box::pin(async move { open(io, app, settings, address, &stop).await });
    async move {
        // `if let` would keep its temporaries until the end of the block.
        let Some((mut connection, drain, slot)) = opening.await else {
            return;
        };
        connection.serve(drain).await;
        // The slot is free only once the connection is closed.
        drop(connection);
        drop(slot);
    }
}

/// Admits a client as any other user agent, waits for its login and answers it.
async fn open<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    app: Arc<App>,
    settings: Arc<SessionSettings>,
    address: IpAddr,
    stop: &CancellationToken,
) -> Option<(Connection<IO>, Drain, Box<Slot>)> {
    app.service.metrics().mcs_connections.inc();
    let mut connection = Connection {
        io,
        received: Received::default(),
        session: Session::new(settings, Instant::now().into_std()),
        app,
        last: None,
    };
    match connection.admit_and_log_in(address, stop).await {
        Ok((drain, slot)) => Some((connection, drain, slot)),
        Err(end) => {
            connection.end(end, None).await;
            None
        }
    }
}

/// What a connection waits for after the login.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
enum Event {
    /// The drain has something to do, or a timeout of the session has expired.
    Next(Result<Next, Error>),
    /// The peer has sent something.
    Read(Result<Reading, End>),
}

/// A device connected by MCS. A gauge counts it until it is dropped.
struct Connection<IO> {
    io: IO,
    received: Received,
    session: Session,
    app: Arc<App>,
    /// The registration of the last message, because most devices have one.
    last: Option<Box<Addressee>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    async fn admit_and_log_in(
        &mut self,
        address: IpAddr,
        stop: &CancellationToken,
    ) -> Result<(Drain, Box<Slot>), End> {
        let admitted = self.app.gate.admission.check_address(address);
        let admitted = admitted.and_then(|()| self.app.admit_peer(address));
        admitted.map_err(|refusal| self.refused(&refusal.into()))?;
        let slot = self.app.admit_user_agent(address);
        let slot = slot.map_err(|error| self.refused(&error))?;
        let drain = self.log_in(address, stop).await?;
        Ok((drain, slot))
    }

    /// Counts a client that is refused before its login. There is no message that says why: the
    /// client connects again, later each time.
    fn refused(&self, error: &Error) -> End {
        let row = self.app.row(error);
        self.app.count_refusal(&row);
        tracing::debug!(reason = row.label, "a connection of a Chromium is refused");
        End::Lost
    }

    /// Waits for the login and answers it.
    async fn log_in(&mut self, address: IpAddr, stop: &CancellationToken) -> Result<Drain, End> {
        let login = loop {
            let (until, may_read) = self.next_wait();
            let reading = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Close::GoingAway.into()),
                () = sleep_until(until) => {
                    self.timeout().await?;
                    continue;
                }
                reading = self.received.read(&mut self.io, &mut self.session), if may_read => reading?,
            };
            if let Some(Command::Login(login)) = self.receive(reading)? {
                break login;
            }
        };
        let Login {
            device,
            security_token,
            received,
        } = login;
        let Some(device) = self.app.service.device(device, security_token) else {
            return Err(Close::UnknownDevice.into());
        };
        let registration = connect(&self.app.service, device, &received, address).await?;
        let window = Window::new(Arc::clone(&self.app.window));
        // The client has no word for urgency: a desktop takes all.
        let drain = Drain::new(&self.app, registration, Some(window), Urgency::VeryLow);
        let response = self.session.accept(self.app.service.wall_clock());
        self.write(&response).await?;
        Ok(drain)
    }

    /// Serves the connection until it ends.
    ///
    /// The drain, and in it the mailbox, is polled before the peer's frames. So a peer that never
    /// stops sending can be closed too. The window bounds what the drain sends, so frames are not
    /// starved.
    async fn serve(&mut self, mut drain: Drain)
    where
        IO: Send,
    {
        let end = loop {
            let (until, may_read) = self.next_wait();
            // A block, so that the event does not outlive the `match`.
            let handled = {
                let event = tokio::select! {
                    biased;
                    next = drain.next(until) => Event::Next(next),
                    read = self.received.read(&mut self.io, &mut self.session), if may_read => {
                        Event::Read(read)
                    }
                };
                match event {
                    Event::Next(next) => self.deliver(&mut drain, next).boxed(),
                    Event::Read(read) => self.answer(&mut drain, read).boxed(),
                }
            };
            if let Err(end) = handled.await {
                break end;
            }
        };
        drain.registration.unregister();
        Box::pin(self.end(end, Some(&mut drain))).await;
    }

    /// Processes a frame, if one is complete.
    fn receive(&mut self, reading: Reading) -> Result<Option<Command>, End> {
        let Reading::Frame(frame) = reading else {
            return Ok(None);
        };
        let now = Instant::now().into_std();
        let message = self.received.message(&frame);
        let command = self.session.receive(frame.tag, message, now);
        self.received.pass(&frame);
        Ok(Some(command?))
    }

    /// Processes a frame after the login and answers it.
    async fn answer(&mut self, drain: &mut Drain, read: Result<Reading, End>) -> Result<(), End> {
        match self.receive(read?)? {
            Some(Command::Confirmed {
                messages,
                is_heartbeat,
            }) => {
                let messages = messages.into_iter().map(|id| (id, Outcome::Delivered));
                let messages: Vec<_> = messages.collect();
                if !messages.is_empty() {
                    drain.acknowledge(messages).await;
                }
                match is_heartbeat {
                    true => self.answer_heartbeat().await,
                    false => Ok(()),
                }
            }
            Some(Command::Ignored) => {
                self.app.service.metrics().ignored.inc();
                Ok(())
            }
            // The session allows one login, which is already answered.
            Some(Command::Login(_)) | None => Ok(()),
        }
    }

    /// Answers a heartbeat. If messages were confirmed since the last one, their removal is made
    /// durable first, because the answer allows the client to forget that it has them.
    async fn answer_heartbeat(&mut self) -> Result<(), End> {
        if !self.session.is_unsettled() || self.app.service.flush().await.is_ok() {
            self.session.settle();
        }
        let ack = self.session.heartbeat_ack();
        self.write(&ack).await
    }

    async fn timeout(&mut self) -> Result<(), End> {
        match self.session.on_timeout(Instant::now().into_std()) {
            Some(Timeout::Close(close)) => Err(close.into()),
            Some(Timeout::Ping) => {
                let ping = self.session.heartbeat_ping();
                self.write(&ping).await
            }
            None => Ok(()),
        }
    }

    /// Writes a frame. The connection is lost if the peer does not read for
    /// `user_agent.write_timeout`.
    async fn write(&mut self, frame: &[u8]) -> Result<(), End> {
        let patience = self.app.service.config().user_agent.write_timeout;
        let written = timeout(patience, async {
            self.io.write_all(frame).await?;
            self.io.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Lost),
            Err(_) => {
                self.app.service.metrics().cut(Limit::WriteTimeout);
                Err(End::Lost)
            }
        }
    }
}

/// Connects a device. Removes the messages that it has received already before its log is read,
/// because it would show them twice. The response to its login then allows it to forget that it has
/// them, so their removal is durable when this returns.
async fn connect(
    service: &PushService,
    device: Device,
    received: &[String],
    address: IpAddr,
) -> Result<Registration, End> {
    let uaid = device.uaid();
    let (_, registration) = service.connect(Some(uaid), uaid, address).await?;
    let named = received
        .iter()
        .filter_map(|name| service.of_version(uaid, name));
    let ids: Vec<_> = named.map(|id| (id, Outcome::Delivered)).collect();
    if !ids.is_empty() {
        service.acknowledge(uaid, &ids).await;
        service.flush().await?;
    }
    Ok(registration)
}

impl<IO> Drop for Connection<IO> {
    /// Updates the gauge however the connection ends, even by a panic.
    fn drop(&mut self) {
        self.app.service.metrics().mcs_connections.dec();
    }
}
