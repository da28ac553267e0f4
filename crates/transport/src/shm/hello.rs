//! What a hub says first: 16 bytes, and the memory file as a descriptor.
//!
//! `weftshm1`, then the size of each ring as a little-endian `u64`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::geteuid;

const MAGIC: [u8; 8] = *b"weftshm1";
const LEN: usize = 16;

/// How far a client's side of the door is.
#[derive(Debug)]
pub(crate) enum Joining {
    /// The hub has said nothing yet.
    Waiting,
    /// The memory file, and the size of its rings.
    Joined(OwnedFd, usize),
}

/// Says hello to a client whose socket is new, so that it has room for it.
pub(super) fn invite(socket: impl AsFd, file: &OwnedFd, ring: usize) -> io::Result<()> {
    let mut hello = [0; LEN];
    let (magic, size) = hello.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    size.copy_from_slice(&(ring as u64).to_le_bytes());
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("there is no room for a descriptor"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, &[IoSlice::new(&hello)], &mut control, flags)? {
        LEN => Ok(()),
        sent => Err(io::Error::other(format!("{sent} of {LEN} bytes of the hello were taken"))),
    }
}

/// Takes the hub's hello.
///
/// # Errors
/// The hub closed the door, is of a user that is not trusted, or what came is
/// no hello.
pub(crate) fn join(socket: impl AsFd, flags: RecvFlags) -> io::Result<Joining> {
    let mut hello = [0; LEN];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut hello)], &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received.bytes,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {
                return Ok(Joining::Waiting);
            }
            Err(e) => return Err(e.into()),
        };
    if received == 0 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let (hub, own) = (socket_peercred(socket)?.uid, geteuid());
    if !super::is_trusted(hub, own) && !own.is_root() {
        let why =
            format!("who listens there is user {}, and only this user's and root's hubs are trusted", hub.as_raw());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let (magic, size) = hello.split_at(MAGIC.len());
    let size = size.try_into().map(u64::from_le_bytes).ok().and_then(|size| usize::try_from(size).ok());
    match (files.next(), size) {
        (Some(file), Some(size)) if received == LEN && magic == MAGIC => Ok(Joining::Joined(file, size)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "what listens there is no weft hub of this version")),
    }
}
