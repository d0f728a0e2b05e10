//! What readers see of an agent at one moment.

use lubdub_engine::{Agent, Surroundings, explain, words};
use lubdub_shared::time::Now;
use lubdub_shared::view::{AgentView, Explanation, FindingView};

pub(crate) fn agent_view(agent: &Agent, around: &Surroundings, now: Now) -> AgentView {
    let (who, seen) = (&agent.who, &agent.seen);
    let finding = |standing: &lubdub_engine::ActiveFinding| {
        let found = &standing.finding;
        let facts = words::shown(found);
        FindingView {
            cause: found.cause,
            level: found.level,
            since: standing.since.wall,
            detail: words::detail(found),
            evidence: facts.iter().map(|(k, v)| (k.to_owned(), v.to_string())).collect(),
            facts,
            rule: words::rule(found).to_owned(),
            cancelled_by: words::ends_with(standing, seen.lifecycle).to_owned(),
        }
    };
    AgentView {
        agent: who.id.clone(),
        status: seen.status,
        findings: seen.findings.iter().map(finding).collect(),
        lifecycle: seen.lifecycle,
        connected: agent.is_connected(),
        life: seen.life,
        started: seen.started,
        clock_ahead: agent.link.clock_ahead.map(|nanos| nanos / 1_000_000),
        pid: seen.pid,
        host: who.host.clone(),
        labels: who.labels.clone(),
        policy: agent.policy.name.clone(),
        mode: agent.policy.mode.to_string(),
        ledger: agent.ledger().clone(),
        next: explain::next_rung(agent, around, now),
        report: seen.report.as_deref().cloned(),
        report_age: now.mono.since(agent.link.heard),
        held: seen.down.clone(),
        last_act: agent.asks.last.as_ref().map(|act| (act.at, act.to_string())),
    }
}

pub(crate) fn explanation(agent: &Agent, around: &Surroundings, now: Now) -> Explanation {
    let (settings, shorter) = (explain::configured(agent), explain::shorter(agent));
    Explanation {
        now: Some(now.wall),
        agent: agent_view(agent, around, now),
        clocks: explain::clocks(agent),
        deadlines: explain::deadlines(agent),
        configured: settings.iter().map(|(k, v)| (k.to_owned(), v.to_string())).collect(),
        settings,
        what_if: explain::what_if(agent),
        suggestions: shorter.iter().map(ToString::to_string).collect(),
        shorter,
    }
}
