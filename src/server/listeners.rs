//! Listeners: our own, or those that the service manager holds for us.

use std::io;
use std::net::{self, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::StartError;

/// How many connections may wait to be accepted. The system has a lower bound
/// of its own, `net.core.somaxconn`; user agents that come back all at once
/// should meet no other.
const BACKLOG: u32 = 65_535;

/// A socket that connections are accepted from.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    /// Whether somebody else keeps it open: what waits in it when this process
    /// ends is for the next one.
    pub(super) is_inherited: bool,
}

impl Listener {
    /// The inherited socket, or one of our own at `address`, which is called
    /// `setting`.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub(super) fn open(
        inherited: Option<net::TcpListener>,
        address: SocketAddr,
        setting: &'static str,
    ) -> Result<Self, StartError> {
        let is_inherited = inherited.is_some();
        let opened = match inherited {
            Some(socket) => adopt(socket),
            None => listen(address),
        };
        let socket = opened.map_err(|error| StartError::Listen(address, error, setting))?;
        Ok(Self {
            socket,
            is_inherited,
        })
    }
}

fn adopt(socket: net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart need not wait for what is left of the connections before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
