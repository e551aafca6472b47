//! The admin API on a unix socket: the system says who connects, so the
//! service's own user and root need no token.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::door::Door;
use super::stop::Crowd;
use crate::config::SocketOthers;

/// A unix socket that connections are accepted from. Dropped, its file is gone.
pub(super) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Whose the socket is: the user that the service runs as.
    owner: u32,
}

impl AdminSocket {
    /// Listens at `path`. A file that an earlier process has left is replaced.
    ///
    /// # Errors
    /// [`StartError::Socket`], also when another process listens there.
    pub(super) fn open(path: &Path, others: SocketOthers) -> Result<Self, StartError> {
        let failed = |error| StartError::Socket(path.to_owned(), error);
        remove_left_over(path).map_err(failed)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mode = match others {
            SocketOthers::Refuse => 0o600,
            SocketOthers::ReadOnly => 0o666,
        };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let owner = fs::metadata(path).map_err(failed)?.uid();
        Ok(Self {
            listener,
            path: path.to_owned(),
            owner,
        })
    }

    /// Accepts from now on, in a task of its own.
    pub(super) fn serve(self, door: Door) -> Crowd {
        let stop_accepting = CancellationToken::new();
        let (leave, tasks) = (door.leave.clone(), door.tasks.clone());
        let stop = stop_accepting.clone();
        let accepting = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.accept(&door) => {}
            }
        });
        Crowd {
            accepting,
            stop_accepting,
            leave,
            tasks,
        }
    }

    async fn accept(&self, door: &Door) {
        const OUT_OF_HANDLES: Duration = Duration::from_millis(100);
        loop {
            let accepted = self.listener.accept().await;
            match accepted.and_then(|(stream, _)| with_user(stream)) {
                Ok((stream, user)) => door.admit_user(stream, user, user == self.owner),
                Err(error) => {
                    tracing::warn!(%error, "a connection to admin.socket could not be accepted");
                    sleep(OUT_OF_HANDLES).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // It may have been removed already; a next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

fn with_user(stream: UnixStream) -> io::Result<(UnixStream, u32)> {
    let user = stream.peer_cred()?.uid();
    Ok((stream, user))
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
    if net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}
