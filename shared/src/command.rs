//! What a collector asks of a sidecar, and how it went.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beat::Ages;
use crate::id::{AgentId, CommandId, Life, LifeId, StoreId};
use crate::incident::Cause;
use crate::status::{Lifecycle, words};

/// How long an automatic command may be carried out after it was decided.
pub const AUTOMATIC_TTL: Duration = Duration::from_secs(30);

words! {
    /// Closed: nothing in a command can name a program, a path or an argument. A kind that is not
    /// known is refused.
    open CommandKind {
        /// Stop the whole tree, then start anew.
        Restart = "restart",
        /// Stop, and stay down. Sent by the engine it is a quarantine.
        Stop = "stop",
        /// End a stop or a quarantine.
        Start = "start",
        /// The final, graceful, recorded end.
        Apoptosis = "apoptosis",
        /// End an apoptosis.
        Revive = "revive",
        /// Tell the agent itself, through its long poll or a local hook.
        Nudge = "nudge",
        /// Gather evidence of how it is now.
        Capture = "capture",
    }
}

impl CommandKind {
    /// It may wait for a sidecar that is not there.
    pub fn may_wait(self) -> bool {
        match self {
            Self::Stop | Self::Start | Self::Revive => true,
            Self::Restart | Self::Apoptosis | Self::Nudge | Self::Capture | Self::Other => false,
        }
    }

    /// It ends a living tree.
    pub fn is_destructive(self) -> bool {
        match self {
            Self::Restart | Self::Stop | Self::Apoptosis => true,
            Self::Start | Self::Revive | Self::Nudge | Self::Capture | Self::Other => false,
        }
    }

    /// It leaves the process as it is, so nothing waits for it.
    pub fn is_gentle(self) -> bool {
        matches!(self, Self::Nudge | Self::Capture)
    }

    /// It is meant for one life, and void for another.
    pub fn is_for_a_life(self) -> bool {
        self.is_destructive() || self.is_gentle()
    }
}

/// What must still be true when the sidecar acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precondition {
    /// Only the life must match: a person asked.
    LifeOnly,
    /// No newer beat, and still inactive.
    Silent {
        /// Beats of the life when it was decided.
        beats: u64,
        /// No activity for at least this long.
        quiet: Duration,
    },
    /// No newer beat.
    NoBeat {
        /// Beats of the life when it was decided.
        beats: u64,
    },
    /// Progress has not moved.
    Frozen {
        /// The counter when it was decided.
        progress: u64,
        /// No activity for at least this long; zero where it rested on something else.
        quiet: Duration,
    },
    /// The same lease, still over.
    SameLease {
        /// Its number.
        number: u64,
    },
    /// The named check has still failed.
    StillFailed {
        /// Its name.
        check: String,
    },
    /// Still stopped or frozen.
    StillPaused,
    /// A task that is open is still older than this.
    StillOverdue {
        /// What it may be.
        over: Duration,
    },
    /// Nothing is left of what the agent may spend.
    StillSpent,
    /// Still no activity.
    StillInactive {
        /// For at least this long.
        quiet: Duration,
    },
    /// One that this version does not know, and so cannot check: refused.
    #[serde(other)]
    Other,
}

impl Precondition {
    /// Holds the precondition against a fresh sample.
    ///
    /// # Errors
    /// What the agent did meanwhile, in words.
    pub fn check(&self, fresh: &Ages) -> Result<(), String> {
        let beat = |beats: u64| match fresh.beats.checked_sub(beats) {
            None | Some(0) => Ok(()),
            Some(newer) => Err(format!("{newer} newer beat(s) arrived")),
        };
        let inactive = |quiet: Duration| match fresh.activity {
            Some(last) if fresh.quiet < quiet => Err(format!("{} activity was seen", last.kind)),
            Some(_) | None => Ok(()),
        };
        let moves = || match fresh.stands_still() || fresh.deadline.is_none() {
            true => Err("it is paused, leased or waits now".to_owned()),
            false => Ok(()),
        };
        match self {
            Self::LifeOnly => Ok(()),
            Self::Silent { beats, quiet } => {
                beat(*beats).and_then(|()| moves()).and_then(|()| inactive(*quiet))?;
                // READY, a phase, a lease or progress prove life as well as a beat does.
                if fresh.silence >= *quiet { Ok(()) } else { Err("it spoke again".to_owned()) }
            }
            Self::NoBeat { beats } => beat(*beats).and_then(|()| moves()),
            Self::Frozen { progress, quiet } => {
                if fresh.progress.counter != *progress {
                    let now = fresh.progress.counter;
                    return Err(format!("progress moved from {progress} to {now}"));
                }
                if !fresh.progress.owed {
                    return Err("no progress is owed any more".to_owned());
                }
                moves().and_then(|()| inactive(*quiet))
            }
            Self::SameLease { number } => match fresh.lease {
                Some(lease) if lease.number == *number && lease.over.is_some() => Ok(()),
                Some(_) | None => Err("the lease was ended or renewed".to_owned()),
            },
            Self::StillFailed { check } if fresh.failed.iter().any(|f| f.name == *check) => Ok(()),
            Self::StillFailed { check } => Err(format!("the failure of {check:?} was withdrawn")),
            Self::StillOverdue { over } if fresh.oldest_task.is_some_and(|age| age >= *over) => {
                Ok(())
            }
            Self::StillOverdue { .. } => Err("no open task is too old any more".to_owned()),
            Self::StillSpent if fresh.spent => Ok(()),
            Self::StillSpent => Err("there is energy again".to_owned()),
            Self::StillPaused if fresh.paused.is_some() => Ok(()),
            Self::StillPaused => Err("the process runs again".to_owned()),
            Self::StillInactive { quiet } => moves().and_then(|()| inactive(*quiet)),
            Self::Other => Err("what must still be true is not known here".to_owned()),
        }
    }
}

words! {
    /// Whose will an act is.
    Origin {
        /// The collector's engine.
        Engine = "engine",
        /// A person.
        Person = "person",
        /// The sidecar's own schedule.
        Schedule = "schedule",
    }
}

/// Who asked for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requester {
    /// The collector's engine, for this cause.
    Engine(Cause),
    /// A person, by the name they gave.
    Person(String),
}

impl Requester {
    /// Whose will it is.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Engine(_) => Origin::Engine,
            Self::Person(_) => Origin::Person,
        }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(cause) => write!(f, "engine ({cause})"),
            Self::Person(name) => f.write_str(name),
        }
    }
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The idempotency key.
    pub id: CommandId,
    /// What is asked.
    pub kind: CommandKind,
    /// Of whom.
    pub agent: AgentId,
    /// The life that it is meant for; `None` for start and revive.
    pub life: Option<LifeId>,
    /// The store that decided, and its epoch.
    pub store: StoreId,
    /// Lower epochs of the same store are refused.
    pub epoch: u64,
    /// What must still be true.
    pub precondition: Precondition,
    /// The report that the decision rests on; for a person's, the newest one when it was sent. 0:
    /// none.
    pub report: u64,
    /// How long after the decision it may be carried out.
    pub ttl: Duration,
    /// Time since the decision when it was sent.
    pub age: Duration,
    /// Who asked.
    pub requested_by: Requester,
    /// For the record.
    pub reason: String,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

words! {
    /// Why a sidecar said no.
    open Refusal {
        /// The agent moved on: a save.
        PreconditionFailed = "precondition_failed",
        /// Nobody at the agent listens for it.
        NobodyListens = "nobody_listens",
        /// It was meant for another agent.
        WrongAgent = "wrong_agent",
        /// The life that it was meant for is over.
        WrongLife = "wrong_life",
        /// A newer epoch of the store was seen.
        Fenced = "fenced",
        /// The restart schedule is spent.
        OverBudget = "over_budget",
        /// The lifecycle has no such step now.
        WrongState = "wrong_state",
        /// Another command is being carried out.
        Busy = "busy",
        /// The intent could not be written down.
        SickDisk = "sick_disk",
        /// Its kind, or what must still be true, is not known to this sidecar.
        Unsupported = "unsupported",
    }
}

/// What of a tree could not be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// In the sidecar's pid namespace.
    pub pid: u32,
    /// The kernel's short name of it; hostile text.
    pub comm: String,
    /// Ticks since boot.
    pub start_time: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Carried out.
    Done,
    /// Not carried out, and why.
    Refused(Refusal),
    /// Too late.
    Expired,
    /// Tried, and it did not work.
    Failed,
    /// In a way that this version does not know.
    #[serde(other)]
    Other,
}

/// A sidecar's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which command.
    pub command: CommandId,
    /// How it ended.
    pub ending: Ending,
    /// In words.
    pub detail: String,
    /// The lifecycle before it.
    pub previous: Lifecycle,
    /// A task was open when the agent was stopped.
    pub task_cancelled: bool,
    /// What could not be ended.
    pub survivors: Vec<Survivor>,
    /// The life that it began.
    pub to: Option<Life>,
    /// Id of the evidence that was gathered for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::{ActivityKind, Deadline, LastActivity, Progress};

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn preconditions_against_a_fresh_sample() {
        let active = |age| Some(LastActivity { age: seconds(age), kind: ActivityKind::Cpu });
        let ages = Ages {
            beats: 7,
            deadline: Some(Deadline { after: seconds(3), explicit: false }),
            activity: active(4),
            quiet: seconds(4),
            silence: seconds(3),
            progress: Progress { counter: 40, owed: true, ..Progress::default() },
            ..Ages::default()
        };
        let silent = Precondition::Silent { beats: 7, quiet: seconds(3) };
        assert_eq!(silent.check(&ages), Ok(()));
        assert!(silent.check(&Ages { beats: 8, ..ages.clone() }).is_err());
        let active_again = Ages { activity: active(2), quiet: seconds(2), ..ages.clone() };
        assert!(silent.check(&active_again).is_err());
        assert!(silent.check(&Ages { silence: seconds(1), ..ages.clone() }).is_err(), "READY");
        assert!(silent.check(&Ages { deadline: None, ..ages.clone() }).is_err(), "idle");
        assert_eq!(Precondition::NoBeat { beats: 7 }.check(&ages), Ok(()));
        assert_eq!(Precondition::Frozen { progress: 40, quiet: seconds(4) }.check(&ages), Ok(()));
        assert!(Precondition::Frozen { progress: 40, quiet: seconds(5) }.check(&ages).is_err());
        let moved = Precondition::Frozen { progress: 39, quiet: seconds(4) }.check(&ages);
        assert_eq!(moved, Err("progress moved from 39 to 40".to_owned()));
        assert!(Precondition::StillPaused.check(&ages).is_err());
        assert!(Precondition::SameLease { number: 1 }.check(&ages).is_err());
        assert!(Precondition::StillFailed { check: "self".to_owned() }.check(&ages).is_err());
    }
}
