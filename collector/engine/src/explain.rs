//! Why: the clocks and settings behind a verdict, and what others would have led to. What comes
//! next is foretold by [`next_rung`].

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule;
use lubdub_shared::time::{Wall, words};
use lubdub_shared::trend::GapStats;
use lubdub_shared::view::WhatIf;

use crate::agent::Agent;
use crate::detect;
use crate::detect::setting::Setting;

pub(crate) mod next;

pub use next::next_rung;

/// What is turned to see what else the detectors would have said.
const FACTORS: [f64; 2] = [0.5, 2.0];
/// Gaps from which a suggestion is made.
const LEARNED_MIN: u64 = 1000;

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
    let policy = &agent.policy;
    let set = |setting: &Setting| {
        let key = (setting.key)(&report.ages, policy);
        Some((format!("policy.{}.{key}", policy.name), setting.value(policy, report)?))
    };
    causes.flat_map(detect::settings).filter_map(set).collect()
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
    let today = says(&agent.policy, report);
    let turns = detect::all_settings().flat_map(|setting| FACTORS.map(|by| (setting, by)));
    turns
        .filter_map(|(setting, by)| {
            let (mut policy, mut turned) = ((*agent.policy).clone(), report.clone());
            let key = (setting.key)(&report.ages, &policy);
            let value = (setting.turn)(&mut policy, &mut turned, by)?;
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
    let window = Some(ages.progress_window(&agent.policy));
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
