//! Incidents: one trouble of one agent, opened by a finding, resolved when it is gone, reopened
//! when it comes back within `stable_after`.
//!
//! One incident a family of causes: Unreachable grows into Missing, a crash into a crash loop, a
//! busy silence into a silent one. So a trouble that gets worse is one story, not three.

use std::sync::Arc;

use lubdub_shared::cause::Cause;
use lubdub_shared::id::{CommandId, IncidentId};
use lubdub_shared::incident::{Action, ActionOutcome, Incident};
use lubdub_shared::policy::Act;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Now, Wall};

use crate::agent::Agent;
use crate::finding::Finding;
use crate::words;

/// Resolved incidents that are kept for reopening; the oldest is forgotten (the store has it).
const RESOLVED_MAX: usize = 8;

/// Actions that one incident keeps; the oldest is forgotten.
const ACTIONS_MAX: usize = 64;

/// Brings the incidents in step with the findings. Returns those that changed.
pub(crate) fn sync(agent: &mut Agent, now: Now, rng: &mut fastrand::Rng) -> Vec<Incident> {
    let mut changed = Vec::new();
    let findings = std::mem::take(&mut agent.seen.findings);
    let hold_max = agent.policy.limits.flapping.hold_max;
    let flaps = agent.seen.flaps.since().is_some_and(|since| now.mono.since(since) < hold_max);
    for standing in &findings {
        // Of what comes and goes one incident is told, for a while; what is Critical is told in
        // any case, and so is that it flaps, or waits for a person.
        let held = flaps
            && !matches!(standing.finding.cause, Cause::Flapping | Cause::WaitingHuman)
            && standing.finding.level != Status::Critical;
        if agent.policy.act(standing.finding.cause) > Act::None && !held {
            changed.extend(raise(agent, &standing.finding, now.wall, rng));
        }
    }
    let known = agent.is_connected() && agent.seen.report.is_some();
    let link_is_gone = findings.iter().any(|s| s.finding.cause.family() == Cause::Unreachable);
    let stands = |incident: &Incident| {
        findings.iter().any(|s| s.finding.cause.family() == incident.cause.family())
    };
    let over = |incident: &Incident| incident.resolved.is_none() && !stands(incident);
    // Nothing is known of an agent that is not heard: its troubles are not over by that.
    if known && !link_is_gone && agent.incidents.iter().any(over) {
        let incidents = Arc::make_mut(&mut agent.incidents);
        for incident in incidents.iter_mut().filter(|incident| over(incident)) {
            incident.resolved = Some(not_before(incident, now.wall));
            changed.push(incident.clone());
        }
        forget_old(incidents);
    }
    agent.seen.findings = findings;
    changed
}

fn raise(
    agent: &mut Agent,
    finding: &Finding,
    now: Wall,
    rng: &mut fastrand::Rng,
) -> Option<Incident> {
    let window = agent.policy.restart.stable_after;
    let incarnation = agent.seen.life.map_or(0, |life| life.ordinal.get());
    let same = agent.incidents.iter().rposition(|incident| {
        incident.cause.family() == finding.cause.family()
            && incident.resolved.is_none_or(|at| at.until(now) <= window)
    });
    let Some(same) = same else {
        let incident = Incident {
            id: IncidentId::ordered(now, rng),
            cause: finding.cause,
            level: finding.level,
            opened: now,
            resolved: None,
            incarnation,
            summary: words::detail(finding),
            actions: Vec::new(),
        };
        let incidents = Arc::make_mut(&mut agent.incidents);
        // Most agents have one at most; when all are lost at once each byte is there many times.
        incidents.reserve_exact(1);
        incidents.push(incident.clone());
        return Some(incident);
    };
    let known = &agent.incidents[same];
    let worse = finding.level.severity() > known.level.severity();
    if known.resolved.is_none() && known.cause == finding.cause && !worse {
        return None;
    }
    let incident = &mut Arc::make_mut(&mut agent.incidents)[same];
    incident.resolved = None;
    incident.cause = finding.cause;
    if worse {
        incident.level = finding.level;
    }
    incident.summary = words::detail(finding);
    Some(incident.clone())
}

/// Writes an act into the incident of its cause; the summary says what the newest act of the
/// ladder rests on. Returns the incident.
pub(crate) fn add_action(
    agent: &mut Agent,
    cause: Cause,
    action: Action,
    rests_on: Option<&str>,
) -> Option<Incident> {
    let open = |incident: &&mut Incident| {
        incident.cause.family() == cause.family() && incident.resolved.is_none()
    };
    let incident = Arc::make_mut(&mut agent.incidents).iter_mut().rev().find(open)?;
    if incident.actions.len() == ACTIONS_MAX {
        incident.actions.remove(0);
    }
    if let Some(rests_on) = rests_on {
        rests_on.clone_into(&mut incident.summary);
    }
    let at = not_before(incident, action.at);
    incident.actions.push(Action { at, ..action });
    Some(incident.clone())
}

/// How an act ended.
pub(crate) struct Told<'d> {
    pub(crate) outcome: ActionOutcome,
    pub(crate) detail: &'d str,
    /// Id of the evidence that was gathered for it.
    pub(crate) evidence: Option<String>,
}

/// Writes how an act ended. Returns the incident that it stands in.
pub(crate) fn end_action(
    agent: &mut Agent,
    command: CommandId,
    told: Told<'_>,
    now: Wall,
) -> Option<Incident> {
    Arc::make_mut(&mut agent.incidents).iter_mut().rev().find_map(|incident| {
        let now = not_before(incident, now);
        let action = incident.actions.iter_mut().find(|action| action.command == command)?;
        action.outcome = told.outcome;
        told.detail.clone_into(&mut action.detail);
        action.evidence.clone_from(&told.evidence);
        action.at = now;
        Some(incident.clone())
    })
}

/// The wall clock steps; within an incident nothing is before what came before it.
pub(crate) fn not_before(incident: &Incident, now: Wall) -> Wall {
    incident.actions.iter().map(|action| action.at).fold(now.max(incident.opened), Wall::max)
}

fn forget_old(incidents: &mut Vec<Incident>) {
    let resolved = incidents.iter().filter(|i| i.resolved.is_some()).count();
    let mut surplus = resolved.saturating_sub(RESOLVED_MAX);
    incidents.retain(|incident| {
        let forget = surplus > 0 && incident.resolved.is_some();
        surplus -= usize::from(forget);
        !forget
    });
}
