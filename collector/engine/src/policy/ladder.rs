//! The ladder: which act a verdict leads to, and what must still be true when it is carried out.
//!
//! It is asked only when a report has just arrived, so a verdict can never be older than what it
//! rests on. `notify` is the incident itself; this file knows the rungs above it.

use lubdub_shared::cause::Cause;
use lubdub_shared::command::{CommandKind, Precondition};
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Act, Exhausted};
use lubdub_shared::status::Status;
use lubdub_shared::time::{self, Mono};

use super::fusion::{self, Beside, Leads};
use super::verify::Proof;
use crate::agent::Agent;
use crate::detect;
use crate::finding::{ActiveFinding, Finding};
use crate::words;

/// An act that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) kind: CommandKind,
    pub(crate) cause: Cause,
    pub(crate) precondition: Precondition,
    pub(crate) reason: String,
}

/// The act that the findings of the moment call for.
pub(crate) fn step(agent: &Agent, proof: &Proof, now: Mono) -> Option<Step> {
    let step = due(agent, proof)?;
    Some(quarantined_when_flapping(step, agent, now))
}

fn due(agent: &Agent, proof: &Proof) -> Option<Step> {
    if let Proof::Failed { missing, precondition } = proof
        && let Some(treated) = agent.treatment.trouble()
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
    let seen = agent.seen.findings.iter().filter(|standing| !standing.treated);
    let finding = seen
        .map(|standing| &standing.finding)
        .filter(|finding| agent.policy.act(finding.cause) >= Act::Restart)
        .find(|finding| is_enough(agent, finding))?;
    let precondition = detect::guard(finding.cause, &report.ages, &agent.policy)?;
    debug_assert!(precondition.check(&report.ages).is_ok(), "the verdict contradicts its report");
    Some(Step {
        kind: kind_of(agent.policy.act(finding.cause), agent),
        cause: finding.cause,
        precondition,
        reason: words::line(finding),
    })
}

/// A restart of what comes and goes helps as little as the one before. The gate holds it for a
/// while; what still calls for one then is a quarantine.
fn quarantined_when_flapping(step: Step, agent: &Agent, now: Mono) -> Step {
    let hold_max = agent.policy.limits.flapping.hold_max;
    let held = agent.seen.flaps.since().is_some_and(|since| now.since(since) >= hold_max);
    if !held || step.kind != CommandKind::Restart {
        return step;
    }
    let reason = format!("flapping for more than {}; {}", time::words(hold_max), step.reason);
    Step { kind: CommandKind::Stop, reason, ..step }
}

/// What stands beside a finding is enough to act on it.
fn is_enough(agent: &Agent, finding: &Finding) -> bool {
    fusion::leads(finding.cause, finding.level, beside(agent, finding)) == Leads::Act
}

fn beside(agent: &Agent, finding: &Finding) -> Beside {
    let seen = agent.seen.findings.iter().filter(|standing| !standing.treated);
    let second = |other: &Finding| {
        other.cause != finding.cause && fusion::is_second(other.cause, other.level)
    };
    Beside {
        inert: agent.living().is_some_and(|r| Late::of(&r.ages, &agent.policy).inert),
        second: seen.map(|standing| &standing.finding).any(second),
    }
}

/// The finding for which the agent itself is to be told now, by its place, and why.
pub(crate) fn nudge(agent: &Agent) -> Option<(usize, String)> {
    agent.living()?;
    let asks = |standing: &ActiveFinding| {
        let finding = &standing.finding;
        let beside = Beside { inert: false, second: false };
        !standing.treated
            && !standing.nudged
            && agent.policy.act(finding.cause) == Act::Nudge
            && finding.level.severity() >= Status::Warning.severity()
            && fusion::leads(finding.cause, finding.level, beside) >= Leads::Nudge
    };
    let at = agent.seen.findings.iter().position(asks)?;
    let finding = &agent.seen.findings[at].finding;
    Some((at, words::line(finding)))
}

fn kind_of(act: Act, agent: &Agent) -> CommandKind {
    match act {
        Act::Apoptosis => CommandKind::Apoptosis,
        Act::None | Act::Notify | Act::Nudge | Act::Restart => restart_or_end(agent),
    }
}

fn restart_or_end(agent: &Agent) -> CommandKind {
    match agent.policy.restart.exhausted {
        _ if !agent.ledger().is_spent() => CommandKind::Restart,
        Exhausted::Apoptosis => CommandKind::Apoptosis,
        Exhausted::Quarantine => CommandKind::Stop,
    }
}
