//! Starts the agent: own session (in a terminal's foreground: own group), inherited or captured
//! output, its environment, its leaf.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use lubdub_shared::id::{AgentId, Life, ProcessId};
use lubdub_shared::time::millis;
use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};

use super::leaf::{Leaf, Limits};
use super::{Kind, activation, terminal, tree};
use crate::output::Capture;
use crate::reserve;
use crate::vitals;

/// What is started, in every life.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Whose process it is.
    pub agent: AgentId,
    /// Program and arguments; never from the wire, never through a shell.
    pub command: Vec<OsString>,
    /// The local door.
    pub socket: PathBuf,
    /// The door for HTTP, where it is open.
    pub http: Option<PathBuf>,
    /// The heartbeat file.
    pub heartbeat_file: PathBuf,
    /// The policy's beat deadline, told as `WATCHDOG_USEC`; `None` when no beats are expected.
    pub watchdog: Option<std::time::Duration>,
    /// The first life was started by somebody else.
    pub attaches: bool,
    /// How the command becomes the agent.
    pub kind: Kind,
    /// It gets the terminal's foreground, in the sidecar's session.
    pub interactive: bool,
    /// Whether its output is captured, and how.
    pub capture: Capture,
    /// What its tree may use.
    pub limits: Limits,
    /// The main process ends with the thread that starts it (`lubdub up`).
    pub die_with_sidecar: bool,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
pub struct StartError {
    program: String,
    #[source]
    source: io::Error,
}

impl StartError {
    /// It was not the command: the sidecar itself has no descriptors, processes or memory for it.
    pub fn is_ours(&self) -> bool {
        reserve::is_used_up(&self.source)
    }

    /// The exit code that a shell would give: 127 not found, 126 not runnable.
    pub fn exit_code(&self) -> u8 {
        if self.source.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
    }
}

/// Assignment that marks every member of a life's tree.
pub(super) fn marker(life: lubdub_shared::id::LifeId) -> String {
    format!("LUBDUB_LIFE={life}")
}

#[expect(clippy::disallowed_methods, reason = "the one place that starts the agent")]
pub(super) fn spawn(
    spec: &Spec,
    life: Life,
    leaf: &Leaf,
    output: Option<[OwnedFd; 2]>,
) -> Result<ProcessId, StartError> {
    let program = spec.command.first().cloned().unwrap_or_default();
    let failed = |source| StartError { program: program.to_string_lossy().into_owned(), source };
    let mut command = Command::new(&program);
    command
        .args(spec.command.iter().skip(1))
        .env("NOTIFY_SOCKET", &spec.socket)
        .env("LUBDUB_SOCKET", &spec.socket)
        .env("LUBDUB_AGENT", spec.agent.as_str())
        .env("LUBDUB_LIFE", life.id.to_string())
        .env("LUBDUB_INCARNATION", life.ordinal.to_string())
        .env("LUBDUB_HEARTBEAT_FILE", &spec.heartbeat_file)
        // systemd-notify names its parent's pid as the sender unless the manager is named here.
        .env("MANAGERPID", std::process::id().to_string())
        .env_remove("WATCHDOG_PID")
        // Only what the agent starts may be kept on purpose, never the agent.
        .env_remove(tree::DETACH);
    if let Some([out, err]) = output {
        command.stdout(out).stderr(err);
    }
    match &spec.http {
        Some(path) => command.env("LUBDUB_HTTP", path),
        None => command.env_remove("LUBDUB_HTTP"),
    };
    match spec.watchdog {
        Some(deadline) => {
            command.env("WATCHDOG_USEC", millis(deadline).saturating_mul(1000).to_string())
        }
        None => command.env_remove("WATCHDOG_USEC"),
    };
    let procs = leaf.procs().map(|procs| procs.try_clone_to_owned());
    let procs: Vec<_> = procs.collect::<Result<_, _>>().map_err(failed)?;
    let (parent, die_with_sidecar) = (getpid(), spec.die_with_sidecar);
    let interactive = spec.interactive;
    let prepare = move || {
        if interactive {
            terminal::take_foreground()?;
        } else {
            setsid()?;
        }
        for procs in &procs {
            // Without a leaf the walk over /proc still finds every member: go on.
            let (Ok(_) | Err(_)) = rustix::io::write(procs, b"0");
        }
        if die_with_sidecar {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                // No text: nothing may be allocated here.
                return Err(Errno::SRCH.into());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    #[expect(unsafe_code, reason = "a session of its own needs code between fork and exec")]
    unsafe {
        command.pre_exec(prepare);
    }
    lubdub_shared::inherited::take().give_back(&mut command);
    if activation::is_ours() {
        activation::hand_on(&mut command).map_err(failed)?;
    }
    let child = command.spawn().map_err(failed)?;
    let pid = NonZeroU32::new(child.id()).expect("a child has a pid");
    // It cannot be reaped before we wait for it, so its stat is there.
    let start_time = vitals::stat(pid.get()).map_or(0, |stat| stat.start_time);
    Ok(ProcessId { pid, start_time })
}
