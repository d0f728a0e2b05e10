//! Why, and what next: the countdowns that `lubdub explain` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::command::CommandKind;
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::{Mode, Policy};
use lubdub_shared::schedule;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, Wall, words};
use lubdub_shared::trend::GapStats;
use lubdub_shared::view::{NextRung, WhatIf};

use crate::agent::{ActiveFinding, Agent};
use crate::detect;
use crate::policy::ladder;

mod knobs;

/// What is turned to see what else the detectors would have said.
const FACTORS: [f64; 2] = [0.5, 2.0];
/// Gaps from which a suggestion is made.
const LEARNED_MIN: u64 = 1000;

/// The next step of the ladder, if nothing changes.
pub fn next_rung(agent: &Agent, now: Mono) -> Option<NextRung> {
    if let Some(act) = agent.act() {
        return Some(NextRung { rung: act.command.kind.to_string(), within: Duration::ZERO });
    }
    if let Some(verify) = agent.treatment.proof() {
        return Some(NextRung { rung: "verify".to_owned(), within: verify.due.since(now) });
    }
    if let Some(starts_in) = agent.seen.report.as_ref().and_then(|report| report.starts_in) {
        let within = starts_in.saturating_sub(now.since(agent.link.heard));
        return Some(NextRung { rung: "start".to_owned(), within });
    }
    let policy = &agent.who.policy;
    if policy.mode == Mode::Enforce && ladder::nudge(agent).is_some() {
        return Some(NextRung { rung: "nudge".to_owned(), within: Duration::ZERO });
    }
    let worst = agent.seen.findings.first()?;
    let within = due_in(agent, worst, now)?;
    let held =
        agent.seen.flaps.since().map(|since| {
            policy.limits.flapping.hold_max.saturating_sub(now.since(since)).max(within)
        });
    let (rung, within) = match (policy.mode, ladder::would_act(agent, &worst.finding), held) {
        (Mode::Enforce, Some(CommandKind::Restart), Some(held)) => {
            ("quarantine, a restart is held while it flaps".to_owned(), held)
        }
        (Mode::Enforce, Some(CommandKind::Stop), _) => ("quarantine".to_owned(), within),
        (Mode::Enforce, Some(kind), _) => (kind.to_string(), within),
        (Mode::Shadow, Some(_), _) => ("shadow".to_owned(), within),
        (Mode::Observe, Some(_), _) | (_, None, _) => ("notify".to_owned(), within),
    };
    let told = worst.finding.level == Status::Critical && rung == "notify";
    (!told).then_some(NextRung { rung, within })
}

/// When the worst finding reaches its next bound, if nothing changes.
fn due_in(agent: &Agent, worst: &ActiveFinding, now: Mono) -> Option<Duration> {
    let report = agent.living()?;
    let (ages, policy) = (&report.ages, &agent.who.policy);
    let since_report = now.since(agent.link.heard);
    let left = |bound: Duration, age: Duration| bound.saturating_sub(age + since_report);
    Some(match worst.finding.cause {
        Cause::Silent => {
            let deadline = ages.deadline?;
            let enough = if deadline.explicit { 1 } else { policy.failures_before_critical.get() };
            left(deadline.after.saturating_mul(enough), ages.silence.min(ages.quiet))
        }
        Cause::BusySilent => left(policy.busy_cap, ages.silence),
        Cause::NoProgress => left(2 * ages.progress_window(policy), ages.progress.frozen?),
        Cause::NeverSeen => left(policy.startup_grace, ages.quiet),
        Cause::Paused => left(policy.paused_max, ages.paused?),
        Cause::TaskOverdue => left(2 * policy.task_timeout?, ages.oldest_task?),
        Cause::ReportedFailure | Cause::EnergyGone | Cause::MemoryHigh | Cause::Missed
            if worst.finding.level == Status::Critical =>
        {
            Duration::ZERO
        }
        Cause::Unreachable => {
            let missing = agent.unreachable_at()?.after(policy.missing_after);
            missing.since(now)
        }
        Cause::Exited
        | Cause::Crashed
        | Cause::KilledByOther
        | Cause::OomKilled
        | Cause::Unkillable
        | Cause::CrashLoop
        | Cause::LeaseExpired
        | Cause::ReportedFailure
        | Cause::Inactive
        | Cause::Missed
        | Cause::WaitingHuman
        | Cause::Looping
        | Cause::EnergyLow
        | Cause::EnergyGone
        | Cause::BurnWithoutProgress
        | Cause::MemoryHigh
        | Cause::MemoryLeak
        | Cause::SlowResponse
        | Cause::TaskFailures
        | Cause::Flapping
        | Cause::Missing
        | Cause::Duplicate
        | Cause::SickDisk
        | Cause::SickSidecar
        | Cause::Unheard
        | Cause::Other => return None,
    })
}

/// Each clock in force, in words.
pub fn deadlines(agent: &Agent) -> BTreeMap<String, String> {
    let policy = &agent.who.policy;
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
        clocks.insert("progress_window", words(ages.progress_window(policy)));
        if ages.resting {
            clocks.insert("quiet_hours", "now: no clock runs".to_owned());
        }
        let gaps = |gaps: GapStats| {
            let (longest, p999) = (words(gaps.longest), words(gaps.p999));
            format!("{} seen, the longest {longest}, 99.9 % up to {p999}", gaps.count)
        };
        for (name, of) in [("beat_gaps", ages.beat_gaps), ("progress_gaps", ages.progress_gaps)] {
            if of.count > 0 {
                clocks.insert(name, gaps(of));
            }
        }
        if let Some(lease) = ages.lease {
            clocks.insert("lease_left", words(lease.left));
        }
    }
    clocks.into_iter().map(|(name, clock)| (name.to_owned(), clock)).collect()
}

/// The settings behind what was found, by their place in the file.
pub fn configured(agent: &Agent) -> BTreeMap<String, String> {
    let Some(report) = agent.living() else { return BTreeMap::new() };
    let causes = agent.seen.findings.iter().map(|standing| standing.finding.cause);
    let settings = causes.flat_map(|cause| knobs::settings(cause, &agent.who.policy, report));
    let place = |key: String| format!("policy.{}.{key}", agent.who.policy.name);
    settings.map(|(key, value)| (place(key), value)).collect()
}

/// What the detectors say of a report under a policy: `ok`, or levels and causes.
///
/// `reported` is when it came.
pub fn says(report: &Report, policy: &Policy, reported: Wall) -> String {
    let found = detect::of_report(report, policy, reported);
    let mut words: Vec<String> =
        found.iter().map(|finding| format!("{} {}", finding.level, finding.cause)).collect();
    words.sort();
    if words.is_empty() { "ok".to_owned() } else { words.join(", ") }
}

/// What the detectors would have said of the newest report with other settings; only where that
/// is something else.
pub fn what_if(agent: &Agent) -> Vec<WhatIf> {
    let Some(report) = agent.living() else { return Vec::new() };
    let says = |policy: &Policy, report: &Report| says(report, policy, agent.seen.reported);
    let today = says(&agent.who.policy, report);
    let turns = knobs::KNOBS.iter().flat_map(|knob| FACTORS.map(|by| (knob, by)));
    turns
        .filter_map(|(knob, by)| {
            let (mut policy, mut turned) = ((*agent.who.policy).clone(), report.clone());
            let key = (knob.key)(&report.ages, &policy);
            let value = (knob.turn)(&mut policy, &mut turned, by)?;
            let says = says(&policy, &turned);
            (says != today).then_some(WhatIf { key, value, says })
        })
        .collect()
}

/// Deadlines that could be shorter, by what was learned. They are never shortened by themselves.
pub fn suggestions(agent: &Agent) -> Vec<String> {
    let Some(report) = agent.living() else { return Vec::new() };
    let ages = &report.ages;
    let deadline = ages.deadline.filter(|deadline| !deadline.explicit).map(|d| d.after);
    let window = Some(ages.progress_window(&agent.who.policy));
    [("beat", ages.beat_gaps, deadline), ("progress", ages.progress_gaps, window)]
        .into_iter()
        .filter_map(|(name, gaps, in_force)| {
            let enough = (3 * gaps.longest).max(Duration::from_secs(1));
            let in_force = in_force.filter(|_| gaps.count >= LEARNED_MIN)?;
            (2 * enough <= in_force).then(|| {
                format!(
                    "of {} gaps of {name} the longest was {}: {} would do where {} is in force",
                    gaps.count,
                    words(gaps.longest),
                    words(enough),
                    words(in_force)
                )
            })
        })
        .collect()
}
