//! How a child ended.

use std::num::NonZeroU32;

use lubdub_shared::beat::{Exit, ExitHow};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Reaps a child of ours, if it has ended. Never waits, and never takes another child's status.
pub(super) fn try_wait(pid: NonZeroU32) -> Option<Exit> {
    let id = Pid::from_raw(i32::try_from(pid.get()).ok()?)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::Pid(id), options) {
        Ok(None) => None,
        Ok(Some(status)) => Some(Exit {
            how: match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitHow::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                (None, Some(signal)) => ExitHow::Signal(signal),
                (None, None) => ExitHow::Unknown("neither code nor signal".to_owned()),
            },
            core: status.dumped(),
            by_us: false,
        }),
        Err(error) => Some(Exit {
            how: ExitHow::Unknown(format!("waitid: {error}")),
            core: false,
            by_us: false,
        }),
    }
}

/// Reaps an adopted orphan; its status interests nobody.
pub(super) fn reap(pid: u32) {
    if let Some(pid) = NonZeroU32::new(pid) {
        drop(try_wait(pid));
    }
}
