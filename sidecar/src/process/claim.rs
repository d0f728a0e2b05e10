//! That a process is a sidecar's: a socket with an abstract name made of its pid and start time,
//! held for as long as the sidecar lives. No file is left behind, and the kernel tells who holds
//! it.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use lubdub_shared::id::ProcessId;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::net::{SocketAddrUnix, sockopt::socket_peercred};
use rustix::process::geteuid;

use crate::place::listens;
use crate::vitals;
use crate::vitals::procfs::environ_value;

/// Held while the process is this sidecar's.
#[derive(Debug)]
pub(super) struct Claim {
    socket: Option<UnixListener>,
}

fn name(process: ProcessId) -> String {
    format!("lubdub-agent-{}-{}", process.pid, process.start_time)
}

impl Claim {
    /// Says that the process is ours. Whoever made sure of that before loses nothing where the
    /// name is taken: a stranger may have taken it.
    pub(super) fn on(process: ProcessId) -> Self {
        let address = SocketAddr::from_abstract_name(name(process));
        let bound = address.and_then(|address| UnixListener::bind_addr(&address));
        let socket = bound.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Self { socket: socket.ok() }
    }

    /// Who asked stays in the queue until it is taken out, and a full one answers nobody.
    pub(super) fn drain(&self) {
        let Some(socket) = &self.socket else { return };
        while socket.accept().is_ok() {}
    }
}

/// The pid of the living sidecar whose agent this process is, besides this one.
pub fn owner_of(process: ProcessId) -> Option<u32> {
    let owner = by_claim(process).or_else(|| by_door(process.pid.get()))?;
    (owner != std::process::id()).then_some(owner)
}

/// Who holds the name. Only a sidecar of our user or of root can have a claim on our agent.
fn by_claim(process: ProcessId) -> Option<u32> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    let address = SocketAddrUnix::new_abstract_name(name(process).as_bytes()).ok()?;
    connect(&socket, &address).ok()?;
    let peer = socket_peercred(&socket).ok()?;
    let ours = peer.uid == geteuid() || peer.uid.is_root();
    ours.then(|| peer.pid.as_raw_nonzero().get().unsigned_abs())
}

/// A sidecar of version 0.1.0 holds no name, but listens where its agent was told to speak.
fn by_door(pid: u32) -> Option<u32> {
    let environ = vitals::read_own(pid, "environ")?;
    let value = |key: &str| environ_value(&environ, key.as_bytes());
    let door = Path::new(OsStr::from_bytes(value("LUBDUB_SOCKET")?));
    let owner: u32 = std::str::from_utf8(value("MANAGERPID")?).ok()?.parse().ok()?;
    let lives = vitals::stat(owner).is_some_and(|stat| stat.is_alive());
    (lives && listens(door)).then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_its_owner_and_ends_with_it() {
        let own = vitals::stat(std::process::id()).and_then(|stat| stat.id()).expect("a process");
        // Nobody has this start time.
        let process = ProcessId { start_time: u64::MAX, ..own };
        assert_eq!(by_claim(process), None);
        let claim = Claim::on(process);
        let me = Some(std::process::id());
        // More than any queue of the kernel's holds.
        for _ in 0..5_000 {
            assert_eq!(by_claim(process), me);
            claim.drain();
        }
        assert_eq!(owner_of(process), None, "it is this one's");
        drop(claim);
        assert_eq!(by_claim(process), None);
    }
}
