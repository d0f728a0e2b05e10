//! One agent's state, as the engine holds it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::{Evidence, Exit, Report};
use lubdub_shared::command::{Command, Requester};
use lubdub_shared::id::{AgentId, CommandId, InstanceId, Life, SpoolId};
use lubdub_shared::incident::{Cause, Finding, Incident};
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::GoodbyeReason;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::{Mono, Now, Wall};

use crate::detect::flapping::Flaps;

mod record;

pub use record::{AgentRecord, Treated, Unanswered};

/// Spools of one agent that are remembered: a lasting one, and those of a disk that was sick.
const SPOOLS_MAX: usize = 8;

/// Another instance that did not knock for so long is gone: twice its longest pause.
pub(crate) const RIVAL_GONE: Duration = Duration::from_secs(60);

/// The stream to an agent's sidecar.
///
/// ```text
///  Lost ──attach──▶ Up ──goodbye──▶ Left
///   ▲               │ end without a word
///   └───────────────┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
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

/// A finding with the moment it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The detector's opinion now.
    pub finding: Finding,
    /// When this cause was first found.
    pub since: Now,
    /// It is not seen now: an act treats it, and is not yet proven to have helped.
    pub treated: bool,
    /// The agent was nudged for it.
    pub(crate) nudged: bool,
}

/// A command that was sent and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// What.
    pub command: Box<Command>,
    /// When it was decided.
    pub decided: Now,
    /// When nobody waits for its answer any more.
    pub due: Mono,
    /// It may wait for its sidecar again until then.
    pub wish: Option<Mono>,
}

impl InFlight {
    /// The cause that it treats; `None` when a person asked.
    pub fn cause(&self) -> Option<Cause> {
        match self.command.requested_by {
            Requester::Engine(cause) => Some(cause),
            Requester::Person(_) => None,
        }
    }
}

/// A command that waits for a sidecar that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub command: Box<Command>,
    /// When nobody waits for that any more.
    pub until: Mono,
}

/// Another sidecar instance that reports this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) instance: InstanceId,
    /// When it was first and last turned away.
    pub(crate) first: Mono,
    pub(crate) last: Mono,
}

/// A new life that has yet to be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Which life.
    pub life: Life,
    /// When it has failed.
    pub due: Mono,
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// What is decided by settings.
    pub policy: Arc<Policy>,
    /// Its mark: a report that was made under another is not held against it.
    pub(crate) policy_mark: u64,
    /// Where it runs.
    pub host: String,
    /// For people and for `[[assign]]`.
    pub labels: BTreeMap<String, String>,
    /// The stream.
    pub link: Link,
    /// Another instance that knocks.
    pub(crate) rival: Option<Rival>,
    /// When its sidecar was last heard.
    pub heard: Mono,
    /// Between reports when nothing happens, as its sidecar was told.
    pub interval: Duration,
    /// The life that runs, or ran last.
    pub life: Option<Life>,
    /// When that life began.
    pub started: Option<Wall>,
    /// Where its process is.
    pub lifecycle: Lifecycle,
    /// The newest report.
    pub report: Option<Box<Report>>,
    /// When it came, on the wall clock: what it says of times of the day is as old as that.
    pub(crate) reported: Wall,
    /// The restart schedule, as the sidecar last told it.
    pub ledger: LedgerView,
    /// Evidence that any of its lives showed.
    pub shown: Evidence,
    /// What is wrong.
    pub findings: Vec<Standing>,
    /// The worst of the findings.
    pub status: Status,
    /// Open incidents, and those resolved last, which may come back.
    pub incidents: Vec<Incident>,
    /// The trouble that an act treats: it stands until the act is proven to have helped.
    pub treating: Option<Standing>,
    /// The command under way.
    pub act: Option<InFlight>,
    /// Other commands whose answers are waited for: of people, beside or before that one.
    pub(crate) asked: Vec<InFlight>,
    /// A command that waits for the sidecar.
    pub waiting: Option<Waiting>,
    /// Commands that were answered last: their answers may come again.
    pub(crate) answered: VecDeque<CommandId>,
    /// No automatic act before this moment.
    pub rest_until: Mono,
    /// The proof under way.
    pub verify: Option<Verification>,
    /// By how much the clock of its host is ahead of ours, nanoseconds, when it attached last.
    pub clock_ahead: Option<i64>,
    /// The newest event that was applied of each of its newest spools, the newest spool last.
    pub applied: Vec<(SpoolId, u64)>,
    /// The one that its sidecar goes on in.
    pub(crate) spool: Option<SpoolId>,
    /// Another agent's that it came with, and was told of.
    pub(crate) foreign: Option<SpoolId>,
    /// Held down: how, by whom and why.
    pub held: Option<String>,
    /// The newest command: when it was asked or answered, which, and what of it.
    pub last_act: Option<(Wall, CommandId, String)>,
    /// How its status came and went.
    pub(crate) flaps: Flaps,
    /// When the agent itself was last told something, and that nobody took so many in a row.
    pub(crate) nudged: Option<Mono>,
    pub(crate) untaken: u32,
    /// Acts of this life that its sidecar refused because the agent had moved on.
    pub(crate) saves: u32,
    /// A trouble that shadow mode has already told.
    pub(crate) shadowed: Option<Cause>,
    pub(crate) wake: Option<Mono>,
}

impl Agent {
    pub(crate) fn new(record: AgentRecord, policy: Arc<Policy>, now: Mono) -> Self {
        Self {
            id: record.id,
            policy,
            policy_mark: 0,
            host: record.host,
            labels: record.labels,
            link: if record.left { Link::Left { back_by: None } } else { Link::Lost },
            rival: None,
            heard: now,
            interval: Duration::ZERO,
            life: record.life,
            started: record.started,
            lifecycle: record.lifecycle,
            report: None,
            reported: Wall::default(),
            ledger: LedgerView::default(),
            shown: record.shown,
            findings: Vec::new(),
            status: Status::Unknown,
            incidents: Vec::new(),
            treating: None,
            act: None,
            asked: Vec::new(),
            waiting: None,
            answered: VecDeque::new(),
            rest_until: Mono::default(),
            verify: None,
            clock_ahead: None,
            spool: record.applied.last().map(|(spool, _)| *spool),
            foreign: None,
            applied: record.applied,
            held: record.held,
            last_act: None,
            flaps: Flaps::default(),
            nudged: None,
            untaken: 0,
            saves: 0,
            shadowed: None,
            wake: None,
        }
    }

    /// It has been asked for, and not answered yet.
    pub(crate) fn is_under_way(&self, command: CommandId) -> bool {
        let waiting = self.waiting.iter().map(|waiting| &waiting.command);
        let sent = self.act.iter().chain(&self.asked).map(|act| &act.command);
        waiting.chain(sent).any(|known| known.id == command)
    }

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

    /// The stream stands.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// The report speaks of a living process of the current life, under the policy in force.
    pub fn living(&self) -> Option<&Report> {
        let report = self.report.as_deref()?;
        if report.policy != 0 && report.policy != self.policy_mark {
            return None;
        }
        let alive = matches!(report.lifecycle, Lifecycle::Running | Lifecycle::Verifying);
        (alive && report.life == self.life && !self.lifecycle.is_down()).then_some(report)
    }

    /// When a silent link is called so.
    pub(crate) fn unreachable_at(&self) -> Option<Mono> {
        let patience = self.policy.unreachable_after.max(3 * self.interval);
        match self.link {
            Link::Up { .. } | Link::Lost => Some(self.heard.after(patience)),
            Link::Left { back_by } => back_by,
        }
    }

    /// When the engine must look at this agent though nothing happened.
    pub(crate) fn next_due(&self, now: Mono, warm_at: Mono) -> Option<Mono> {
        let link = self.unreachable_at().and_then(|at| {
            let missing = at.after(self.policy.missing_after);
            // What is not concluded while warming up is looked at again right after.
            [at, at.max(warm_at), missing].into_iter().filter(|moment| *moment > now).min()
        });
        let act = self.act.as_ref().map(|act| act.due);
        let verify = self.verify.as_ref().map(|verify| verify.due).filter(|due| *due > now);
        let asked = self.asked.iter().map(|asked| asked.due).min();
        let waiting = self.waiting.as_ref().map(|waiting| waiting.until);
        let rival = self.rival.map(|rival| rival.last.after(RIVAL_GONE)).filter(|at| *at > now);
        [link, act, asked, verify, waiting, rival].into_iter().flatten().min()
    }

    /// A life has begun: whatever was counted belonged to the one before.
    pub(crate) fn begin_life(&mut self, life: Life, at: Wall, now: Mono) {
        self.life = Some(life);
        // By our own clock, as far as the two are known to be apart.
        self.started = Some(Wall(at.0.saturating_sub(self.clock_ahead.unwrap_or(0))));
        (self.shadowed, self.nudged) = (None, None);
        (self.untaken, self.saves) = (0, 0);
        let proven = self.treating.is_none() && self.act.is_none();
        self.lifecycle = if proven { Lifecycle::Running } else { Lifecycle::Verifying };
        let due = now.after(self.policy.startup_grace);
        self.verify = (!proven).then_some(Verification { life, due });
    }
}

/// Which cause an exit of its own has.
pub(crate) fn cause_of(exit: &Exit) -> Cause {
    use lubdub_shared::beat::ExitHow;
    if exit.oom {
        return Cause::OomKilled;
    }
    // HUP, INT, QUIT, KILL and TERM come from somebody; the others from the process's own fault.
    match exit.how {
        ExitHow::Signal(1 | 2 | 3 | 9 | 15) => Cause::KilledByOther,
        ExitHow::Signal(_) | ExitHow::Code(_) | ExitHow::Unknown(_) => Cause::Crashed,
    }
}

/// A sidecar that left on purpose: when it is missed.
pub(crate) fn left(reason: GoodbyeReason, back_within: Option<Duration>, now: Mono) -> Link {
    match reason {
        GoodbyeReason::AgentEnded | GoodbyeReason::Other => Link::Left { back_by: None },
        GoodbyeReason::Shutdown => Link::Left { back_by: back_within.map(|by| now.after(by)) },
    }
}
