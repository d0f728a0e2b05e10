//! What people see.

use super::words::Word as _;
use super::{Invalid, Required as _, duration, id, ms, pb, stamp, wall};
use crate::command::CommandKind;
use crate::id::{AgentId, CommandId};
use crate::incident::{Action, ActionOutcome, Cause, Incident};
use crate::session::EventKind;
use crate::status::{Lifecycle, Status};
use crate::view::{AgentView, CollectorView, EventView, IncidentView, Next, Rung, TransitionView};

/// An act that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub kind: CommandKind,
    /// Why.
    pub reason: String,
    /// Who.
    pub requested_by: String,
    /// How long to wait for the outcome.
    pub wait: std::time::Duration,
    /// The idempotency key that whoever asks has chosen.
    pub command: Option<CommandId>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// How long it may wait for a sidecar that is not there.
    pub expires: std::time::Duration,
}

/// How long a command may wait for a sidecar that is not there, unless somebody says otherwise.
const EXPIRES: std::time::Duration = std::time::Duration::from_secs(60 * 60);

impl TryFrom<&pb::ActRequest> for Asked {
    type Error = Invalid;

    fn try_from(request: &pb::ActRequest) -> Result<Self, Invalid> {
        Ok(Self {
            kind: CommandKind::from_wire("kind", request.kind)?,
            reason: said("reason", &request.reason)?,
            requested_by: said("requested_by", &request.requested_by)?,
            wait: duration(request.wait_ms),
            command: match request.command.as_slice() {
                [] => None,
                bytes => Some(id("command", bytes)?),
            },
            dry_run: request.dry_run,
            expires: match request.expires_ms {
                0 => EXPIRES,
                ms => duration(ms),
            },
        })
    }
}

/// Who wants an agent to be forgotten, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgetting {
    /// Why.
    pub reason: String,
    /// Who.
    pub requested_by: String,
}

impl TryFrom<&pb::ForgetRequest> for Forgetting {
    type Error = Invalid;

    fn try_from(request: &pb::ForgetRequest) -> Result<Self, Invalid> {
        Ok(Self {
            reason: said("reason", &request.reason)?,
            requested_by: said("requested_by", &request.requested_by)?,
        })
    }
}

/// A text that must be there.
fn said(field: &'static str, text: &str) -> Result<String, Invalid> {
    match text.trim() {
        "" => Err(Invalid::missing(field)),
        text => Ok(crate::text::clip(text.into())),
    }
}

impl From<CommandKind> for pb::CommandKind {
    fn from(kind: CommandKind) -> Self {
        Self::try_from(kind.to_wire()).unwrap_or(Self::Unspecified)
    }
}

impl From<ActionOutcome> for pb::ActionOutcome {
    fn from(outcome: ActionOutcome) -> Self {
        Self::try_from(outcome.to_wire()).unwrap_or(Self::Unspecified)
    }
}

impl TryFrom<pb::ActionOutcome> for ActionOutcome {
    type Error = Invalid;

    fn try_from(outcome: pb::ActionOutcome) -> Result<Self, Invalid> {
        Self::from_wire("outcome", outcome.into())
    }
}

impl From<CollectorView> for pb::CollectorInfo {
    fn from(view: CollectorView) -> Self {
        let CollectorView { now, version, started, degraded } = view;
        Self { version, started: Some(stamp(started)), degraded, now: now.map(stamp) }
    }
}

impl TryFrom<pb::CollectorInfo> for CollectorView {
    type Error = Invalid;

    fn try_from(info: pb::CollectorInfo) -> Result<Self, Invalid> {
        let started = wall(info.started.required("collector.started")?);
        let now = info.now.map(wall);
        Ok(Self { now, version: info.version, started, degraded: info.degraded })
    }
}

fn rung(next: &Next) -> pb::NextRung {
    pb::NextRung {
        rung: next.rung.to_string(),
        in_ms: next.within.map(ms).unwrap_or_default(),
        why: next.why.clone().unwrap_or_default(),
    }
}

/// Statuses by their numbers on the wire.
///
/// # Errors
/// One is unknown; which.
pub fn statuses(numbers: Vec<i32>) -> Result<Vec<Status>, Invalid> {
    numbers.into_iter().map(|number| Status::from_wire("statuses", number)).collect()
}

/// Causes by their numbers on the wire.
///
/// # Errors
/// One is unknown; which.
pub fn causes(numbers: Vec<i32>) -> Result<Vec<Cause>, Invalid> {
    numbers.into_iter().map(|number| Cause::from_wire("causes", number)).collect()
}

/// What comes at a moment that is known, or else what is held back.
fn next(due: Option<pb::NextRung>, held: Option<pb::NextRung>) -> Option<Next> {
    let within = due.as_ref().map(|due| duration(due.in_ms));
    let pb::NextRung { rung, why, .. } = due.or(held)?;
    let rung = Rung::from_word(&rung).unwrap_or(Rung::Other);
    Some(Next { rung, within, why: Some(why).filter(|why| !why.is_empty()) })
}

impl From<AgentView> for pb::AgentView {
    fn from(view: AgentView) -> Self {
        Self {
            agent: view.agent.to_string(),
            status: view.status.to_wire(),
            findings: view.findings.into_iter().map(Into::into).collect(),
            lifecycle: view.lifecycle.to_wire(),
            connected: view.connected,
            life: view.life.map(Into::into),
            started: view.started.map(stamp),
            clock_ahead_ms: view.clock_ahead,
            pid: view.pid,
            host: view.host,
            labels: view.labels.into_iter().collect(),
            policy: view.policy,
            mode: view.mode,
            ledger: Some(view.ledger.into()),
            next: view.next.as_ref().filter(|next| next.within.is_some()).map(rung),
            held_rung: view.next.as_ref().filter(|next| next.within.is_none()).map(rung),
            report: view.report.map(Into::into),
            report_age_ms: ms(view.report_age),
            held: view.held.unwrap_or_default(),
            last_act_at: view.last_act.as_ref().map(|(at, _)| stamp(*at)),
            last_act: view.last_act.map(|(_, act)| act).unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::AgentView> for AgentView {
    type Error = Invalid;

    fn try_from(view: pb::AgentView) -> Result<Self, Invalid> {
        let findings = view.findings.into_iter().map(TryInto::try_into);
        let agent = view.agent.parse();
        Ok(Self {
            agent: agent.map_err(|_| Invalid::new("agent", "not an agent id"))?,
            status: Status::from_wire("status", view.status)?,
            findings: findings.collect::<Result<_, _>>()?,
            lifecycle: Lifecycle::from_wire("lifecycle", view.lifecycle)?,
            connected: view.connected,
            life: view.life.map(TryInto::try_into).transpose()?,
            started: view.started.map(wall),
            clock_ahead: view.clock_ahead_ms,
            pid: view.pid,
            host: view.host,
            labels: view.labels.into_iter().collect(),
            policy: view.policy,
            mode: view.mode,
            ledger: view.ledger.required("ledger")?.into(),
            next: next(view.next, view.held_rung),
            report: view.report.map(TryInto::try_into).transpose()?,
            report_age: duration(view.report_age_ms),
            held: Some(view.held).filter(|held| !held.is_empty()),
            last_act: view.last_act_at.map(|at| (wall(at), view.last_act)),
        })
    }
}

impl From<IncidentView> for pb::Incident {
    fn from(view: IncidentView) -> Self {
        let incident = view.incident;
        let action = |action: Action| pb::IncidentAction {
            command: action.command.as_bytes().to_vec(),
            kind: action.kind.to_wire(),
            outcome: action.outcome.to_wire(),
            detail: action.detail,
            at: Some(stamp(action.at)),
            evidence: action.evidence,
        };
        Self {
            id: incident.id.as_bytes().to_vec(),
            agent: view.agent.map(|agent| agent.to_string()).unwrap_or_default(),
            cause: incident.cause.to_wire(),
            level: incident.level.to_wire(),
            opened: Some(stamp(incident.opened)),
            resolved: incident.resolved.map(stamp),
            incarnation: incident.incarnation,
            summary: incident.summary,
            actions: incident.actions.into_iter().map(action).collect(),
        }
    }
}

impl TryFrom<pb::Incident> for IncidentView {
    type Error = Invalid;

    fn try_from(incident: pb::Incident) -> Result<Self, Invalid> {
        let action = |a: pb::IncidentAction| {
            Ok(Action {
                command: id("action.command", &a.command)?,
                kind: CommandKind::from_wire("action.kind", a.kind)?,
                outcome: ActionOutcome::from_wire("action.outcome", a.outcome)?,
                detail: a.detail,
                at: wall(a.at.required("action.at")?),
                evidence: a.evidence,
            })
        };
        Ok(Self {
            agent: agent_or_none(&incident.agent)?,
            incident: Incident {
                id: id("incident.id", &incident.id)?,
                cause: Cause::from_wire("incident.cause", incident.cause)?,
                level: Status::from_wire("incident.level", incident.level)?,
                opened: wall(incident.opened.required("incident.opened")?),
                resolved: incident.resolved.map(wall),
                incarnation: incident.incarnation,
                summary: incident.summary,
                actions: incident.actions.into_iter().map(action).collect::<Result<_, _>>()?,
            },
        })
    }
}

/// Empty is the collector itself.
fn agent_or_none(text: &str) -> Result<Option<AgentId>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Invalid::new("agent", "not an agent id"))
}

impl From<EventView> for pb::RecordedEvent {
    fn from(view: EventView) -> Self {
        Self {
            seq: view.seq,
            at: Some(stamp(view.at)),
            agent: view.agent.map(|agent| agent.to_string()).unwrap_or_default(),
            incarnation: view.incarnation.unwrap_or_default(),
            kind: view.kind.to_string(),
            detail: view.detail,
        }
    }
}

impl TryFrom<pb::RecordedEvent> for EventView {
    type Error = Invalid;

    fn try_from(event: pb::RecordedEvent) -> Result<Self, Invalid> {
        Ok(Self {
            seq: event.seq,
            at: wall(event.at.required("event.at")?),
            agent: agent_or_none(&event.agent)?,
            incarnation: Some(event.incarnation).filter(|&ordinal| ordinal > 0),
            kind: EventKind::from_any_word(&event.kind),
            detail: event.detail,
        })
    }
}

impl From<TransitionView> for pb::Transition {
    fn from(view: TransitionView) -> Self {
        Self {
            at: Some(stamp(view.at)),
            agent: view.agent.to_string(),
            from: view.from.to_wire(),
            to: view.to.to_wire(),
            lifecycle: view.lifecycle.to_wire(),
            cause: view.cause.map_or(0, |cause| cause.to_wire()),
            why: view.why,
        }
    }
}
