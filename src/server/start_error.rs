//! Why a service cannot start, and how to fix it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::admin::access::TokenError;
use crate::gate::blocklist::BlocksError;
use crate::secrets::KeysError;
use crate::server::systemd::InheritedError;
use crate::server::tls::TlsError;
use crate::service::clock::ClockError;
use crate::store::OpenError;

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can be neither found nor created.
    #[error(
        "cannot make the data folder {}: {}; make it a folder of the user that the service runs \
         as, or set server.data (--data)", .0.display(), .1
    )]
    Data(PathBuf, #[source] io::Error),
    /// The sealing keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The tokens of the admin API cannot be used.
    #[error(transparent)]
    AdminToken(#[from] TokenError),
    /// The blocklist cannot be read.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The clock file cannot be read.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The thread that reads the data folder panicked.
    #[error("the data folder could not be read ({0}): report this as a bug")]
    Panicked(#[from] tokio::task::JoinError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The inherited sockets cannot be used.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The service cannot listen at the unix socket.
    #[error("cannot listen at {} ({}): {}", .0.display(), .2, why_not(.1))]
    Socket(PathBuf, #[source] io::Error, &'static str),
    /// The service cannot listen at the address.
    #[error("cannot listen at {} ({}): {}", .0, .2, why_not(.1))]
    Listen(SocketAddr, #[source] io::Error, &'static str),
}

/// Explains why the service cannot listen, and how to fix it.
fn why_not(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it (`ss -ltnp` names it), or set another one"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; 0.0.0.0 or [::] stands for all it has"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not: a port under 1024 takes the systemd units or CAP_NET_BIND_SERVICE, \
             a socket a folder that it may write to"
        }
        _ => return error.to_string(),
    };
    advice.to_owned()
}
