//! Resolved policy values: numbers and closed words, nothing that could be executed.
//!
//! The collector reads them from its file; sidecars get them in Welcome. [`Policy::default`] is
//! what holds where nobody said otherwise, on both sides.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beat::Phase;
use crate::incident::Cause;
use crate::status::words;

mod limits;
mod version;

pub use limits::{
    Due, EnergyLimits, Expected, FailureLimits, FlappingLimits, Limits, LoopLimits, MemoryLimits,
    NAMED_MAX, QuietHours, ResponseLimits, STEPS_MAX,
};
pub use version::VersionedPolicy;

words! {
    /// How far the collector may go with living agents.
    Mode {
        /// Findings only.
        Observe = "observe",
        /// What would have been done is written down.
        Shadow = "shadow",
        /// Acts.
        Enforce = "enforce",
    }
}

words! {
    /// Whether silence counts.
    ExpectBeats {
        /// Once the agent has beaten three times in a life.
        Auto = "auto",
        /// From the start.
        Always = "true",
        /// Never.
        Never = "false",
    }
}

words! {
    /// The most that a cause may lead to by itself, mildest first.
    Act {
        /// Shown in the status only.
        None = "none",
        /// An incident; a person is told.
        Notify = "notify",
        /// The agent itself is told, once.
        Nudge = "nudge",
        /// A restart, within the schedule.
        Restart = "restart",
        /// The end, at once.
        Apoptosis = "apoptosis",
    }
}

words! {
    /// Which exits start the agent again.
    RestartOn {
        /// Those that are no success.
        Failure = "failure",
        /// All.
        Always = "always",
        /// None.
        Never = "never",
    }
}

words! {
    /// What follows when the schedule is spent.
    Exhausted {
        /// The final end.
        Apoptosis = "apoptosis",
        /// Held down until a person starts it.
        Quarantine = "quarantine",
    }
}

words! {
    /// How an exit counts whose status could not be had: of an agent that outlived its sidecar,
    /// or was never its child.
    UnknownExit {
        /// As a failure.
        Failure = "failure",
        /// As a clean end.
        Success = "success",
    }
}

/// Delays between a stop and the next start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// Before the first restart.
    pub initial: Duration,
    /// Growth from one restart to the next.
    pub factor: f64,
    /// Never longer than this.
    pub max: Duration,
    /// Share of the delay that is random, 0..1.
    pub jitter: f64,
}

/// The restart schedule's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Which exits start the agent again.
    pub on: RestartOn,
    /// Exit codes that are no failure.
    pub success_exit: Vec<u8>,
    /// Exit codes that no restart mends: the agent is held in quarantine at once.
    #[serde(default)]
    pub permanent_exit: Vec<u8>,
    /// How an exit of unknown status counts.
    #[serde(default = "failure")]
    pub unknown_exit: UnknownExit,
    /// Restarts until it is spent; refilled only by proven stability.
    pub attempts: u32,
    /// Between stop and start.
    pub delay: Delay,
    /// Proof that refills the schedule.
    pub stable_after: Duration,
    /// Restarts in 24 hours, whatever was refilled.
    pub per_day_max: u32,
    /// Asks the agent to stop.
    pub stop_signal: i32,
    /// Between the stop signal and the kill of the whole tree.
    pub term_grace: Duration,
    /// Between the agent's own STOPPING and the stop signal, where it does not end.
    #[serde(default = "stopping_max")]
    pub stopping_max: Duration,
    /// When the schedule is spent.
    pub exhausted: Exhausted,
}

/// Everything that is decided by settings, for one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name in the file.
    pub name: String,
    /// How far the collector may go.
    pub mode: Mode,
    /// Whether silence counts.
    pub expect_beats: ExpectBeats,
    /// Time for the first beat when beats are expected, and for a verification.
    pub startup_grace: Duration,
    /// Time without a beat that is one miss, where no phase says otherwise.
    pub heartbeat_deadline: Duration,
    /// Misses that are Critical; fewer are a Warning.
    pub failures_before_critical: NonZeroU32,
    /// No beat but activity for this long is Critical.
    pub busy_cap: Duration,
    /// Frozen progress for this long is a Warning, for twice as long Critical.
    pub progress_window: Duration,
    /// Leased time since the last progress, in sum; also the longest explicit deadline.
    pub lease_max: Duration,
    /// No activity of an agent that never beats for this long is a Warning.
    pub inactive_after: Duration,
    /// Stopped or frozen for this long is Critical.
    pub paused_max: Duration,
    /// No report for this long, and three intervals, is Unreachable.
    pub unreachable_after: Duration,
    /// Unreachable for this long is Missing.
    pub missing_after: Duration,
    /// Waiting for a person for this long is told to one.
    pub human_after: Duration,
    /// An open task may be this old; `None` is no bound.
    pub task_timeout: Option<Duration>,
    /// Bundles of evidence go to the collector; else they stay on the agent's host.
    #[serde(default)]
    pub send_evidence: bool,
    /// Beat deadlines of phases; `None` is no clock.
    pub phase: BTreeMap<Phase, Option<Duration>>,
    /// Where a cause may do more or less than by default.
    pub act: BTreeMap<Cause, Act>,
    /// The restart schedule.
    pub restart: RestartPolicy,
    /// What the other detectors are held against.
    #[serde(default)]
    pub limits: Limits,
}

/// A deadline is stretched to so many times the longest gap that was survived.
const STRETCH: u32 = 3;
/// But to no more than so many times itself: what is longer teaches no more.
pub const STRETCH_MAX: u32 = 4;

/// A deadline, stretched by the longest gap that an agent has survived. Gaps teach patience,
/// never haste.
pub fn stretched(deadline: Duration, longest: Duration) -> Duration {
    deadline.max((STRETCH * longest).min(STRETCH_MAX * deadline))
}

fn failure() -> UnknownExit {
    UnknownExit::Failure
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            mode: Mode::Enforce,
            expect_beats: ExpectBeats::Auto,
            startup_grace: 5 * MINUTE,
            heartbeat_deadline: 3 * MINUTE,
            failures_before_critical: NonZeroU32::MIN.saturating_add(2),
            busy_cap: 60 * MINUTE,
            progress_window: 10 * MINUTE,
            lease_max: 60 * MINUTE,
            inactive_after: 30 * MINUTE,
            paused_max: 30 * MINUTE,
            unreachable_after: Duration::from_secs(15),
            missing_after: 10 * MINUTE,
            human_after: 15 * MINUTE,
            send_evidence: false,
            task_timeout: None,
            phase: BTreeMap::from([
                (Phase::Llm, Some(15 * MINUTE)),
                (Phase::Tool, Some(60 * MINUTE)),
                (Phase::Idle, None),
                (Phase::WaitingHuman, None),
            ]),
            act: BTreeMap::new(),
            restart: RestartPolicy::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            on: RestartOn::Failure,
            success_exit: vec![0],
            permanent_exit: Vec::new(),
            unknown_exit: UnknownExit::Failure,
            attempts: 3,
            delay: Delay {
                initial: Duration::from_secs(10),
                factor: 2.0,
                max: 5 * MINUTE,
                jitter: 0.1,
            },
            stable_after: 10 * MINUTE,
            per_day_max: 20,
            stop_signal: 15,
            term_grace: Duration::from_secs(10),
            stopping_max: stopping_max(),
            exhausted: Exhausted::Apoptosis,
        }
    }
}

/// Also of a policy of version 0.1.0, which had no such bound.
fn stopping_max() -> Duration {
    5 * MINUTE
}

impl Policy {
    /// The beat deadline of a phase; `None` is no clock. Who is on its way out owes no beats: its
    /// end has a bound of its own.
    pub fn beat_deadline(&self, phase: Option<Phase>) -> Option<Duration> {
        match phase.and_then(|phase| self.phase.get(&phase)) {
            Some(deadline) => *deadline,
            None if phase == Some(Phase::Starting) => Some(self.startup_grace),
            None if phase == Some(Phase::Stopping) => None,
            None => Some(self.heartbeat_deadline),
        }
    }

    /// Frozen progress for this long is late. A phase with a longer beat deadline owes its
    /// progress no earlier: a long tool call is not a stuck one.
    pub fn progress_deadline(&self, phase: Option<Phase>) -> Duration {
        let own = phase.and_then(|phase| self.phase.get(&phase)).copied().flatten();
        own.unwrap_or_default().max(self.progress_window)
    }

    /// The most that a cause may lead to by itself.
    pub fn act(&self, cause: Cause) -> Act {
        self.act.get(&cause).copied().unwrap_or_else(|| cause.row().default_act)
    }
}
