//! The sidecar's file, as people write it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lubdub_shared::strict_toml::{self, Bytes, Refused, Span};
use serde::Deserialize;

use crate::config::Starts;
use crate::evidence::Shelf;
use crate::output::Capture;
use crate::process::{Kind, Limits, Selector};
use crate::supervisor::Budget;
use crate::transcript;

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
    /// `simple` (the command is the agent) or `forking` (it starts a daemon and ends). Default:
    /// simple.
    #[serde(default, rename = "type")]
    pub form: Form,
    /// Of a forking command: the file to which its daemon writes its pid.
    pub pidfile: Option<PathBuf>,
    /// What else a stop waits for.
    #[serde(default)]
    pub stop: Stop,
    /// Who restarts it.
    #[serde(default)]
    pub restart: Restart,
    /// Files that the agent writes anyway (`*` globs, absolute): a log, or the JSON lines of a
    /// session of Claude Code or Codex. Growth is progress, calls and results are steps.
    pub transcript: Option<String>,
    /// The agent's stdout and stderr.
    #[serde(default)]
    pub output: OutputTable,
    /// Evidence of an agent in trouble.
    #[serde(default)]
    pub evidence: EvidenceTable,
    /// What the agent's tree may use, where the sidecar may make cgroups.
    #[serde(default)]
    pub limits: LimitsTable,
}

/// `[hooks]`: program and arguments, never through a shell.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Nudges the agent. It has 10 s; what it is about stands in `LUBDUB_AGENT`, `LUBDUB_PID`,
    /// `LUBDUB_CAUSE` and `LUBDUB_REASON`.
    pub nudge: Option<Vec<String>>,
    /// Saves the agent's work before it is stopped by a command.
    pub checkpoint: Option<Vec<String>>,
    /// How long that may take. Default: 10s.
    pub checkpoint_timeout: Option<Span>,
    /// Adds what it prints to the evidence (py-spy, jstack, gcore). It has what is left of 5 s.
    pub evidence: Option<Vec<String>>,
}

const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);

impl Hooks {
    /// Each must name a program.
    fn check(&self) -> Result<(), String> {
        let hooks = [
            ("nudge", &self.nudge),
            ("checkpoint", &self.checkpoint),
            ("evidence", &self.evidence),
        ];
        for (name, argv) in hooks {
            if argv.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
                return Err(format!("[hooks] {name} names no program"));
            }
        }
        Ok(())
    }

    /// `None` where there is no checkpoint hook.
    pub(super) fn checkpoint_time(&self) -> Option<Duration> {
        let time = self.checkpoint_timeout.map_or(CHECKPOINT_TIMEOUT, |span| span.0);
        self.checkpoint.as_ref().map(|_| time)
    }
}

/// `[output]`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputTable {
    /// The sidecar follows the agent's stdout and stderr, passes them on, and keeps the newest
    /// 64 KiB of each for evidence. Default: false, they are inherited.
    #[serde(default)]
    pub capture: bool,
    /// What may wait of each to be passed on; beyond it the oldest is dropped. Default: 64MiB.
    pub max: Option<Bytes>,
}

impl OutputTable {
    pub(super) fn resolved(self, state: &Path) -> Capture {
        let max = self.max.map_or(64 << 20, |bytes| bytes.0);
        Capture { wanted: self.capture, state: state.to_owned(), max }
    }
}

/// `[evidence]`: bundles that are kept in the agent's state directory.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTable {
    /// Bundles at most; the oldest go. Default: 20.
    pub keep: Option<NonZeroUsize>,
    /// In sum at most; the oldest go. Default: 32MiB.
    pub max: Option<Bytes>,
}

impl EvidenceTable {
    pub(super) fn resolved(self, state: &Path) -> Shelf {
        Shelf {
            directory: state.join("evidence"),
            keep: self.keep.map_or(20, NonZeroUsize::get),
            max_bytes: self.max.map_or(32 << 20, |bytes| bytes.0),
        }
    }
}

/// `type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The command is the agent.
    #[default]
    Simple,
    /// The command starts the agent and ends.
    Forking,
}

impl Form {
    pub(super) fn kind(self, pidfile: Option<PathBuf>) -> Kind {
        match self {
            Self::Simple => Kind::Simple,
            Self::Forking => Kind::Forking(pidfile),
        }
    }
}

/// `[stop]`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// A start waits until nobody listens here any more, for at most 30 s.
    pub port: Option<SocketAddr>,
}

/// `[restart]`: for an agent that was attached to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Default: sidecar.
    #[serde(default)]
    pub by: RestartBy,
    /// Of `by = "command"`: stops the agent and starts it anew.
    pub command: Option<Vec<String>>,
    /// The new process must be there within this time. Default: 60s.
    pub within: Option<Span>,
}

/// `restart.by`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartBy {
    /// The sidecar stops it and runs its command.
    #[default]
    Sidecar,
    /// A local command does both.
    Command,
    /// The sidecar stops it, and the platform starts it anew.
    Platform,
}

const RESTART_WITHIN: Duration = Duration::from_secs(60);

impl Restart {
    fn check(&self) -> Result<(), String> {
        if self.within.is_some_and(|within| within.0.is_zero()) {
            return Err("[restart] within = \"0s\": nothing can be there by then".to_owned());
        }
        match (self.by, &self.command) {
            (RestartBy::Command, None) => {
                Err("[restart] by = \"command\" needs a command".to_owned())
            }
            (RestartBy::Sidecar | RestartBy::Platform, Some(_)) => {
                Err("[restart] command is for by = \"command\"".to_owned())
            }
            (_, Some(argv)) if argv.first().is_none_or(String::is_empty) => {
                Err("[restart] command names no program".to_owned())
            }
            (RestartBy::Sidecar | RestartBy::Platform, None) | (RestartBy::Command, Some(_)) => {
                Ok(())
            }
        }
    }

    /// Who starts a process that is found by this.
    pub(crate) fn starts(&self, selector: Selector) -> Starts {
        let within = self.within.map_or(RESTART_WITHIN, |span| span.0);
        match (self.by, &self.command) {
            (RestartBy::Command, Some(argv)) => {
                Starts::ByCommand { argv: argv.clone(), selector, within }
            }
            (RestartBy::Command | RestartBy::Platform, _) => {
                Starts::ByPlatform { selector, within }
            }
            (RestartBy::Sidecar, _) => Starts::Own,
        }
    }
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
        Self::parse(&name, &text)
    }

    /// Reads the text of a file. `name` names it in errors.
    ///
    /// # Errors
    /// It holds a mistake; line and key are named.
    pub fn parse(name: &str, text: &str) -> Result<Self, Refused> {
        let file: Self = strict_toml::parse(name, text)?;
        file.hooks.check().map_err(|why| Refused::new(name, why))?;
        if let Some(pattern) = &file.transcript {
            transcript::check(pattern)
                .map_err(|why| Refused::new(name, format!("transcript = {pattern:?}: {why}")))?;
        }
        file.restart.check().map_err(|why| Refused::new(name, why))?;
        file.limits.check().map_err(|why| Refused::new(name, why))?;
        if file.heartbeat_directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            return Err(Refused::new(name, "heartbeat_directory is not an absolute path"));
        }
        if file.pidfile.is_some() && file.form == Form::Simple {
            return Err(Refused::new(name, "pidfile is for type = \"forking\""));
        }
        match file.budget.map(BudgetTable::check) {
            Some(Err(why)) => Err(Refused::new(name, format!("[budget] {why}"))),
            Some(Ok(())) | None => Ok(file),
        }
    }
}

/// `[limits]`: what the agent's whole tree may use. The kernel holds them; where the sidecar may
/// not make cgroups, it says that they are not in force.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// Beyond it the kernel kills for want of memory.
    pub memory_max: Option<Bytes>,
    /// Beyond it the kernel slows the tree down and reclaims (cgroup v2).
    pub memory_high: Option<Bytes>,
    /// Processes and threads.
    pub pids_max: Option<NonZeroU64>,
    /// Percent of one core: 250 is two and a half.
    pub cpu_max: Option<NonZeroU64>,
}

impl LimitsTable {
    fn check(self) -> Result<(), String> {
        match (self.memory_high, self.memory_max) {
            (Some(high), Some(max)) if high.0 > max.0 => {
                Err("[limits] memory_high is above memory_max, and never reached".to_owned())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn resolved(self) -> Limits {
        Limits {
            memory_max: self.memory_max.map(|bytes| bytes.0),
            memory_high: self.memory_high.map(|bytes| bytes.0),
            pids_max: self.pids_max.map(NonZeroU64::get),
            cpu_max: self.cpu_max.map(NonZeroU64::get),
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

    pub(super) fn resolved(self) -> Budget {
        let tokens = self.tokens.map(NonZeroU64::get);
        Budget { tokens, cost_usd: self.cost_usd, window: self.window.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_hold_together_are_refused() {
        let table = [
            ("[restart]\nwithin = \"0s\"", "[restart] within = \"0s\""),
            ("[restart]\nby = \"command\"", "needs a command"),
            ("[restart]\ncommand = [\"x\"]", "is for by = \"command\""),
            (
                "[limits]\nmemory_max = \"1GiB\"\nmemory_high = \"2GiB\"",
                "memory_high is above memory_max",
            ),
            ("heartbeat_directory = \"beats\"", "is not an absolute path"),
            ("pidfile = \"/run/x\"", "is for type = \"forking\""),
            ("[budget]\nwindow = \"1h\"", "sets no limit"),
            ("[budget]\nwindow = \"1s\"\ntokens = 5", "window is below 1m"),
            ("[hooks]\nnudge = []", "nudge names no program"),
        ];
        for (text, why) in table {
            let refused = File::parse("s.toml", text).expect_err(text).to_string();
            assert!(refused.contains(why), "{refused}");
            assert!(refused.starts_with("s.toml: "), "{refused}");
        }
        let both = "[limits]\nmemory_max = \"2GiB\"\nmemory_high = \"1GiB\"";
        File::parse("s.toml", both).expect("they hold together");
    }
}
