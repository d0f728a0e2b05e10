//! The terminal that a person started the sidecar in: its agent gets the foreground, as a shell's
//! job does, and works as if it had been started by hand.

use std::io;

use lubdub_shared::id::ProcessId;
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, setpgid};
use rustix::stdio::stdin;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp,
};
use tracing::debug;

/// This process stands in the foreground of the terminal that is its stdin.
pub fn is_ours() -> bool {
    isatty(stdin()) && tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

/// In the child, before its program: a group of its own, in the foreground if that was ours. It
/// may be the shell's by now: the job was put into the background.
pub(super) fn take_foreground() -> io::Result<()> {
    let ours = tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp());
    setpgid(None, None)?;
    if ours { give(getpid()) } else { Ok(()) }
}

/// How the terminal was set when the sidecar began.
#[derive(Debug, Clone)]
pub(super) struct Settings(Termios);

impl Settings {
    pub(super) fn save() -> Option<Self> {
        tcgetattr(stdin()).ok().map(Self)
    }

    /// An agent that was killed in the middle of its work leaves the terminal as it had set it.
    pub(super) fn restore(&self) {
        // At once: output that is held back (Ctrl-S) is not waited for.
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &self.0) {
            debug!(%error, "the terminal's settings stay as they are");
        }
    }
}

/// The sidecar's own group is in the foreground again, if the agent's was.
pub(super) fn take_back(main: ProcessId) {
    let group = i32::try_from(main.pid.get()).ok().and_then(Pid::from_raw);
    if group.is_some() && tcgetpgrp(stdin()).ok() == group {
        // The terminal may be gone; then nobody has its foreground.
        drop(give(getpgrp()));
    }
}

/// A person stopped the job (Ctrl-Z): the shell gets the terminal until it lets the job go on. True
/// when that was so.
pub(super) fn stop_with(main: ProcessId) -> bool {
    let group = i32::try_from(main.pid.get()).ok().and_then(Pid::from_raw);
    let Some(group) = group.filter(|group| tcgetpgrp(stdin()).ok() == Some(*group)) else {
        return false;
    };
    take_back(main);
    // The shell sees its job stopped, and this call returns when the shell lets it go on.
    let (Ok(()) | Err(_)) = kill_process(getpid(), Signal::STOP);
    if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp()) {
        drop(give(group));
    }
    true
}

/// Puts a group into the foreground. Whoever stands in the background is stopped for that, unless
/// the signal is held back. Only system calls: it runs between fork and exec too.
fn give(group: Pid) -> io::Result<()> {
    let mut held = SigSet::empty();
    held.add(NixSignal::SIGTTOU);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&held), Some(&mut before))?;
    let given = tcsetpgrp(stdin(), group);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    Ok(given?)
}
