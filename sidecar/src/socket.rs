//! The local door: a unix datagram socket in a private directory.
//!
//! The directory is closed to others (0700), and the kernel attests the sender's pid and uid:
//! whether it is heard is settled by the driver, which knows the tree. What is said is parsed in
//! `shared::line`.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};

use lubdub_shared::line::{DATAGRAM_LEN_MAX, Dropped, Message, parse};
use lubdub_shared::time::Mono;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tracing::warn;

use crate::speaker::Speaker;

/// Longest path of a unix socket, bytes, without its terminator.
pub(crate) const PATH_LEN_MAX: usize = 107;
/// Descriptors that the kernel lets one datagram bring (SCM_MAX_FD). With less room it would cut
/// the list, and those that did fit would be lost open.
const FDS_MAX: usize = 253;
/// Datagrams taken at one go, so that a flood cannot keep the ticks waiting.
pub const DRAIN_MAX: usize = 256;
/// At most one line a minute about what was dropped.
const LOG_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// The door of one agent.
#[derive(Debug)]
pub struct Door {
    socket: UnixDatagram,
    path: PathBuf,
    /// Of the path, when it was bound.
    inode: u64,
    buffer: Vec<u8>,
    control: Vec<u8>,
    dropped: Dropping,
}

/// What was dropped, and when it was last told.
#[derive(Debug, Default)]
struct Dropping {
    total: u64,
    untold: u64,
    told: Option<Mono>,
}

/// What waited at the door.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would allocate for every beat")]
pub enum Heard {
    /// A message.
    Said(Said),
    /// Something that was dropped.
    Dropped,
    /// Nothing.
    Nothing,
}

/// Something that the agent said.
#[derive(Debug)]
pub struct Said {
    /// What.
    pub message: Message,
    /// Who, as the kernel attests it.
    pub speaker: Speaker,
    /// Closed when this is dropped, so that a barrier's sender goes on.
    _descriptors: Descriptors,
}

#[derive(Debug, Default)]
struct Descriptors(Vec<i32>);

impl Drop for Descriptors {
    fn drop(&mut self) {
        for descriptor in self.0.drain(..) {
            if let Err(error) = nix::unistd::close(descriptor) {
                warn!(%error, "could not close a descriptor that a datagram brought");
            }
        }
    }
}

impl Door {
    /// Opens the door at a path whose directory is private.
    ///
    /// # Errors
    /// The path is too long, or the system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_LEN_MAX {
            let why = format!("{} is longer than {PATH_LEN_MAX} bytes", path.display());
            return Err(io::Error::other(why));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = StdDatagram::bind(path)?;
        setsockopt(&socket, PassCred, &true)?;
        socket.set_nonblocking(true)?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self {
            socket: UnixDatagram::from_std(socket)?,
            path: path.to_owned(),
            inode,
            buffer: vec![0; DATAGRAM_LEN_MAX + 1],
            control: nix::cmsg_space!(UnixCredentials, [i32; FDS_MAX]),
            dropped: Dropping::default(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path still leads to it.
    pub fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode)
    }

    /// Opens it anew at its path, where that was taken away. What was sent to the old one and not
    /// taken is lost; who is connected to that must connect again.
    ///
    /// # Errors
    /// The system refuses; the old one stays.
    pub fn reopen(&mut self) -> io::Result<()> {
        let new = Self::open(&self.path)?;
        self.replace(new);
        Ok(())
    }

    /// Another one from now on; what was dropped at this one still counts.
    pub(crate) fn replace(&mut self, mut new: Self) {
        new.dropped = std::mem::take(&mut self.dropped);
        // The old one must not take the new path with it.
        self.path = PathBuf::new();
        *self = new;
    }

    /// Datagrams dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.total
    }

    /// Waits until somebody speaks.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn ready(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Takes the next datagram that is waiting. What is dropped is counted, and told at most once
    /// a minute.
    pub fn take(&mut self, now: Mono) -> Heard {
        let (buffer, control) = (&mut self.buffer, &mut self.control);
        let fd = self.socket.as_raw_fd();
        let received = self.socket.try_io(Interest::READABLE, || receive(fd, buffer, control));
        let Ok((length, sender, descriptors)) = received else { return Heard::Nothing };
        let read = length.ok_or(Dropped::TooLong).and_then(|length| parse(&self.buffer[..length]));
        match (read, sender) {
            (Ok(message), Some(sender)) => {
                let pid = u32::try_from(sender.pid()).unwrap_or(0);
                let speaker = Speaker { pid, uid: sender.uid() };
                Heard::Said(Said { message, speaker, _descriptors: descriptors })
            }
            (Err(why), _) => {
                self.refuse(&why, now);
                Heard::Dropped
            }
            (Ok(_), None) => {
                self.refuse(&"its sender is not known", now);
                Heard::Dropped
            }
        }
    }

    /// Something was not heard: it is counted, and told at most once a minute.
    pub(crate) fn refuse(&mut self, why: &dyn std::fmt::Display, now: Mono) {
        self.dropped.note(why, now);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() || !self.is_there() {
            return;
        }
        remove(&self.path);
    }
}

/// Takes a socket away, and its directory with the last one in it.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        warn!(%error, path = %path.display(), "could not remove the socket");
    }
    // A directory in which there is more stays.
    let (Some(Ok(()) | Err(_)) | None) = path.parent().map(std::fs::remove_dir);
}

impl Dropping {
    fn note(&mut self, why: &dyn std::fmt::Display, now: Mono) {
        self.total += 1;
        self.untold += 1;
        if self.told.is_none_or(|told| now.since(told) >= LOG_EVERY) {
            self.told = Some(now);
            let count = std::mem::take(&mut self.untold);
            warn!(count, total = self.total, %why, "dropped datagrams");
        }
    }
}

type Received = (Option<usize>, Option<UnixCredentials>, Descriptors);

/// One `recvmsg`. The length is `None` when the kernel cut the datagram.
fn receive(fd: i32, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(fd, &mut slices, Some(control), flags)?;
    let mut sender = None;
    let mut descriptors = Descriptors::default();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmCredentials(credentials) = part {
            sender = Some(credentials);
        } else if let ControlMessageOwned::ScmRights(fds) = part {
            descriptors.0.extend(fds);
        }
    }
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    Ok((whole.then_some(message.bytes), sender, descriptors))
}
