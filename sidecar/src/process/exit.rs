//! How a process ended: a child of ours, or one that an earlier sidecar started.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, OwnedFd};

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::id::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::signal;
use crate::vitals;

/// Reaps a child of ours, if it has ended. Never waits, and never takes another child's status.
pub(super) fn try_wait(pid: NonZeroU32) -> Option<Exit> {
    let id = Pid::from_raw(i32::try_from(pid.get()).ok()?)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::Pid(id), options) {
        Ok(None) => None,
        Ok(Some(status)) => {
            let how = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitHow::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                (None, Some(signal)) => ExitHow::Signal(signal),
                (None, None) => ExitHow::Unknown("neither code nor signal".to_owned()),
            };
            Some(Exit { core: status.dumped(), ..Exit::of(how) })
        }
        Err(error) => Some(Exit::of(ExitHow::Unknown(format!("waitid: {error}")))),
    }
}

/// Some child of ours has ended. One question to the kernel, which takes nobody's status.
pub(super) fn any_has_ended() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Ok(Some(_)))
}

/// Reaps an adopted orphan; its status interests nobody.
pub(super) fn reap(pid: u32) {
    if let Some(pid) = NonZeroU32::new(pid) {
        drop(try_wait(pid));
    }
}

/// A process that is not our child: its end is seen through a pidfd, its status only where the
/// kernel keeps it for those who hold one.
///
/// Where the system gives no pidfd it is known by pid and start time, and looked for each tick.
#[derive(Debug)]
pub(super) struct Foreign {
    pidfd: Option<AsyncFd<OwnedFd>>,
    process: ProcessId,
}

impl Foreign {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// It is gone, or its pid is another's by now.
    pub(super) fn open(process: ProcessId) -> io::Result<Self> {
        let gone = || io::Error::from(Errno::SRCH);
        let pid = i32::try_from(process.pid.get()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::SRCH) => return Err(gone()),
            Err(error) => {
                signal::do_without(error);
                None
            }
        };
        // Compared after it was opened: from here on the descriptor names what was compared.
        let same = vitals::stat(process.pid.get())
            .is_some_and(|stat| stat.start_time == process.start_time);
        if !same {
            return Err(gone());
        }
        // SAFETY: an `OwnedFd` stays open, and the same, for as long as it is owned.
        #[expect(unsafe_code, reason = "tokio takes the word of whoever knows the type")]
        let register =
            |pidfd| unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        Ok(Self { pidfd: pidfd.map(register).transpose()?, process })
    }

    /// Waits for its end. Safe to cancel.
    pub(super) async fn ended(&self) {
        match &self.pidfd {
            Some(pidfd) => {
                let (Ok(_) | Err(_)) = pidfd.readable().await;
            }
            None => std::future::pending().await,
        }
    }

    /// How it ended, if it has.
    pub(super) fn try_exit(&self) -> Option<Exit> {
        let unknown = || {
            let why = "another's child: nobody was told how".to_owned();
            Exit::of(ExitHow::Unknown(why))
        };
        let pid = self.process.pid.get();
        let Some(pidfd) = &self.pidfd else {
            let stat = vitals::stat(pid);
            let same = stat.filter(|stat| stat.start_time == self.process.start_time);
            let lives = same.map_or_else(|| vitals::unseen_but_there(pid), |stat| stat.is_alive());
            return (!lives).then(|| zombie_status(pid).map_or_else(unknown, from_status));
        };
        let pidfd = pidfd.get_ref();
        let mut ready = [PollFd::new(pidfd, PollFlags::IN)];
        // An interrupted look is none: whoever lives must not be taken for dead.
        if !matches!(poll(&mut ready, Some(&Timespec::default())), Ok(1..)) {
            return None;
        }
        // It may be reaped between the two questions: then the kernel keeps the answer.
        let status =
            kept_status(pidfd).or_else(|| zombie_status(pid)).or_else(|| kept_status(pidfd));
        Some(status.map_or_else(unknown, from_status))
    }
}

/// `struct pidfd_info` of `linux/pidfd.h`, as its first version has it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// The wait status that Linux keeps for holders of a pidfd (6.15).
fn kept_status(pidfd: &OwnedFd) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes at most the size that the opcode holds, which is the struct's, and
    // any bytes are valid in it.
    #[expect(unsafe_code, reason = "no library has this ioctl yet")]
    let asked = unsafe { ioctl(pidfd.as_fd(), Updater::<PIDFD_GET_INFO, _>::new(&mut info)) };
    (asked.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Field 52 of `/proc/PID/stat`, while nobody has reaped it.
fn zombie_status(pid: u32) -> Option<i32> {
    let text = vitals::read(pid, "stat")?;
    let (_, rest) = text.rsplit_once(") ")?;
    rest.starts_with('Z').then(|| rest.split_ascii_whitespace().nth(49)?.parse().ok()).flatten()
}

/// As wait(2) has it.
fn from_status(status: i32) -> Exit {
    let how = match status & 0x7f {
        0 => ExitHow::Code(u8::try_from((status >> 8) & 0xff).expect("masked")),
        signal => ExitHow::Signal(signal),
    };
    Exit { core: status & 0x80 != 0, ..Exit::of(how) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(from_status(3 << 8), Exit::of(ExitHow::Code(3)));
        assert_eq!(from_status(9), Exit::of(ExitHow::Signal(9)));
        assert_eq!(from_status(0x8b), Exit { core: true, ..Exit::of(ExitHow::Signal(11)) });
    }
}
