//! Why, and what next: the countdowns that `lubdub explain` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::incident::Cause;
use lubdub_shared::policy::{Act, Mode};
use lubdub_shared::schedule;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, words};
use lubdub_shared::view::NextRung;

use crate::agent::Agent;

/// The next step of the ladder, if nothing changes.
pub fn next_rung(agent: &Agent, now: Mono) -> Option<NextRung> {
    if let Some(act) = &agent.act {
        return Some(NextRung { rung: act.command.kind.to_string(), within: Duration::ZERO });
    }
    if let Some(verify) = &agent.verify {
        return Some(NextRung { rung: "verify".to_owned(), within: verify.due.since(now) });
    }
    if let Some(starts_in) = agent.report.as_ref().and_then(|report| report.starts_in) {
        let within = starts_in.saturating_sub(now.since(agent.heard));
        return Some(NextRung { rung: "start".to_owned(), within });
    }
    let report = agent.living()?;
    let (ages, policy) = (&report.ages, &agent.policy);
    let worst = agent.findings.first()?;
    let since_report = now.since(agent.heard);
    let left = |bound: Duration, age: Duration| bound.saturating_sub(age + since_report);
    let within = match worst.finding.cause {
        Cause::Silent => {
            let deadline = ages.deadline?;
            let enough = if deadline.explicit { 1 } else { policy.failures_before_critical.get() };
            left(deadline.after * enough, ages.silence.min(ages.quiet))
        }
        Cause::BusySilent => left(policy.busy_cap, ages.silence),
        Cause::NoProgress => left(2 * policy.progress_deadline(ages.phase), ages.progress.frozen?),
        Cause::NeverSeen => left(policy.startup_grace, ages.quiet),
        Cause::Paused => left(policy.paused_max, ages.paused?),
        Cause::ReportedFailure if worst.finding.level == Status::Critical => Duration::ZERO,
        Cause::Unreachable => {
            let missing = agent.unreachable_at()?.after(policy.missing_after);
            missing.since(now)
        }
        Cause::Exited
        | Cause::Crashed
        | Cause::KilledByOther
        | Cause::CrashLoop
        | Cause::LeaseExpired
        | Cause::ReportedFailure
        | Cause::Inactive
        | Cause::Missing
        | Cause::Duplicate
        | Cause::SickDisk => return None,
    };
    let acts = policy.act(worst.finding.cause) >= Act::Restart;
    let rung = match policy.mode {
        Mode::Enforce if acts && !agent.ledger.is_spent() => "restart".to_owned(),
        Mode::Enforce if acts => policy.restart.exhausted.to_string(),
        Mode::Shadow if acts => "shadow".to_owned(),
        Mode::Enforce | Mode::Shadow | Mode::Observe => "notify".to_owned(),
    };
    let told = worst.finding.level == Status::Critical && rung == "notify";
    (!told).then_some(NextRung { rung, within })
}

/// Each clock in force, in words.
pub fn deadlines(agent: &Agent) -> BTreeMap<String, String> {
    let policy = &agent.policy;
    let mut clocks = BTreeMap::from([
        ("busy_cap", words(policy.busy_cap)),
        ("failures_before_critical", policy.failures_before_critical.to_string()),
        ("lease_max", words(policy.lease_max)),
        ("missing_after", words(policy.missing_after)),
        ("paused_max", words(policy.paused_max)),
        ("restart_schedule", schedule::describe(&policy.restart)),
        ("startup_grace", words(policy.startup_grace)),
        ("unreachable_after", words(policy.unreachable_after)),
    ]);
    if let Some(report) = agent.living() {
        let ages = &report.ages;
        let beat = match (ages.armed, ages.deadline) {
            (false, _) => "not armed: the agent has not beaten three times".to_owned(),
            (true, None) => "no clock in this phase".to_owned(),
            (true, Some(deadline)) if deadline.explicit => {
                format!("{}, the agent's own contract", words(deadline.after))
            }
            (true, Some(deadline)) => words(deadline.after),
        };
        clocks.insert("heartbeat_deadline", beat);
        clocks.insert("progress_window", words(policy.progress_deadline(ages.phase)));
        if let Some(lease) = ages.lease {
            clocks.insert("lease_left", words(lease.left));
        }
    }
    clocks.into_iter().map(|(name, clock)| (name.to_owned(), clock)).collect()
}
