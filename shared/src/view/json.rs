//! The JSON contracts, made of views. Keys are stable: extended, never renamed; absent is null.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{
    AgentView, CollectorView, EventView, Explanation, FindingView, IncidentView, Next, Rung,
    Shorter, WhatIf,
};
use crate::beat::{Phase, Report, ResponseTime, TaskCounts};
use crate::command::CommandKind;
use crate::facts::Facts;
use crate::id::{AgentId, IncidentId, StoreId};
use crate::incident::{ActionOutcome, Cause};
use crate::session::EventKind;
use crate::status::{Lifecycle, Status};
use crate::time::{Wall, millis};

/// One line of `events -o json`.
#[derive(Debug, Serialize)]
pub struct EventJson {
    schema: u8,
    store: Option<String>,
    seq: u64,
    at: Wall,
    agent: Option<String>,
    incarnation: Option<u32>,
    kind: EventKind,
    detail: serde_json::Value,
}

impl EventJson {
    /// Of a recorded event of a store. A detail that is no JSON is shown as text.
    pub fn new(view: &EventView, store: Option<StoreId>) -> Self {
        let detail = serde_json::from_str(&view.detail);
        Self {
            schema: 1,
            store: store.map(|store| store.to_string()),
            seq: view.seq,
            at: view.at,
            agent: view.agent.as_ref().map(AgentId::to_string),
            incarnation: view.incarnation,
            kind: view.kind,
            detail: detail.unwrap_or_else(|_| serde_json::Value::from(view.detail.as_str())),
        }
    }
}

/// `status -o json`.
#[derive(Debug, Serialize)]
pub struct StatusJson {
    schema: u8,
    collector: CollectorJson,
    agents: Vec<AgentJson>,
}

#[derive(Debug, Serialize)]
struct CollectorJson {
    version: String,
    started: Wall,
    stale: bool,
    degraded: Option<String>,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    cause: Cause,
    level: Status,
    since: Wall,
    detail: String,
    facts: Facts,
}

#[derive(Debug, Serialize)]
struct AgentJson {
    agent: String,
    status: Status,
    findings: Vec<FindingJson>,
    phase: Option<Phase>,
    lease_until: Option<Wall>,
    lifecycle: Lifecycle,
    link: &'static str,
    incarnation: Option<u32>,
    life: Option<String>,
    started: Option<Wall>,
    clock_ahead_ms: Option<i64>,
    pid: Option<u32>,
    host: String,
    labels: BTreeMap<String, String>,
    policy: String,
    mode: String,
    as_of: Option<Wall>,
    holds: Vec<String>,
    restarts: RestartsJson,
    next: Option<NextJson>,
    vitals: VitalsJson,
}

#[derive(Debug, Serialize)]
struct RestartsJson {
    used: u32,
    limit: u32,
    next_delay_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NextJson {
    rung: Rung,
    in_ms: Option<u64>,
    why: Option<String>,
}

#[derive(Debug, Serialize, Default)]
struct VitalsJson {
    energy: Option<f64>,
    memory_bytes: Option<u64>,
    cpu_ratio: Option<f64>,
    tasks: Option<TaskCounts>,
    response_ms: Option<ResponseTime>,
}

impl StatusJson {
    /// Of a collector's answer, read at `now`.
    pub fn new(collector: &CollectorView, agents: &[AgentView], now: Wall) -> Self {
        Self {
            schema: 1,
            collector: CollectorJson {
                version: collector.version.clone(),
                started: collector.started,
                stale: false,
                degraded: Some(collector.degraded.clone()).filter(|why| !why.is_empty()),
            },
            agents: agents.iter().map(|agent| agent_json(agent, now)).collect(),
        }
    }
}

impl StatusJson {
    /// Writes the same, agent by agent: nothing of it is held whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(
        collector: &CollectorView,
        agents: impl Iterator<Item = AgentView>,
        now: Wall,
        out: &mut impl std::io::Write,
    ) -> std::io::Result<()> {
        let Self { schema, collector, .. } = Self::new(collector, &[], now);
        write!(out, "{{\"schema\":{schema},\"collector\":")?;
        serde_json::to_writer(&mut *out, &collector)?;
        write!(out, ",\"agents\":[")?;
        for (number, agent) in agents.enumerate() {
            if number > 0 {
                write!(out, ",")?;
            }
            serde_json::to_writer(&mut *out, &agent_json(&agent, now))?;
        }
        write!(out, "]}}")
    }
}

fn agent_json(view: &AgentView, now: Wall) -> AgentJson {
    let ages = view.report.as_ref().map(|report| &report.ages);
    // Where there is no process there is nothing to measure.
    let speaks_of_it = |report: &&Report| view.pid.is_some() && report.life == view.life;
    let alive = view.report.as_ref().filter(speaks_of_it);
    let vitals = alive.map(|report| &report.vitals);
    let lease_left = ages.and_then(|ages| ages.lease).map(|lease| lease.left);
    let later = |by: Duration| now.after(by);
    let finding = |f: &FindingView| FindingJson {
        cause: f.cause,
        level: f.level,
        since: f.since,
        detail: f.detail.clone(),
        facts: f.facts.clone(),
    };
    AgentJson {
        agent: view.agent.to_string(),
        status: view.status,
        findings: view.findings.iter().map(finding).collect(),
        phase: ages.and_then(|ages| ages.phase),
        lease_until: lease_left.filter(|left| !left.is_zero()).map(later),
        lifecycle: view.lifecycle,
        link: if view.connected { "connected" } else { "lost" },
        incarnation: view.life.map(|life| life.ordinal.get()),
        life: view.life.map(|life| life.id.to_string()),
        started: view.started,
        clock_ahead_ms: view.clock_ahead,
        pid: view.pid,
        host: view.host.clone(),
        labels: view.labels.clone(),
        policy: view.policy.clone(),
        mode: view.mode.clone(),
        as_of: view.report.as_ref().map(|_| now.before(view.report_age)),
        holds: Vec::new(),
        restarts: RestartsJson {
            used: view.ledger.used,
            limit: view.ledger.limit,
            next_delay_ms: view.ledger.next_delay.map(millis),
        },
        next: view.next.as_ref().map(next_json),
        vitals: vitals.map(vitals_json).unwrap_or_default(),
    }
}

fn next_json(next: &Next) -> NextJson {
    NextJson { rung: next.rung, in_ms: next.within.map(millis), why: next.why.clone() }
}

fn vitals_json(vitals: &crate::beat::Vitals) -> VitalsJson {
    VitalsJson {
        energy: vitals.energy,
        memory_bytes: vitals.memory_bytes,
        cpu_ratio: vitals.cpu_ratio,
        tasks: Some(vitals.tasks),
        response_ms: vitals.response,
    }
}

/// `incidents -o json`.
#[derive(Debug, Serialize)]
pub struct IncidentsJson {
    schema: u8,
    incidents: Vec<IncidentJson>,
}

#[derive(Debug, Serialize)]
struct IncidentJson {
    id: IncidentId,
    agent: Option<String>,
    cause: Cause,
    status: &'static str,
    level: Status,
    opened: Wall,
    resolved: Option<Wall>,
    incarnation: Option<u32>,
    summary: String,
    actions: Vec<ActionJson>,
}

#[derive(Debug, Serialize)]
struct ActionJson {
    command: String,
    kind: CommandKind,
    outcome: ActionOutcome,
    detail: String,
    at: Wall,
    evidence: Option<String>,
}

impl IncidentsJson {
    /// Of a collector's answer.
    pub fn new(incidents: &[IncidentView]) -> Self {
        Self { schema: 1, incidents: incidents.iter().map(incident_json).collect() }
    }
}

fn incident_json(view: &IncidentView) -> IncidentJson {
    let incident = &view.incident;
    let action = |action: &crate::incident::Action| ActionJson {
        command: action.command.to_string(),
        kind: action.kind,
        outcome: action.outcome,
        detail: action.detail.clone(),
        at: action.at,
        evidence: action.evidence.clone(),
    };
    IncidentJson {
        id: incident.id,
        agent: view.agent.as_ref().map(AgentId::to_string),
        cause: incident.cause,
        status: if incident.resolved.is_some() { "resolved" } else { "open" },
        level: incident.level,
        opened: incident.opened,
        resolved: incident.resolved,
        incarnation: Some(incident.incarnation).filter(|&ordinal| ordinal > 0),
        summary: incident.summary.clone(),
        actions: incident.actions.iter().map(action).collect(),
    }
}

/// `explain -o json`.
#[derive(Debug, Serialize)]
pub struct ExplainJson {
    schema: u8,
    agent: String,
    status: Status,
    findings: Vec<ExplainedFinding>,
    clocks: Facts,
    deadlines: BTreeMap<String, String>,
    settings: Facts,
    configured: BTreeMap<String, String>,
    what_if: Vec<WhatIf>,
    shorter: Vec<ShorterJson>,
    suggestions: Vec<String>,
    next: Option<NextJson>,
}

#[derive(Debug, Serialize)]
struct ShorterJson {
    of: String,
    gaps: u64,
    longest_ms: u64,
    enough_ms: u64,
    in_force_ms: u64,
}

fn shorter(shorter: &Shorter) -> ShorterJson {
    let Shorter { of, gaps, longest, enough, in_force } = shorter;
    let [longest_ms, enough_ms, in_force_ms] =
        [longest, enough, in_force].map(|time| millis(*time));
    ShorterJson { of: of.clone(), gaps: *gaps, longest_ms, enough_ms, in_force_ms }
}

#[derive(Debug, Serialize)]
struct ExplainedFinding {
    cause: Cause,
    level: Status,
    since: Wall,
    detail: String,
    facts: Facts,
    evidence: BTreeMap<String, String>,
    rule: String,
    cancelled_by: String,
}

impl ExplainJson {
    /// Of a collector's answer.
    pub fn new(explanation: &Explanation) -> Self {
        let finding = |f: &FindingView| ExplainedFinding {
            cause: f.cause,
            level: f.level,
            since: f.since,
            detail: f.detail.clone(),
            facts: f.facts.clone(),
            evidence: f.evidence.clone(),
            rule: f.rule.clone(),
            cancelled_by: f.cancelled_by.clone(),
        };
        Self {
            schema: 1,
            agent: explanation.agent.agent.to_string(),
            status: explanation.agent.status,
            findings: explanation.agent.findings.iter().map(finding).collect(),
            clocks: explanation.clocks.clone(),
            deadlines: explanation.deadlines.clone(),
            settings: explanation.settings.clone(),
            configured: explanation.configured.clone(),
            what_if: explanation.what_if.clone(),
            shorter: explanation.shorter.iter().map(shorter).collect(),
            suggestions: explanation.suggestions.clone(),
            next: explanation.agent.next.as_ref().map(next_json),
        }
    }
}
