//! Listeners: our own, at an address or a unix socket, or those that the service
//! manager holds for us.

use std::fs::{self, Permissions};
use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::StartError;
use crate::app::peer::User;
use crate::config::FileMode;
use crate::io::Socket;

/// How many connections may wait to be accepted. The system has a lower bound
/// of its own, `net.core.somaxconn`; user agents that come back all at once
/// should meet no other.
const BACKLOG: u32 = 65_535;

/// Where connections are accepted from.
pub(super) enum Listener {
    /// An address.
    Tcp {
        /// What is listened at.
        socket: TcpListener,
        /// Whether somebody else keeps it open: what waits in it when this
        /// process ends is for the next one.
        is_inherited: bool,
    },
    /// A file.
    Unix(UnixSocket),
}

/// A unix socket that connections are accepted from. Dropped, its file is gone.
pub(super) struct UnixSocket {
    socket: UnixListener,
    path: PathBuf,
    /// Whose the socket is: the user that the service runs as.
    owner: u32,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Address(IpAddr),
    User(User),
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
        Ok(Self::Tcp {
            socket,
            is_inherited,
        })
    }

    /// Listens at the unix socket `path`, which is called `setting`. A file that
    /// an earlier process has left is replaced.
    ///
    /// # Errors
    /// [`StartError::Socket`], also when another process listens there.
    pub(super) fn open_unix(
        path: &Path,
        mode: FileMode,
        setting: &'static str,
    ) -> Result<Self, StartError> {
        let failed = |error| StartError::Socket(path.to_owned(), error, setting);
        remove_left_over(path).map_err(failed)?;
        let socket = UnixListener::bind(path).map_err(failed)?;
        let permissions = Permissions::from_mode(mode.0);
        fs::set_permissions(path, permissions).map_err(failed)?;
        let owner = fs::metadata(path).map_err(failed)?.uid();
        Ok(Self::Unix(UnixSocket {
            socket,
            path: path.to_owned(),
            owner,
        }))
    }

    /// The next connection.
    ///
    /// # Errors
    /// What the system says: the connection is gone, or there are no handles.
    pub(super) async fn accept(&self) -> io::Result<(Socket, From)> {
        match self {
            Self::Tcp { socket, .. } => {
                let (stream, address) = socket.accept().await?;
                Ok((Socket::Left(stream), From::Address(address.ip())))
            }
            Self::Unix(UnixSocket { socket, owner, .. }) => {
                let (stream, _) = socket.accept().await?;
                let uid = stream.peer_cred()?.uid();
                let is_own = uid == *owner;
                Ok((Socket::Right(stream), From::User(User { uid, is_own })))
            }
        }
    }

    /// Where it listens, unless that is a unix socket.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { socket, .. } => socket.local_addr(),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the service manager holds it.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(
            self,
            Self::Tcp {
                is_inherited: true,
                ..
            }
        )
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // It may have been removed already; a next start replaces it.
        let _ = fs::remove_file(&self.path);
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

fn remove_left_over(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::Error::other("there is a file that is no socket"));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}
