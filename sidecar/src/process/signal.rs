//! Signals, so that they reach the process that was meant and no other.
//!
//! A pidfd is opened first and the start time compared after: from then on the descriptor names
//! the process that was compared, whatever becomes of its pid. Where the system gives no pidfd (a
//! seccomp filter, no descriptors), pid and start time are compared right before.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use lubdub_shared::id::ProcessId;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, kill_process, pidfd_open, pidfd_send_signal,
};
use tracing::warn;

use crate::vitals;
use crate::vitals::procfs::Stat;

pub(super) const KILL: i32 = 9;
pub(super) const CONT: i32 = 18;

/// Processes whose refusal was told; beyond it they are told again.
const TOLD_MAX: usize = 1024;

/// A signal that did not reach whom it was meant for, though that process is there.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{pid} could not be signalled: {error}")]
pub(super) struct NotSent {
    pid: u32,
    error: Errno,
}

/// Signals a member of the tree.
///
/// # Errors
/// It is there, and the system refuses.
pub(super) fn send_to(member: &Stat, number: i32) -> Result<(), NotSent> {
    let Some(pid) = NonZeroU32::new(member.pid) else { return Ok(()) };
    send(ProcessId { pid, start_time: member.start_time }, number)
}

/// Signals a process, if it is still the one that is meant. That it is gone already is no error:
/// who sweeps looks again. A refusal is logged once for each process.
///
/// # Errors
/// It is there, and the system refuses.
pub(super) fn send(process: ProcessId, number: i32) -> Result<(), NotSent> {
    let Some(signal) = Signal::from_named_raw(number) else {
        warn!(number, "no such signal");
        return Ok(());
    };
    let Some(pid) = i32::try_from(process.pid.get()).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    if pid == getpid() || Some(pid) == getppid() || pid.is_init() {
        warn!(pid = process.pid, "refused to signal the sidecar, its parent or init");
        return Ok(());
    }
    let same = || {
        let stat = vitals::stat(process.pid.get());
        stat.is_some_and(|stat| stat.start_time == process.start_time)
    };
    let sent = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) if same() => pidfd_send_signal(pidfd, signal),
        Ok(_) | Err(Errno::SRCH) => return Ok(()),
        Err(error) => {
            do_without(error);
            if same() { kill_process(pid, signal) } else { Ok(()) }
        }
    };
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => {
            let not_sent = NotSent { pid: process.pid.get(), error };
            tell_once(&not_sent);
            Err(not_sent)
        }
    }
}

/// There is no pidfd to be had. Told once: it is so for good, or passes.
pub(super) fn do_without(error: Errno) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        warn!(%error, "no pidfd; processes are known by pid and start time alone");
    }
}

fn tell_once(not_sent: &NotSent) {
    static TOLD: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    let Ok(mut told) = TOLD.lock() else { return };
    if told.len() >= TOLD_MAX {
        told.clear();
    }
    if told.insert(not_sent.pid) {
        warn!("{not_sent}");
    }
}
