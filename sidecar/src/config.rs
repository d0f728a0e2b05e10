//! What a sidecar is told: flags first, then its file, then the environment's directories.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lubdub_shared::heartbeat_file;
use lubdub_shared::id::AgentId;
use lubdub_shared::strict_toml::{self, Refused, Span};
use serde::Deserialize;

use crate::socket::choose_path;
use crate::supervisor::{Budget, Local};

/// Where a collector is looked for when nobody says otherwise.
pub const DEFAULT_COLLECTOR: &str = "http://127.0.0.1:7411";

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
    /// The local door.
    pub socket: PathBuf,
    /// The local door for HTTP, beside it; `None` where it is not wanted.
    pub http: Option<PathBuf>,
    /// Told to nudge the agent: program and arguments.
    pub nudge_hook: Option<Vec<String>>,
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
    /// What its own file settles.
    pub local: Local,
}

/// The sidecar's file. Every key may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Addresses of one collector; the first that answers is used.
    #[serde(default)]
    pub collectors: Vec<String>,
    /// Labels of the agent.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Directory of `ID.json`, for other watchdogs. Default: `heartbeat.json` in the agent's state
    /// directory.
    pub heartbeat_directory: Option<PathBuf>,
    /// Other users may read `heartbeat.json` (0644 instead of 0600). Default: false.
    #[serde(default)]
    pub heartbeat_public: bool,
    /// A crash of the sidecar takes the main process along. Default: false.
    #[serde(default)]
    pub die_with_sidecar: bool,
    /// Told to end (TERM), it tells the collector that it means to be back within this time, and
    /// is missed only after that. Default: it does not mean to be back, and is not missed.
    pub back_within: Option<Span>,
    /// The local door is open for HTTP too (`LUBDUB_HTTP`). Default: true.
    pub http: Option<bool>,
    /// Commands that the sidecar runs, as its own user.
    #[serde(default)]
    pub hooks: Hooks,
    /// What it does without a collector.
    #[serde(default)]
    pub alone: Alone,
    /// What the agent may spend; energy is what is left of it.
    pub budget: Option<BudgetTable>,
}

/// `[hooks]`: program and arguments, never through a shell.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Nudges the agent. It has 10 s; what it is about stands in `LUBDUB_AGENT`, `LUBDUB_PID`,
    /// `LUBDUB_CAUSE` and `LUBDUB_REASON`.
    pub nudge: Option<Vec<String>>,
}

/// `[alone]`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alone {
    /// Without a collector for a minute, an agent that is armed, silent and inactive is restarted,
    /// by the policy that was remembered. Default: false.
    #[serde(default)]
    pub restart_silent: bool,
}

/// `[budget]`: at least one limit, and the window in which it holds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetTable {
    /// Tokens in and out, in sum.
    pub tokens: Option<NonZeroU64>,
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// At least a minute.
    pub window: Span,
}

const WINDOW_MIN: Duration = Duration::from_secs(60);

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or holds a mistake; file, line and key are named.
    pub fn read(path: &Path) -> Result<Self, Refused> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Refused::new(&name, format!("cannot read it: {error}")))?;
        let file: Self = strict_toml::parse(&name, &text)?;
        if file.hooks.nudge.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
            return Err(Refused::new(&name, "[hooks] nudge names no program"));
        }
        match file.budget.map(BudgetTable::check) {
            Some(Err(why)) => Err(Refused::new(&name, format!("[budget] {why}"))),
            Some(Ok(())) | None => Ok(file),
        }
    }
}

impl BudgetTable {
    fn check(self) -> Result<(), String> {
        if self.tokens.is_none() && self.cost_usd.is_none() {
            return Err("sets no limit: give tokens, cost_usd or both".to_owned());
        }
        if let Some(cost) = self.cost_usd.filter(|cost| !(cost.is_finite() && *cost > 0.0)) {
            return Err(format!("cost_usd = {cost} is not above zero"));
        }
        if self.window.0 < WINDOW_MIN {
            return Err("window is below 1m".to_owned());
        }
        Ok(())
    }

    fn resolved(self) -> Budget {
        let tokens = self.tokens.map(NonZeroU64::get);
        Budget { tokens, cost_usd: self.cost_usd, window: self.window.0 }
    }
}

impl Config {
    /// Puts together what was said. `state_root` is the directory that holds `agents/`.
    pub fn new(agent: AgentId, command: Vec<OsString>, state_root: &Path, file: File) -> Self {
        let state = state_root.join("agents").join(agent.as_str());
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|directory| directory.is_absolute());
        let socket = choose_path(runtime.as_deref(), &state, agent.as_str());
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
            http: file.http.unwrap_or(true).then(|| socket.with_file_name("http.sock")),
            socket,
            nudge_hook: file.hooks.nudge,
            heartbeat_file,
            heartbeat_mode: if file.heartbeat_public { 0o644 } else { 0o600 },
            state,
            labels: file.labels,
            die_with_sidecar: file.die_with_sidecar,
            back_within: file.back_within.map(|span| span.0),
            local: Local {
                budget: file.budget.map(BudgetTable::resolved),
                restart_silent: file.alone.restart_silent,
            },
        }
    }
}
