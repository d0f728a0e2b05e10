//! What readers see of an agent at one moment.

use lubdub_engine::{Agent, explain};
use lubdub_shared::time::Now;
use lubdub_shared::view::{AgentView, Explanation, FindingView};

pub(crate) fn agent_view(agent: &Agent, now: Now) -> AgentView {
    let finding = |standing: &lubdub_engine::agent::Standing| {
        FindingView::new(&standing.finding, standing.since.wall)
    };
    AgentView {
        agent: agent.id.clone(),
        status: agent.status,
        findings: agent.findings.iter().map(finding).collect(),
        lifecycle: agent.lifecycle,
        connected: agent.is_connected(),
        life: agent.life,
        started: agent.started,
        clock_ahead: agent.clock_ahead.map(|nanos| nanos / 1_000_000),
        pid: agent.report.as_ref().and_then(|report| report.pid),
        host: agent.host.clone(),
        labels: agent.labels.clone(),
        policy: agent.policy.name.clone(),
        mode: agent.policy.mode.to_string(),
        ledger: agent.ledger.clone(),
        next: explain::next_rung(agent, now.mono),
        report: agent.report.as_deref().cloned(),
        report_age: now.mono.since(agent.heard),
        held: agent.held.clone(),
        last_act: agent.last_act.as_ref().map(|(at, _, act)| (*at, act.clone())),
    }
}

pub(crate) fn explanation(agent: &Agent, now: Now) -> Explanation {
    Explanation {
        now: Some(now.wall),
        agent: agent_view(agent, now),
        deadlines: explain::deadlines(agent),
        configured: explain::configured(agent),
        what_if: explain::what_if(agent),
        suggestions: explain::suggestions(agent),
    }
}
