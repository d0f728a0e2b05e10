//! What is seen of a living agent: its phase, its clocks, its vitals, its end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Life;
use crate::schedule::LedgerView;
use crate::status::{Lifecycle, words};
use crate::trend::{Burn, MemoryTrend, RecentTasks, ResponseTrend};

mod ages;

pub use ages::{
    ARMED_BEATS, Ages, Deadline, FAILED_CHECKS_MAX, FailedCheck, LastActivity, Lease, Progress,
};

words! {
    /// What the agent says that it is doing.
    open Phase {
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
            Self::Starting
            | Self::Working
            | Self::Llm
            | Self::Tool
            | Self::Stopping
            | Self::Other => false,
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
            | Self::Stopping
            | Self::Other => false,
        }
    }
}

words! {
    /// Evidence of life that needs no cooperation, strongest first.
    open ActivityKind {
        /// Bytes written.
        Output = "output",
        /// Bytes read or written, 64 KiB or more.
        Io = "io",
        /// Bytes carried by TCP connections, 4 KiB or more.
        Network = "network",
        /// A child was born or went.
        Child = "child",
        /// CPU time.
        Cpu = "cpu",
        /// Something of the tree runs, and what it does cannot be read: nobody may say that it is
        /// inactive.
        Unreadable = "unreadable",
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
    /// The kernel killed it, or one of its tree, because memory was used up.
    #[serde(default)]
    pub oom: bool,
}

impl Exit {
    /// An end of which nothing else is known.
    pub fn of(how: ExitHow) -> Self {
        Self { how, core: false, by_us: false, oom: false }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            // Shells, and wrappers that learnt it from them, pass a child's end on like this.
            ExitHow::Code(code @ 129..=192) => {
                write!(f, "exit code {code} (a child ended by signal {})", code - 128)?;
            }
            ExitHow::Code(code) => write!(f, "exit code {code}")?,
            ExitHow::Signal(signal) => write!(f, "signal {signal}")?,
            ExitHow::Unknown(why) => write!(f, "no exit status ({why})")?,
        }
        f.write_str(if self.core { ", core written" } else { "" })?;
        f.write_str(if self.oom { ", out of memory" } else { "" })?;
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
    /// What of the tree was killed and does not end, in words; empty when all does.
    pub unkillable: String,
    /// What the sidecar cannot do of its own work now, in words; empty while it can.
    pub sick: String,
    /// For how long it could not.
    pub sick_for: Duration,
    /// Why the sidecar cannot hear its agent now, in words; empty while it can.
    pub unheard: String,
}
