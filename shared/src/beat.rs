//! What is seen of a living agent: its phase, its clocks, its vitals, its end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Life;
use crate::policy::{ExpectBeats, Policy, stretched};
use crate::schedule::LedgerView;
use crate::status::{Lifecycle, words};
use crate::trend::{Burn, CheckAge, GapStats, MemoryTrend, RecentTasks, Repeats, ResponseTrend};

words! {
    /// What the agent says that it is doing.
    Phase {
        /// Not ready yet.
        Starting = "starting",
        /// Its own work.
        Working = "working",
        /// Inside a model call.
        Llm = "llm",
        /// Inside a tool call.
        Tool = "tool",
        /// Nothing to do.
        Idle = "idle",
        /// A person must act first.
        WaitingHuman = "waiting_human",
        /// A provider asked to wait.
        WaitingRateLimit = "waiting_rate_limit",
        /// On its way out.
        Stopping = "stopping",
    }
}

impl Phase {
    /// The agent says that it does nothing for now.
    pub fn waits(self) -> bool {
        match self {
            Self::Idle | Self::WaitingHuman | Self::WaitingRateLimit => true,
            Self::Starting | Self::Working | Self::Llm | Self::Tool | Self::Stopping => false,
        }
    }

    /// Progress is owed in this phase.
    pub fn owes_progress(self) -> bool {
        match self {
            Self::Working | Self::Llm | Self::Tool => true,
            Self::Starting
            | Self::Idle
            | Self::WaitingHuman
            | Self::WaitingRateLimit
            | Self::Stopping => false,
        }
    }
}

words! {
    /// Evidence of life that needs no cooperation, strongest first.
    ActivityKind {
        /// Bytes written.
        Output = "output",
        /// Bytes read or written, 64 KiB or more.
        Io = "io",
        /// A child was born or went.
        Child = "child",
        /// CPU time.
        Cpu = "cpu",
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitHow {
    /// It called exit.
    Code(u8),
    /// A signal ended it.
    Signal(i32),
    /// The status could not be had; why.
    Unknown(String),
}

/// The end of a main process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Code or signal.
    pub how: ExitHow,
    /// A core image was written.
    pub core: bool,
    /// The sidecar itself sent the signal.
    pub by_us: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            ExitHow::Code(code) => write!(f, "exit code {code}")?,
            ExitHow::Signal(signal) => write!(f, "signal {signal}")?,
            ExitHow::Unknown(why) => write!(f, "no exit status ({why})")?,
        }
        f.write_str(if self.core { ", core written" } else { "" })?;
        f.write_str(if self.by_us { ", sent by the sidecar" } else { "" })
    }
}

/// Kinds of evidence that an agent showed in a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// It beat, often enough to be held to it.
    pub beats: bool,
    /// A progress counter moved.
    pub progress: bool,
    /// It said READY.
    pub ready: bool,
}

impl Evidence {
    /// Nothing was shown.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Everything that `other` holds is shown here too.
    pub fn covers(self, other: Self) -> bool {
        (self.beats || !other.beats)
            && (self.progress || !other.progress)
            && (self.ready || !other.ready)
    }

    /// What either showed.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            beats: self.beats || other.beats,
            progress: self.progress || other.progress,
            ready: self.ready || other.ready,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = [(self.beats, "beats"), (self.progress, "progress"), (self.ready, "READY")];
        let words: Vec<&str> = shown.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

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

/// Tasks of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Begun.
    pub started: u64,
    /// Ended well.
    pub done: u64,
    /// Ended badly.
    pub failed: u64,
    /// Not ended yet.
    pub open: u64,
}

/// Response time of tasks over the last five minutes, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseTime {
    /// Median.
    pub p50: u64,
    /// 95th percentile, nearest rank.
    pub p95: u64,
    /// Longest.
    pub max: u64,
}

/// The four vitals of the mission, and what the kernel tells of the tree.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// What is left of what the agent may spend, 0..1.
    pub energy: Option<f64>,
    /// Resident memory of the whole tree.
    pub memory_bytes: Option<u64>,
    /// CPU of the whole tree since the last report, in cores.
    pub cpu_ratio: Option<f64>,
    /// Tasks of this life.
    pub tasks: TaskCounts,
    /// `None` when no task ended in the window.
    pub response: Option<ResponseTime>,
    /// Bytes read and written in this life.
    pub io_bytes: Option<u64>,
    /// Open file descriptors of the main process.
    pub fds: Option<u32>,
    /// Threads of the tree.
    pub threads: Option<u32>,
    /// Processes besides the main one.
    pub children: Option<u32>,
    /// The agent's own status line.
    pub text: String,
    /// Model or program label.
    pub model: String,
    /// Spending.
    pub burn: Burn,
    /// Memory over time.
    pub memory_trend: MemoryTrend,
    /// Response times against the agent's own past.
    pub response_trend: ResponseTrend,
    /// The newest tasks that ended.
    pub recent_tasks: RecentTasks,
}

/// One look at one life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Grows by one with each report of a sidecar instance, from 1.
    pub number: u64,
    /// `None` when the agent was never started.
    pub life: Option<Life>,
    /// Where the process is.
    pub lifecycle: Lifecycle,
    /// Main process, when one runs.
    pub pid: Option<u32>,
    /// Its clocks.
    pub ages: Ages,
    /// Its vitals.
    pub vitals: Vitals,
    /// What the restart schedule still allows.
    pub ledger: LedgerView,
    /// What the sidecar itself could not do.
    pub health: Health,
    /// Until the next start, when one is coming.
    pub starts_in: Option<Duration>,
    /// Mark of the policy that it was made under; 0 is none that a collector sent.
    pub policy: u64,
}

/// What a sidecar itself could not do, counted since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Datagrams that were malformed or came from a stranger.
    pub datagrams_dropped: u64,
    /// Files that could not be written.
    pub writes_failed: u64,
    /// Events that no collector took before the spool was full.
    pub events_dropped: u64,
    /// Why the state directory cannot be written now; empty while it can.
    pub sick_disk: String,
}
