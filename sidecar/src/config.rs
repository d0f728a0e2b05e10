//! What a sidecar is told: flags first, then its file, then the environment's directories.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::heartbeat_file;
use lubdub_shared::id::AgentId;

use crate::cli::Origin;
use crate::evidence::Shelf;
use crate::output::Capture;
use crate::process::{Kind, Limits, Selector};
use crate::supervisor::Local;

pub mod file;

use file::{BudgetTable, Hooks};
pub use file::{File, RestartBy};

/// Where a collector is looked for when nobody says otherwise.
pub const DEFAULT_COLLECTOR: &str = "http://127.0.0.1:7411";

/// Who starts the agent's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Starts {
    /// The sidecar, by the command that it was given.
    Own,
    /// A local command, which also stops it; the process is found.
    ByCommand {
        /// Program and arguments.
        argv: Vec<String>,
        /// The new process.
        selector: Selector,
        /// It must be there within this time.
        within: Duration,
    },
    /// Somebody else, whenever it has ended; the process is found.
    ByPlatform {
        /// The new process.
        selector: Selector,
        /// It must be there within this time.
        within: Duration,
    },
}

/// Everything a sidecar needs to know; nothing in it is checked later.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose sidecar it is.
    pub agent: AgentId,
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Addresses of one collector.
    pub collectors: Vec<String>,
    /// The agent's state directory.
    pub state: PathBuf,
    /// Where the local door must lie; `None`: in the first place that is fit for it.
    pub door: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, the first such place.
    pub runtime: Option<PathBuf>,
    /// A local door for HTTP is wanted beside it.
    pub http: bool,
    /// Commands that the sidecar runs, as its own user.
    pub hooks: Hooks,
    /// What it writes about its own work: a pattern of files.
    pub transcript: Option<String>,
    /// Whether its output is captured, and how.
    pub capture: Capture,
    /// Where bundles of evidence are kept.
    pub shelf: Shelf,
    /// The heartbeat file.
    pub heartbeat_file: PathBuf,
    /// Its permissions.
    pub heartbeat_mode: u32,
    /// For people and for `[[assign]]`.
    pub labels: BTreeMap<String, String>,
    /// The main process ends when the sidecar's thread ends.
    pub die_with_sidecar: bool,
    /// When a sidecar that is told to end means to be back; `None`: not at all.
    pub back_within: Option<Duration>,
    /// What its tree may use.
    pub limits: Limits,
    /// A state directory that goes with the sidecar.
    pub scratch: Option<Arc<tempfile::TempDir>>,
    /// How the command becomes the agent.
    pub kind: Kind,
    /// Who starts it.
    pub starts: Starts,
    /// The process that the first life is, where it runs already.
    pub attach: Option<Selector>,
    /// A start waits until nobody listens here.
    pub stop_port: Option<SocketAddr>,
    /// It stands in a terminal's foreground, and lets its agent have that.
    pub interactive: bool,
    /// What HUP reads anew; `None`: HUP ends it.
    pub origin: Option<Origin>,
    /// What its own file settles.
    pub local: Local,
}

impl Config {
    /// Puts together what was said. `state_root` is the directory that holds `agents/`.
    pub fn new(agent: AgentId, command: Vec<OsString>, state_root: &Path, file: File) -> Self {
        let state = state_root.join("agents").join(agent.as_str());
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|directory| directory.is_absolute());
        // A directory that agents share holds a file for each.
        let heartbeat_file = match file.heartbeat_directory {
            Some(shared) => shared.join(format!("{agent}.json")),
            None => state.join(heartbeat_file::FILE_NAME),
        };
        let collectors = if file.collectors.is_empty() {
            vec![DEFAULT_COLLECTOR.to_owned()]
        } else {
            file.collectors
        };
        Self {
            agent,
            command,
            collectors,
            http: file.http.unwrap_or(true),
            door: None,
            runtime,
            transcript: file.transcript,
            capture: file.output.resolved(&state),
            shelf: file.evidence.resolved(&state),
            heartbeat_file,
            heartbeat_mode: if file.heartbeat_public { 0o644 } else { 0o600 },
            state,
            labels: file.labels,
            die_with_sidecar: file.die_with_sidecar,
            back_within: file.back_within.map(|span| span.0),
            limits: file.limits.resolved(),
            kind: file.form.kind(file.pidfile),
            starts: Starts::Own,
            attach: None,
            stop_port: file.stop.port,
            scratch: None,
            interactive: false,
            origin: None,
            local: Local {
                budget: file.budget.map(BudgetTable::resolved),
                restart_silent: file.alone.restart_silent,
                checkpoint: file.hooks.checkpoint_time(),
                restarted_by_command: None,
                once: None,
                interactive: false,
            },
            hooks: file.hooks,
        }
    }
}

/// A name for the agent that a command runs: the stem of the script that an interpreter is given,
/// else of the program.
pub fn name_of(command: &[OsString]) -> Option<AgentId> {
    let (program, arguments) = command.split_first()?;
    let script = arguments.iter().map(Path::new).find(|argument| {
        let is_flag = argument.to_string_lossy().starts_with('-');
        !is_flag && argument.extension().is_some() && argument.is_file()
    });
    let named = script.unwrap_or_else(|| Path::new(program));
    AgentId::from_lossy(&named.file_stem()?.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_named_after_their_script() {
        let name = |words: &[&str]| {
            let command: Vec<OsString> = words.iter().map(OsString::from).collect();
            name_of(&command).map(|id| id.to_string())
        };
        assert_eq!(name(&["/usr/bin/sleep", "5"]), Some("sleep".to_owned()));
        assert_eq!(name(&["python3", "-u", "no/such/file.py"]), Some("python3".to_owned()));
        assert_eq!(name(&["sh", "Cargo.toml", "x"]), Some("Cargo".to_owned()));
    }
}
