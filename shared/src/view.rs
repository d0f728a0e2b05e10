//! What people see: one agent, the fleet, incidents, events.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::beat::Report;
use crate::command::CommandKind;
use crate::facts::Facts;
use crate::id::{AgentId, Life};
use crate::incident::{Cause, Incident};
use crate::schedule::LedgerView;
use crate::session::EventKind;
use crate::status::{Lifecycle, Status, words};
use crate::time::{Wall, words};

mod json;

pub use json::{EventJson, ExplainJson, IncidentsJson, StatusJson};

/// Most agents of one page on the wire.
pub const PAGE_LEN_MAX: usize = 1000;

/// The collector that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorView {
    /// Its wall clock when it answered; `None` from an older one.
    pub now: Option<Wall>,
    /// As in its Cargo.toml.
    pub version: String,
    /// When it started.
    pub started: Wall,
    /// Why it does not act by itself now; empty when it does.
    pub degraded: String,
}

/// A finding with the time it began.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingView {
    /// What is wrong.
    pub cause: Cause,
    /// How bad it is.
    pub level: Status,
    /// Since when.
    pub since: Wall,
    /// One line.
    pub detail: String,
    /// What it rests on; empty from an older collector.
    pub facts: Facts,
    /// The same in words.
    pub evidence: BTreeMap<String, String>,
    /// The rule, and the policy key that configures it.
    pub rule: String,
    /// What would make it go away.
    pub cancelled_by: String,
}

words! {
    /// A step of the ladder, or what else is waited for.
    open Rung {
        /// A person is told.
        Notify = "notify",
        /// The agent itself is told.
        Nudge = "nudge",
        /// Mode `shadow`: it is told what would be done.
        Shadow = "shadow",
        /// The agent is restarted.
        Restart = "restart",
        /// It is stopped until a person starts it.
        Quarantine = "quarantine",
        /// A person stops it.
        Stop = "stop",
        /// It is ended for good.
        Apoptosis = "apoptosis",
        /// It is started, by its sidecar's schedule or by a person.
        Start = "start",
        /// A person takes an apoptosis back.
        Revive = "revive",
        /// A new life has shown what earlier lives showed, or has failed.
        Verify = "verify",
        /// Evidence is taken.
        Capture = "capture",
    }
}

impl Rung {
    /// The step that a command of the engine is.
    pub fn of(kind: CommandKind) -> Self {
        match kind {
            CommandKind::Nudge => Self::Nudge,
            CommandKind::Restart => Self::Restart,
            CommandKind::Stop => Self::Quarantine,
            CommandKind::Apoptosis => Self::Apoptosis,
            CommandKind::Start => Self::Start,
            CommandKind::Revive => Self::Revive,
            CommandKind::Capture => Self::Capture,
            CommandKind::Other => Self::Other,
        }
    }
}

/// The next step of the ladder, if what is wrong goes on and nothing else goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The step.
    pub rung: Rung,
    /// Until then; zero when it is due or under way. `None`: it is held back, and no moment is
    /// known.
    pub within: Option<Duration>,
    /// What it waits for besides its own clock, in words.
    pub why: Option<String>,
}

impl Next {
    /// A step that waits for nothing but time.
    pub fn due(rung: Rung, within: Duration) -> Self {
        Self { rung, within: Some(within), why: None }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.within, &self.why) {
            (Some(within), None) => write!(f, "{} in {}", self.rung, words(within)),
            (Some(within), Some(why)) => write!(f, "{} in {} ({why})", self.rung, words(within)),
            (None, Some(why)) => write!(f, "no {}: {why}", self.rung),
            (None, None) => write!(f, "{}", self.rung),
        }
    }
}

/// One agent as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    /// Its id.
    pub agent: AgentId,
    /// The worst of its findings.
    pub status: Status,
    /// What is wrong.
    pub findings: Vec<FindingView>,
    /// Where its process is.
    pub lifecycle: Lifecycle,
    /// The stream stands.
    pub connected: bool,
    /// The life that runs, or ran last.
    pub life: Option<Life>,
    /// When that life began.
    pub started: Option<Wall>,
    /// By how much the clock of its host is ahead of the collector's, milliseconds.
    pub clock_ahead: Option<i64>,
    /// Main process, when one runs.
    pub pid: Option<u32>,
    /// Host name.
    pub host: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of its policy.
    pub policy: String,
    /// Mode of its policy.
    pub mode: String,
    /// The restart schedule.
    pub ledger: LedgerView,
    /// The next step of the ladder.
    pub next: Option<Next>,
    /// The newest report.
    pub report: Option<Report>,
    /// Since it came; its ages are as old as that.
    pub report_age: Duration,
    /// Held down: how, by whom and why.
    pub held: Option<String>,
    /// The newest command, and when it was asked or answered.
    pub last_act: Option<(Wall, String)>,
}

/// Why an agent's status is what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The collector's wall clock; `None` from an older one.
    pub now: Option<Wall>,
    /// The agent.
    pub agent: AgentView,
    /// Each clock in force; empty from an older collector.
    pub clocks: Facts,
    /// The same in words.
    pub deadlines: BTreeMap<String, String>,
    /// The settings behind what was found, by their place in the file; empty from an older
    /// collector.
    pub settings: Facts,
    /// The same in words.
    pub configured: BTreeMap<String, String>,
    /// What the detectors would have said with other settings.
    pub what_if: Vec<WhatIf>,
    /// Deadlines that could be shorter, by what was learned; empty from an older collector.
    pub shorter: Vec<Shorter>,
    /// The same in words.
    pub suggestions: Vec<String>,
}

/// What the detectors would have said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhatIf {
    /// With this setting,
    pub key: String,
    /// set to this value, in words.
    pub value: String,
    /// The value by its key; empty from an older collector.
    pub to: Facts,
    /// `ok`, or levels and causes.
    pub says: String,
}

/// A deadline that could be shorter, by what was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shorter {
    /// `beat` or `progress`.
    pub of: String,
    /// Gaps that were seen.
    pub gaps: u64,
    /// The longest of them.
    pub longest: Duration,
    /// What would do.
    pub enough: Duration,
    /// What is in force.
    pub in_force: Duration,
}

impl fmt::Display for Shorter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, gaps, longest, enough, in_force } = self;
        let [longest, enough, in_force] = [longest, enough, in_force].map(|time| words(*time));
        write!(
            f,
            "of {gaps} gaps of {of} the longest was {longest}: {enough} would do where {in_force} \
             is in force"
        )
    }
}

/// An incident with the agent it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentView {
    /// Whose trouble it is; `None` is the collector itself.
    pub agent: Option<AgentId>,
    /// The trouble.
    pub incident: Incident,
}

/// A change of an agent's status or lifecycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionView {
    /// When.
    pub at: Wall,
    /// Whose.
    pub agent: AgentId,
    /// Status before.
    pub from: Status,
    /// Status after.
    pub to: Status,
    /// Lifecycle after.
    pub lifecycle: Lifecycle,
    /// The worst of what is wrong then.
    pub cause: Option<Cause>,
    /// Why, in one line.
    pub why: String,
}

/// One thing that happened, as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// Grows; numbers may be missing.
    pub seq: u64,
    /// When.
    pub at: Wall,
    /// Whose; `None` is the collector itself.
    pub agent: Option<AgentId>,
    /// Ordinal of the life it belongs to.
    pub incarnation: Option<u32>,
    /// What kind of thing.
    pub kind: EventKind,
    /// A JSON object.
    pub detail: String,
}
