//! The local door: a unix datagram socket in a private directory.
//!
//! Who may speak is settled by the directory (0700, the agent's user) and by the sender's uid,
//! which the kernel attests. What is said is parsed in `shared::line`.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::{Path, PathBuf};

use lubdub_shared::line::{DATAGRAM_LEN_MAX, Dropped, Message, parse};
use lubdub_shared::time::Mono;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tracing::warn;

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
    uids: [u32; 2],
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
            uids: allowed_uids(),
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
        let mut new = Self::open(&self.path)?;
        new.dropped = std::mem::take(&mut self.dropped);
        // The old one must not take the new path with it.
        self.path = PathBuf::new();
        *self = new;
        Ok(())
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
        match self.judge(length, sender.as_ref()) {
            Ok(message) => Heard::Said(Said { message, _descriptors: descriptors }),
            Err(why) => {
                self.dropped.note(&why, now);
                Heard::Dropped
            }
        }
    }

    fn judge(
        &self,
        length: Option<usize>,
        sender: Option<&UnixCredentials>,
    ) -> Result<Message, NotHeard> {
        let uid = sender.map(UnixCredentials::uid);
        if !uid.is_some_and(|uid| self.uids.contains(&uid)) {
            return Err(NotHeard::Stranger(uid));
        }
        let length = length.ok_or(NotHeard::Dropped(Dropped::TooLong))?;
        parse(&self.buffer[..length]).map_err(NotHeard::Dropped)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() || !self.is_there() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "could not remove the socket");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum NotHeard {
    #[error("{0}")]
    Dropped(Dropped),
    #[error("sender of uid {0:?}")]
    Stranger(Option<u32>),
}

impl Dropping {
    fn note(&mut self, why: &NotHeard, now: Mono) {
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

/// Who may speak: the agent's user, and root.
pub(crate) fn allowed_uids() -> [u32; 2] {
    [rustix::process::geteuid().as_raw(), 0]
}

/// Makes a directory that only its owner may enter, or checks the one that is there.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub fn private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != own {
        let why = format!("{} is not a directory of uid {own}", path.display());
        return Err(io::Error::other(why));
    }
    Ok(())
}

/// Where the socket of an agent goes: the runtime directory, else the state directory, else a
/// private directory in the temp folder when the path would be too long for a socket.
pub fn choose_path(runtime: Option<&Path>, state: &Path, agent: &str) -> PathBuf {
    const NAME: &str = "notify.sock";
    let fits = |path: &PathBuf| path.as_os_str().len() <= PATH_LEN_MAX;
    let in_runtime = runtime.map(|directory| directory.join("lubdub").join(agent).join(NAME));
    let in_state = state.join(NAME);
    let uid = rustix::process::geteuid().as_raw();
    in_runtime.filter(fits).or_else(|| Some(in_state).filter(fits)).unwrap_or_else(|| {
        std::env::temp_dir().join(format!("lubdub-{uid}")).join(agent).join(NAME)
    })
}
