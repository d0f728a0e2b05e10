//! The ladder: which act a verdict leads to, and what must still be true when it is carried out.
//!
//! It is asked only when a report has just arrived, so a verdict can never be older than what it
//! rests on. `notify` is the incident itself; this file knows the rungs above it.

use std::time::Duration;

use lubdub_shared::command::{CommandKind, Precondition};
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Act, Exhausted, may_act};
use lubdub_shared::status::Status;

use super::verify::Proof;
use crate::agent::Agent;

/// An act that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) kind: CommandKind,
    pub(crate) cause: Cause,
    pub(crate) precondition: Precondition,
    pub(crate) reason: String,
}

/// The act that the findings of the moment call for.
pub(crate) fn step(agent: &Agent, proof: &Proof) -> Option<Step> {
    if let Proof::Failed { missing, precondition } = proof
        && let Some(treated) = &agent.treating
        && treated.finding.level == Status::Critical
    {
        return Some(Step {
            kind: restart_or_end(agent),
            cause: treated.finding.cause,
            precondition: precondition.clone(),
            reason: format!("the new life did not show {missing}"),
        });
    }
    let report = agent.living()?;
    let seen = agent.findings.iter().filter(|standing| !standing.treated);
    let finding = seen
        .map(|standing| &standing.finding)
        .filter(|finding| finding.level == Status::Critical && may_act(finding.cause))
        .filter(|finding| agent.policy.act(finding.cause) >= Act::Restart)
        .find(|finding| is_enough(agent, finding))?;
    let precondition = precondition(finding.cause, agent)?;
    debug_assert!(precondition.check(&report.ages).is_ok(), "the verdict contradicts its report");
    Some(Step {
        kind: match agent.policy.act(finding.cause) {
            Act::Apoptosis => CommandKind::Apoptosis,
            Act::None | Act::Notify | Act::Restart => restart_or_end(agent),
        },
        cause: finding.cause,
        precondition,
        reason: format!("{}: {}", finding.cause, finding.detail),
    })
}

/// Two independent reasons, or one hard fact. All but frozen progress are facts by themselves;
/// that one needs inactivity or a second finding.
fn is_enough(agent: &Agent, finding: &Finding) -> bool {
    if finding.cause != Cause::NoProgress {
        return true;
    }
    let inert = agent.living().is_some_and(|r| Late::of(&r.ages, &agent.policy).inert);
    let another = |other: &Finding| {
        !matches!(other.cause, Cause::NoProgress | Cause::Paused)
            && other.level.severity() >= Status::Warning.severity()
    };
    let seen = agent.findings.iter().filter(|standing| !standing.treated);
    inert || seen.map(|standing| &standing.finding).any(another)
}

fn restart_or_end(agent: &Agent) -> CommandKind {
    match agent.policy.restart.exhausted {
        _ if !agent.ledger.is_spent() => CommandKind::Restart,
        Exhausted::Apoptosis => CommandKind::Apoptosis,
        Exhausted::Quarantine => CommandKind::Stop,
    }
}

fn precondition(cause: Cause, agent: &Agent) -> Option<Precondition> {
    let ages = &agent.living()?.ages;
    match cause {
        Cause::Silent => {
            let quiet = ages.deadline?.after;
            Some(Precondition::Silent { beats: ages.beats, quiet })
        }
        Cause::NeverSeen => {
            let quiet = agent.policy.startup_grace;
            Some(Precondition::Silent { beats: ages.beats, quiet })
        }
        Cause::BusySilent => Some(Precondition::NoBeat { beats: ages.beats }),
        Cause::NoProgress => {
            let inert = Late::of(ages, &agent.policy).inert;
            let quiet = agent.policy.progress_deadline(ages.phase);
            let quiet = if inert { quiet } else { Duration::ZERO };
            Some(Precondition::Frozen { progress: ages.progress.counter, quiet })
        }
        Cause::LeaseExpired => {
            ages.lease.map(|lease| Precondition::SameLease { number: lease.number })
        }
        Cause::ReportedFailure => {
            let worst = ages.failed.first()?;
            Some(Precondition::StillFailed { check: worst.name.clone() })
        }
        Cause::Paused => Some(Precondition::StillPaused),
        Cause::Inactive => Some(Precondition::StillInactive { quiet: agent.policy.inactive_after }),
        Cause::Exited
        | Cause::Crashed
        | Cause::KilledByOther
        | Cause::CrashLoop
        | Cause::Unreachable
        | Cause::Missing
        | Cause::Duplicate
        | Cause::SickDisk => None,
    }
}
