//! Listeners: at an address, at a unix socket, or inherited from the service manager.

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

/// Length of the accept queue. The system caps it at `net.core.somaxconn`; no lower limit should
/// stop user agents that all reconnect at once.
const BACKLOG: u32 = 65_535;

/// A listening socket.
pub(super) enum Listener {
    /// At an address.
    Tcp {
        /// The socket.
        socket: TcpListener,
        /// Whether the service manager keeps it open: connections in its backlog then wait for the
        /// next process.
        is_inherited: bool,
    },
    /// At a file.
    Unix(UnixSocket),
}

/// A listening unix socket. Dropping it removes its file.
pub(super) struct UnixSocket {
    socket: UnixListener,
    path: PathBuf,
    /// The owner of the socket: the user that the service runs as.
    owner: u32,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Address(IpAddr),
    User(User),
}

impl Listener {
    /// Adopts the inherited socket, or listens at `address`. Errors name `setting`.
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

    /// Listens at the unix socket `path`. Errors name `setting`. Replaces the file of an earlier
    /// process.
    ///
    /// # Errors
    /// [`StartError::Socket`], also if another process listens there.
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

    /// Accepts the next connection.
    ///
    /// # Errors
    /// Those of the system: the connection was reset, or no file descriptors are left.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Source)> {
        match self {
            Self::Tcp { socket, .. } => {
                let (stream, address) = socket.accept().await?;
                Ok((Socket::Left(stream), Source::Address(address.ip())))
            }
            Self::Unix(UnixSocket { socket, owner, .. }) => {
                let (stream, _) = socket.accept().await?;
                let uid = stream.peer_cred()?.uid();
                let is_own = uid == *owner;
                Ok((Socket::Right(stream), Source::User(User { uid, is_own })))
            }
        }
    }

    /// Its address, unless it is a unix socket.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp { socket, .. } => socket.local_addr(),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the service manager keeps it open.
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
        // Another process may have removed it; the next start replaces a stale file.
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
    // A restart need not wait for connections in TIME_WAIT.
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
