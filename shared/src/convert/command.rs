//! Commands and their outcomes.

use super::words::Word as _;
use super::{Invalid, Required as _, duration, id, ms, pb};
use crate::command::{
    Command, CommandKind, Ending, Outcome, Precondition, Refusal, Requester, Survivor,
};
use crate::incident::Cause;
use crate::status::Lifecycle;
use crate::text::clip;

impl From<Command> for pb::Command {
    fn from(command: Command) -> Self {
        let (cause, requested_by, automatic) = match command.requested_by {
            Requester::Engine(cause) => (Some(cause.to_wire()), "engine".to_owned(), true),
            Requester::Person(name) => (None, name, false),
        };
        Self {
            id: command.id.as_bytes().to_vec(),
            kind: command.kind.to_wire(),
            life: command.life.map(|life| life.as_bytes().to_vec()).unwrap_or_default(),
            store: command.store.as_bytes().to_vec(),
            epoch: command.epoch,
            cause,
            precondition: Some(pb::Precondition { of: command.precondition.into() }),
            report: command.report,
            ttl_ms: ms(command.ttl),
            age_ms: ms(command.age),
            requested_by,
            automatic,
            reason: command.reason,
            dry_run: command.dry_run,
            agent: command.agent.to_string(),
        }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = Invalid;

    fn try_from(command: pb::Command) -> Result<Self, Invalid> {
        let requested_by = if command.automatic {
            let cause = command.cause.required("command.cause")?;
            Requester::Engine(Cause::from_wire("command.cause", cause)?)
        } else {
            Requester::Person(clip(command.requested_by.into()))
        };
        let precondition = command.precondition.required("command.precondition")?;
        let life = match command.life.as_slice() {
            [] => None,
            bytes => Some(id("command.life", bytes)?),
        };
        Ok(Self {
            id: id("command.id", &command.id)?,
            kind: CommandKind::from_wire("command.kind", command.kind)?,
            agent: command
                .agent
                .parse()
                .map_err(|_| Invalid::new("command.agent", "not an agent id"))?,
            life,
            store: id("command.store", &command.store)?,
            epoch: command.epoch,
            precondition: precondition.of.map_or(Precondition::Other, Into::into),
            report: command.report,
            ttl: duration(command.ttl_ms),
            age: duration(command.age_ms),
            requested_by,
            reason: clip(command.reason.into()),
            dry_run: command.dry_run,
        })
    }
}

impl From<Precondition> for Option<pb::precondition::Of> {
    fn from(precondition: Precondition) -> Self {
        use pb::precondition::Of;
        Some(match precondition {
            Precondition::LifeOnly => Of::LifeOnly(pb::LifeOnly {}),
            Precondition::Silent { beats, quiet } => {
                Of::Silent(pb::Silent { beats, quiet_ms: ms(quiet) })
            }
            Precondition::NoBeat { beats } => Of::NoBeat(pb::NoBeat { beats }),
            Precondition::Frozen { progress, quiet } => {
                Of::Frozen(pb::Frozen { progress, quiet_ms: ms(quiet) })
            }
            Precondition::SameLease { number } => Of::Lease(pb::SameLease { number }),
            Precondition::StillFailed { check } => Of::Failed(pb::StillFailed { check }),
            Precondition::StillPaused => Of::Paused(pb::StillPaused {}),
            Precondition::StillOverdue { over } => {
                Of::Overdue(pb::StillOverdue { over_ms: ms(over) })
            }
            Precondition::StillSpent => Of::Spent(pb::StillSpent {}),
            Precondition::StillInactive { quiet } => {
                Of::Inactive(pb::StillInactive { quiet_ms: ms(quiet) })
            }
            Precondition::Other => return None,
        })
    }
}

impl From<pb::precondition::Of> for Precondition {
    fn from(of: pb::precondition::Of) -> Self {
        use pb::precondition::Of;
        match of {
            Of::LifeOnly(pb::LifeOnly {}) => Self::LifeOnly,
            Of::Silent(pb::Silent { beats, quiet_ms }) => {
                Self::Silent { beats, quiet: duration(quiet_ms) }
            }
            Of::NoBeat(pb::NoBeat { beats }) => Self::NoBeat { beats },
            Of::Frozen(pb::Frozen { progress, quiet_ms }) => {
                Self::Frozen { progress, quiet: duration(quiet_ms) }
            }
            Of::Lease(pb::SameLease { number }) => Self::SameLease { number },
            Of::Failed(pb::StillFailed { check }) => {
                Self::StillFailed { check: clip(check.into()) }
            }
            Of::Paused(pb::StillPaused {}) => Self::StillPaused,
            Of::Overdue(pb::StillOverdue { over_ms }) => {
                Self::StillOverdue { over: duration(over_ms) }
            }
            Of::Spent(pb::StillSpent {}) => Self::StillSpent,
            Of::Inactive(pb::StillInactive { quiet_ms }) => {
                Self::StillInactive { quiet: duration(quiet_ms) }
            }
        }
    }
}

impl From<Outcome> for pb::Outcome {
    fn from(outcome: Outcome) -> Self {
        let (kind, refusal) = match outcome.ending {
            Ending::Done => (pb::OutcomeKind::Done, 0),
            Ending::Refused(refusal) => (pb::OutcomeKind::Refused, refusal.to_wire()),
            Ending::Expired => (pb::OutcomeKind::Expired, 0),
            Ending::Failed => (pb::OutcomeKind::Failed, 0),
            Ending::Other => (pb::OutcomeKind::Other, 0),
        };
        Self {
            command: outcome.command.as_bytes().to_vec(),
            kind: kind.into(),
            refusal,
            detail: outcome.detail,
            previous: outcome.previous.to_wire(),
            task_cancelled: outcome.task_cancelled,
            survivors: outcome.survivors.into_iter().map(Into::into).collect(),
            to: outcome.to.map(Into::into),
            evidence: outcome.evidence,
        }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = Invalid;

    fn try_from(outcome: pb::Outcome) -> Result<Self, Invalid> {
        let ending = match pb::OutcomeKind::try_from(outcome.kind) {
            Ok(pb::OutcomeKind::Unspecified) => return Err(Invalid::missing("outcome.kind")),
            Ok(pb::OutcomeKind::Done) => Ending::Done,
            Ok(pb::OutcomeKind::Refused) => {
                Ending::Refused(Refusal::from_wire("outcome.refusal", outcome.refusal)?)
            }
            Ok(pb::OutcomeKind::Expired) => Ending::Expired,
            Ok(pb::OutcomeKind::Failed) => Ending::Failed,
            Ok(pb::OutcomeKind::Other) | Err(_) => Ending::Other,
        };
        Ok(Self {
            command: id("outcome.command", &outcome.command)?,
            ending,
            detail: clip(outcome.detail.into()),
            previous: Lifecycle::from_wire("outcome.previous", outcome.previous)?,
            task_cancelled: outcome.task_cancelled,
            survivors: survivors(outcome.survivors),
            to: outcome.to.map(TryInto::try_into).transpose()?,
            evidence: outcome.evidence.map(|id| clip(id.into())),
        })
    }
}

impl From<Survivor> for pb::Survivor {
    fn from(survivor: Survivor) -> Self {
        Self { pid: survivor.pid, comm: survivor.comm, start_time: survivor.start_time }
    }
}

/// Members of a tree that an event names; more are not told.
const SURVIVORS_MAX: usize = 256;

/// Those that an event names.
pub(super) fn survivors(survivors: Vec<pb::Survivor>) -> Vec<Survivor> {
    survivors.into_iter().take(SURVIVORS_MAX).map(Into::into).collect()
}

impl From<pb::Survivor> for Survivor {
    fn from(survivor: pb::Survivor) -> Self {
        let pb::Survivor { pid, comm, start_time } = survivor;
        Self { pid, comm: clip(comm.into()), start_time }
    }
}
