//! One agent's state, as the engine holds it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lubdub_shared::beat::{Evidence, Report};
use lubdub_shared::id::{AgentId, InstanceId, Life, SpoolId};
use lubdub_shared::incident::Incident;
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::GoodbyeReason;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::{Mono, Wall};

use crate::asks::{Asks, InFlight};
use crate::finding::ActiveFinding;
use crate::flaps::Flaps;
use crate::index::AgentIndex;
use crate::restraint::Restraint;
use crate::treatment::{Change, Treatment, Verification};

mod record;

pub use record::{AgentRecord, Treated, Unanswered};

/// Spools of one agent that are remembered: a lasting one, and those of a disk that was sick.
const SPOOLS_MAX: usize = 8;

/// Another instance that did not knock for so long is gone: twice its longest pause.
pub(crate) const CONFLICT_GONE: Duration = Duration::from_secs(60);

/// The stream to an agent's sidecar.
///
/// ```text
///  Lost ──attach──▶ Up ──goodbye──▶ Left
///   ▲               │ end without a word
///   └───────────────┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    /// It stands.
    Up {
        /// Number of the stream.
        session: u64,
        /// Process of the sidecar.
        instance: InstanceId,
    },
    /// It ended without a word.
    Lost,
    /// The sidecar left on purpose.
    Left {
        /// When it meant to be back.
        back_by: Option<Mono>,
    },
}

impl Stream {
    /// After a goodbye: when the sidecar is missed.
    pub(crate) fn left(reason: GoodbyeReason, back_within: Option<Duration>, now: Mono) -> Self {
        match reason {
            GoodbyeReason::AgentEnded | GoodbyeReason::Other => Self::Left { back_by: None },
            GoodbyeReason::Shutdown => Self::Left { back_by: back_within.map(|by| now.after(by)) },
        }
    }
}

/// One for all agents that never had any: who has none is not looked up elsewhere in memory.
static NO_INCIDENTS: LazyLock<Arc<Vec<Incident>>> = LazyLock::new(Arc::default);

/// The schedule of an agent of which nothing was reported yet.
static NO_LEDGER: LedgerView =
    LedgerView { used: 0, limit: 0, next_delay: None, spent: String::new() };

/// Another sidecar instance that reports this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConflictingInstance {
    pub(crate) instance: InstanceId,
    /// When it was first and last turned away.
    pub(crate) first: Mono,
    pub(crate) last: Mono,
}

/// Who an agent is.
#[derive(Debug, Clone)]
pub struct Who {
    /// Its id.
    pub id: AgentId,
    /// Where it runs.
    pub host: String,
    /// For people and for `[[assign]]`.
    pub labels: BTreeMap<String, String>,
}

/// How an agent's sidecar is heard.
#[derive(Debug, Clone)]
pub struct Link {
    /// The stream.
    pub stream: Stream,
    /// Another instance that knocks.
    pub(crate) conflict: Option<ConflictingInstance>,
    /// When the sidecar was last heard.
    pub heard: Mono,
    /// Between reports when nothing happens, as the sidecar was told.
    pub interval: Duration,
    /// By how much the clock of its host is ahead of ours, nanoseconds, when it attached last.
    pub clock_ahead: Option<i64>,
    /// The newest event that was applied of each of its newest spools, the newest spool last.
    pub applied: Vec<(SpoolId, u64)>,
    /// The one that its sidecar goes on in.
    pub(crate) spool: Option<SpoolId>,
    /// Another agent's that it came with, and was told of.
    pub(crate) foreign: Option<SpoolId>,
}

/// What is seen of an agent.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The life that runs, or ran last.
    pub life: Option<Life>,
    /// When that life began.
    pub started: Option<Wall>,
    /// Where its process is.
    pub lifecycle: Lifecycle,
    /// Its main process, while one runs: as its start or the newest report tells it.
    pub pid: Option<u32>,
    /// Held down: how, by whom and why.
    pub down: Option<String>,
    /// The newest report.
    pub report: Option<Arc<Report>>,
    /// When it came, on the wall clock: what it says of times of the day is as old as that.
    pub(crate) reported: Wall,
    /// Evidence that any of its lives showed.
    pub shown: Evidence,
    /// What is wrong, worst first.
    pub findings: Vec<ActiveFinding>,
    /// The worst of the findings.
    pub status: Status,
    /// How its status came and went.
    pub(crate) flaps: Flaps,
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its number in the fleet.
    pub(crate) index: AgentIndex,
    /// Who it is; seldom read, so it is not in the way of what is.
    pub who: Arc<Who>,
    /// What is decided by settings; one copy for all agents that have it.
    pub policy: VersionedPolicy,
    /// How its sidecar is heard.
    pub link: Link,
    /// What is seen of it.
    pub seen: Seen,
    /// What is being done about its trouble.
    pub treatment: Treatment,
    /// What keeps the engine from doing more.
    pub restraint: Restraint,
    /// What else was asked of its sidecar.
    pub asks: Asks,
    /// Open incidents, and those resolved last, which may come back.
    pub incidents: Arc<Vec<Incident>>,
    /// When the engine looks at it next.
    pub(crate) wake: Option<Mono>,
}

impl Agent {
    pub(crate) fn new(record: AgentRecord, policy: VersionedPolicy, now: Mono) -> Self {
        let stream = if record.left { Stream::Left { back_by: None } } else { Stream::Lost };
        Self {
            index: AgentIndex::default(),
            who: Arc::new(Who { id: record.id, host: record.host, labels: record.labels }),
            policy,
            link: Link {
                stream,
                conflict: None,
                heard: now,
                interval: Duration::ZERO,
                clock_ahead: None,
                spool: record.applied.last().map(|(spool, _)| *spool),
                applied: record.applied,
                foreign: None,
            },
            seen: Seen {
                life: record.life,
                started: record.started,
                lifecycle: record.lifecycle,
                pid: None,
                down: record.held,
                report: None,
                reported: Wall::default(),
                shown: record.shown,
                findings: Vec::new(),
                status: Status::Unknown,
                flaps: Flaps::default(),
            },
            treatment: Treatment::default(),
            restraint: Restraint::default(),
            asks: Asks::default(),
            incidents: Arc::clone(&NO_INCIDENTS),
            wake: None,
        }
    }

    /// Its number in the fleet.
    pub fn index(&self) -> AgentIndex {
        self.index
    }

    /// When the newest report came, on the wall clock.
    pub fn reported_at(&self) -> Wall {
        self.seen.reported
    }

    /// A command has been asked for, and not answered yet.
    pub(crate) fn is_under_way(&self, command: lubdub_shared::id::CommandId) -> bool {
        let act = self.treatment.act().is_some_and(|act| act.command.id == command);
        act || self.asks.holds(command)
    }

    /// The command under way that changes what the process does.
    pub fn act(&self) -> Option<&InFlight> {
        self.treatment.act().or_else(|| self.asks.act())
    }

    /// The restart schedule, as the sidecar last told it.
    pub fn ledger(&self) -> &LedgerView {
        self.seen.report.as_deref().map_or(&NO_LEDGER, |report| &report.ledger)
    }

    /// The stream stands.
    pub fn is_connected(&self) -> bool {
        matches!(self.link.stream, Stream::Up { .. })
    }

    /// The report speaks of a living process of the current life, under the policy in force.
    pub fn living(&self) -> Option<&Report> {
        let report = self.seen.report.as_deref()?;
        // What was made under another policy is not held against the agent.
        if report.policy != 0 && report.policy != self.policy.version() {
            return None;
        }
        let alive = matches!(report.lifecycle, Lifecycle::Running | Lifecycle::Verifying);
        let same = report.life == self.seen.life;
        (alive && same && !self.seen.lifecycle.is_down()).then_some(report)
    }

    /// When a silent link is called so.
    pub(crate) fn unreachable_at(&self) -> Option<Mono> {
        let patience = self.policy.unreachable_after.max(3 * self.link.interval);
        match self.link.stream {
            Stream::Up { .. } | Stream::Lost => Some(self.link.heard.after(patience)),
            Stream::Left { back_by } => back_by,
        }
    }

    /// When the engine must look at this agent though nothing happened.
    pub(crate) fn next_due(&self, now: Mono, warm_at: Mono) -> Option<Mono> {
        let link = self.unreachable_at().and_then(|at| {
            let missing = at.after(self.policy.missing_after);
            // What is not concluded while warming up is looked at again right after.
            [at, at.max(warm_at), missing].into_iter().filter(|moment| *moment > now).min()
        });
        let act = self.treatment.act().map(|act| act.due);
        let proof = self.treatment.proof().map(|proof| proof.due).filter(|due| *due > now);
        let asks = self.asks.next_due();
        let conflict = self.link.conflict.map(|other| other.last.after(CONFLICT_GONE));
        let conflict = conflict.filter(|at| *at > now);
        [link, act, asks, proof, conflict].into_iter().flatten().min()
    }

    /// Applies a change to the treatment. A command that this does not wait for any more goes to
    /// those whose answers are only recorded.
    pub(crate) fn treat(&mut self, change: Change) {
        let released = self.treatment.apply(change);
        self.asks.sent.extend(released.map(|act| *act));
    }

    /// When a life that begins or is first seen now must have been proven.
    pub(crate) fn verification(&self, life: Life, now: Mono) -> Verification {
        Verification { life, due: now.after(self.policy.startup_grace) }
    }

    /// A life has begun: whatever was counted belonged to the one before.
    pub(crate) fn begin_life(&mut self, life: Life, at: Wall, now: Mono) {
        self.seen.life = Some(life);
        // By our own clock, as far as the two are known to be apart.
        self.seen.started = Some(Wall(at.0.saturating_sub(self.link.clock_ahead.unwrap_or(0))));
        self.restraint.begin_life();
        let (proof, owed) = (self.verification(life, now), self.asks.act().is_some());
        self.treat(Change::LifeBegan { proof, owed });
        let proven = self.treatment.proof().is_none();
        self.seen.lifecycle = if proven { Lifecycle::Running } else { Lifecycle::Verifying };
    }
}

impl Link {
    /// Notes an event as applied; false when it was before.
    pub(crate) fn apply(&mut self, spool: SpoolId, number: u64) -> bool {
        if let Some((_, applied)) = self.applied.iter_mut().find(|(known, _)| *known == spool) {
            let new = number > *applied;
            *applied = number.max(*applied);
            return new;
        }
        if self.applied.len() == SPOOLS_MAX {
            self.applied.remove(0);
        }
        self.applied.push((spool, number));
        true
    }

    /// The newest event that was applied of a spool. Where its sidecar knows of fewer, what comes
    /// behind those is new.
    pub(crate) fn went_back(&mut self, spool: SpoolId, last: u64) -> u64 {
        let known = self.applied.iter_mut().find(|(known, _)| *known == spool);
        known.map_or(0, |(_, applied)| {
            let newest = *applied;
            *applied = newest.min(last);
            newest
        })
    }
}
