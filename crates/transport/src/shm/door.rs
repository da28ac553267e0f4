//! The hub's side of the door: a Unix socket at a path.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::end::End;
use crate::network::ListenError;
use crate::reason::CloseReason;

/// How many may wait at the door.
const BACKLOG: i32 = 1024;

/// Where clients of shared memory come in. The path is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) socket: UnixListener,
    path: PathBuf,
    /// Which file it is, so that nobody else's is removed.
    file: Option<(u64, u64)>,
}

/// Who came in.
#[derive(Debug)]
pub(crate) struct Visitor {
    socket: UnixStream,
    /// Who it is, for people.
    pub(crate) name: String,
    is_welcome: bool,
    user: u32,
}

impl Door {
    /// Opens a door at `path` for this user alone. A socket that nobody
    /// listens at any more, left behind by a hub that was killed, is replaced.
    ///
    /// # Errors
    /// [`ListenError`], which names the address and the remedy.
    pub(crate) fn open(address: &str, path: &str) -> Result<Self, ListenError> {
        let address = || address.to_owned();
        if let Some(detail) = super::wrong_with(path) {
            return Err(ListenError::ShmPath { address: address(), detail });
        }
        let path = Path::new(path);
        if is_stale(path).map_err(|detail| ListenError::ShmPath { address: address(), detail })? {
            // If somebody else did it first, so much the better.
            let _ = fs::remove_file(path);
        }
        match Self::bind(path) {
            Ok(door) => Ok(door),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(ListenError::ShmInUse { address: address() }),
            Err(e) => Err(ListenError::ShmPath { address: address(), detail: e.to_string() }),
        }
    }

    fn bind(path: &Path) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody comes in before `listen`, so the mode is right in time.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        let file = fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let socket = UnixListener::from_std(std::os::unix::net::UnixListener::from(std::os::fd::OwnedFd::from(socket)));
        Ok(Self { socket, path: path.to_owned(), file })
    }

    /// Takes in the next who waits.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when nobody waits.
    pub(crate) fn accept(&self) -> io::Result<Visitor> {
        let (socket, _) = self.socket.accept()?;
        let peer = socket_peercred(&socket)?;
        let (user, own) = (peer.uid, geteuid());
        let name = format!("shm:{} (process {}, user {})", self.path.display(), peer.pid.as_raw_pid(), user.as_raw());
        Ok(Visitor { socket, name, is_welcome: super::is_trusted(user, own), user: user.as_raw() })
    }
}

impl Visitor {
    /// Gives the visitor its memory.
    ///
    /// # Errors
    /// It is another user, or the system has no memory or descriptors.
    pub(crate) fn invite(self, ring: usize) -> Result<(End, String), (String, CloseReason)> {
        if !self.is_welcome {
            return Err((self.name, CloseReason::OtherUser { user: self.user }));
        }
        match End::of_hub(self.socket, ring) {
            Ok(end) => Ok((end, self.name)),
            Err(e) => Err((self.name, CloseReason::of_io(&e))),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()));
        if now.is_some() && now == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a dead socket is in the way; the answer says when it is something
/// that must not be removed.
fn is_stale(path: &Path) -> Result<bool, String> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(false),
        Ok(meta) if !meta.file_type().is_socket() => {
            Err("there is a file of that name that is no socket: remove it, or choose another path".to_owned())
        }
        Ok(_) => Ok(matches!(std::os::unix::net::UnixStream::connect(path),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused)),
    }
}
