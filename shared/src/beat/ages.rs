//! The clocks of one life, in the sidecar's ticks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ActivityKind, Evidence, Phase};
use crate::policy::{ExpectBeats, Policy, stretched};
use crate::trend::{CheckAge, GapStats, Repeats};

/// The beat deadline in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Time without a beat that is one miss.
    pub after: Duration,
    /// The agent itself set it: one miss is Critical.
    pub explicit: bool,
}

/// The last activity of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastActivity {
    /// Since it happened.
    pub age: Duration,
    /// What it was.
    pub kind: ActivityKind,
}

/// A bound that the agent put on its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Grows with each lease of a life.
    pub number: u64,
    /// Time left; zero when it has ended.
    pub left: Duration,
    /// Since it ended; `None` until its slack (10 %, at least 5 s) has passed too.
    pub over: Option<Duration>,
}

/// Progress of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Sum of the agent's counters.
    pub counter: u64,
    /// Charged time since it moved; `None` before it first did.
    pub frozen: Option<Duration>,
    /// Of a counter that was told and never moved: charged time since it was first told.
    pub still: Option<Duration>,
    /// A working phase is declared or a task is open.
    pub owed: bool,
    /// Frozen for this long is late: the policy's window, stretched by what the agent survived.
    /// Zero is the policy's own.
    pub window: Duration,
}

/// A check that the agent itself says has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCheck {
    /// Its name; `self` for a trigger.
    pub name: String,
    /// Failures in a row.
    pub count: u32,
    /// Said with a trigger: Critical at once.
    pub trigger: bool,
    /// The agent's words.
    pub message: String,
}

/// The clocks of one life, in the sidecar's ticks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct Ages {
    /// Since the start of the life.
    pub up: Duration,
    /// Declared phase.
    pub phase: Option<Phase>,
    /// Since it was entered.
    pub phase_age: Duration,
    /// READY was said.
    pub ready: bool,
    /// Beats of this life.
    pub beats: u64,
    /// Since the last beat.
    pub beat: Option<Duration>,
    /// The same, less what was leased, paused or waited for a rate limit.
    pub silence: Duration,
    /// The agent beats on purpose, so its silence counts.
    pub armed: bool,
    /// `None`: the phase has no clock.
    pub deadline: Option<Deadline>,
    /// `None`: no activity in this life.
    pub activity: Option<LastActivity>,
    /// Time without activity, less what was leased or paused.
    pub quiet: Duration,
    /// Progress counters.
    pub progress: Progress,
    /// The newest lease of the phase.
    pub lease: Option<Lease>,
    /// Since the main process was stopped or frozen.
    pub paused: Option<Duration>,
    /// Checks that are not ok, worst first, at most [`FAILED_CHECKS_MAX`].
    pub failed: Vec<FailedCheck>,
    /// Steps that repeat.
    pub repeats: Repeats,
    /// Age of the oldest open task, less what was leased, paused or waited for a rate limit.
    pub oldest_task: Option<Duration>,
    /// Checks that the policy names.
    pub checks: Vec<CheckAge>,
    /// Energy is at or below the policy's `gone`.
    pub spent: bool,
    /// Nothing is owed: the policy's quiet hours.
    pub resting: bool,
    /// Of waits for a rate limit that were renewed without progress between them: their sum.
    pub waited: Duration,
    /// A new sidecar took the agent over and has heard no beat since. The agent may hold a socket
    /// of the sidecar before: its silence is told, and leads to nothing.
    pub unheard: bool,
    /// Survived gaps between beats in this phase.
    pub beat_gaps: GapStats,
    /// Survived gaps between steps of progress in this phase.
    pub progress_gaps: GapStats,
}

/// Beats in a life from which silence counts.
pub const ARMED_BEATS: u64 = 3;

/// Failed checks that one report carries at most.
pub const FAILED_CHECKS_MAX: usize = 8;

impl Ages {
    /// The clocks stand: the process is stopped, or a lease runs.
    pub fn stands_still(&self) -> bool {
        self.paused.is_some() || self.is_leased()
    }

    /// A lease runs, or its slack.
    pub fn is_leased(&self) -> bool {
        self.lease.is_some_and(|lease| lease.over.is_none())
    }

    /// It said that it waits: steps may repeat twice as often.
    pub fn waits(&self) -> bool {
        self.phase.is_some_and(Phase::waits) || self.is_leased()
    }

    /// The same life, had another policy been in force: what was measured stays, what followed
    /// from the policy is put anew.
    #[must_use]
    pub fn held_to(&self, policy: &Policy) -> Self {
        let explicit = self.deadline.filter(|deadline| deadline.explicit);
        let stretch = |after| match policy.expect_beats {
            ExpectBeats::Always => after,
            ExpectBeats::Auto | ExpectBeats::Never => stretched(after, self.beat_gaps.longest),
        };
        let own = policy.beat_deadline(self.phase);
        let own = own.map(|after| Deadline { after: stretch(after), explicit: false });
        let window = policy.progress_deadline(self.phase);
        let on_purpose = self.beats >= ARMED_BEATS
            || explicit.is_some()
            || policy.expect_beats == ExpectBeats::Always;
        Self {
            deadline: own.and_then(|own| explicit.or(Some(own))),
            armed: on_purpose && policy.expect_beats != ExpectBeats::Never,
            progress: Progress {
                window: stretched(window, self.progress_gaps.longest),
                ..self.progress
            },
            ..self.clone()
        }
    }

    /// Frozen progress for this long is late.
    pub fn progress_window(&self, policy: &Policy) -> Duration {
        self.progress.window.max(policy.progress_deadline(self.phase))
    }

    /// What this life has shown so far.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            beats: self.armed && self.beats > 0,
            progress: self.progress.frozen.is_some(),
            ready: self.ready,
        }
    }
}
