//! Signals, so that they reach the process that was meant and no other.
//!
//! A pidfd is opened first and the start time compared after: from then on the descriptor names
//! the process that was compared, whatever becomes of its pid.

use std::num::NonZeroU32;

use lubdub_shared::id::ProcessId;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal};
use tracing::warn;

use crate::vitals;
use crate::vitals::procfs::Stat;

pub(super) const KILL: i32 = 9;
pub(super) const CONT: i32 = 18;

/// Signals a member of the tree.
pub(super) fn send_to(member: &Stat, number: i32) {
    if let Some(pid) = NonZeroU32::new(member.pid) {
        send(ProcessId { pid, start_time: member.start_time }, number);
    }
}

/// Signals a process, if it is still the one that is meant. Whether it is gone already is not
/// told: who sweeps looks again.
pub(super) fn send(process: ProcessId, number: i32) {
    let Some(signal) = Signal::from_named_raw(number) else {
        return warn!(number, "no such signal");
    };
    let Some(pid) = i32::try_from(process.pid.get()).ok().and_then(Pid::from_raw) else { return };
    if pid == getpid() || Some(pid) == getppid() || pid.is_init() {
        return warn!(pid = process.pid, "refused to signal the sidecar, its parent or init");
    }
    let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
        let same = vitals::stat(process.pid.get())
            .is_some_and(|stat| stat.start_time == process.start_time);
        if same { pidfd_send_signal(pidfd, signal) } else { Err(Errno::SRCH) }
    });
    match sent {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => warn!(pid = process.pid, number, %error, "could not signal"),
    }
}
