//! Why: the clocks and settings behind a verdict, and what others would have led to. What comes
//! next is foretold by [`next_rung`].

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::facts::{Fact, Facts};
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule;
use lubdub_shared::time::Wall;
use lubdub_shared::view::{Shorter, WhatIf};

use crate::agent::Agent;
use crate::detect;
use crate::detect::setting::Setting;

pub(crate) mod next;

pub use next::next_rung;

/// What is turned to see what else the detectors would have said.
const FACTORS: [f64; 2] = [0.5, 2.0];
/// Gaps from which a suggestion is made.
const LEARNED_MIN: u64 = 1000;

/// Each clock in force.
pub fn clocks(agent: &Agent) -> Facts {
    let policy = &agent.policy;
    let mut clocks = Facts::new([
        ("busy_cap", policy.busy_cap.into()),
        ("failures_before_critical", policy.failures_before_critical.get().into()),
        ("lease_max", policy.lease_max.into()),
        ("missing_after", policy.missing_after.into()),
        ("paused_max", policy.paused_max.into()),
        ("startup_grace", policy.startup_grace.into()),
        ("unreachable_after", policy.unreachable_after.into()),
    ]);
    let Some(report) = agent.living() else { return clocks };
    let ages = &report.ages;
    clocks.add("armed", ages.armed);
    clocks.add("heartbeat_deadline", ages.deadline.map(|deadline| deadline.after));
    clocks.add("own_contract", ages.deadline.is_some_and(|deadline| deadline.explicit));
    clocks.add("progress_window", ages.progress_window(policy));
    clocks.add("quiet_hours", ages.resting);
    if ages.beat_gaps.count > 0 {
        clocks.add("beat_gaps", ages.beat_gaps.count);
        clocks.add("beat_gap_longest", ages.beat_gaps.longest);
        clocks.add("beat_gap_p999", ages.beat_gaps.p999);
    }
    if ages.progress_gaps.count > 0 {
        clocks.add("progress_gaps", ages.progress_gaps.count);
        clocks.add("progress_gap_longest", ages.progress_gaps.longest);
        clocks.add("progress_gap_p999", ages.progress_gaps.p999);
    }
    if let Some(lease) = ages.lease {
        clocks.add("lease_left", lease.left);
    }
    clocks
}

/// The same in words.
pub fn deadlines(agent: &Agent) -> BTreeMap<String, String> {
    let clocks = clocks(agent);
    let mut words = BTreeMap::from([(
        "restart_schedule".to_owned(),
        schedule::describe(&agent.policy.restart),
    )]);
    let gaps = |gaps: &Fact, of: &str| {
        let [longest, p999] =
            ["longest", "p999"].map(|which| clocks.said(&format!("{of}_{which}")));
        format!("{gaps} seen, the longest {longest}, 99.9 % up to {p999}")
    };
    for (name, fact) in clocks.iter() {
        let said = match (name, fact) {
            ("heartbeat_deadline", _) if !clocks.is("armed") => {
                "not armed: the agent has not beaten three times".to_owned()
            }
            ("heartbeat_deadline", Fact::Time(None)) => "no clock in this phase".to_owned(),
            ("heartbeat_deadline", deadline) if clocks.is("own_contract") => {
                format!("{deadline}, the agent's own contract")
            }
            ("quiet_hours", Fact::Flag(true)) => "now: no clock runs".to_owned(),
            ("beat_gaps", count) => gaps(count, "beat_gap"),
            ("progress_gaps", count) => gaps(count, "progress_gap"),
            (_, Fact::Flag(_)) => continue,
            (name, _) if name.starts_with("beat_gap_") || name.starts_with("progress_gap_") => {
                continue;
            }
            (_, clock) => clock.to_string(),
        };
        words.insert(name.to_owned(), said);
    }
    words
}

/// The settings behind what was found, by their place in the file.
pub fn configured(agent: &Agent) -> Facts {
    let Some(report) = agent.living() else { return Facts::default() };
    let causes = agent.seen.findings.iter().map(|standing| standing.finding.cause);
    let policy = &agent.policy;
    let set = |setting: &Setting| {
        let key = (setting.key)(&report.ages, policy);
        Some((format!("policy.{}.{key}", policy.name), setting.value(policy, report)?))
    };
    let set: BTreeMap<_, _> = causes.flat_map(detect::settings).filter_map(set).collect();
    set.into_iter().collect()
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
            let words = value.to_string();
            let to = [(key.clone(), value)].into_iter().collect();
            (says != today).then_some(WhatIf { key, value: words, to, says })
        })
        .collect()
}

/// Deadlines that could be shorter, by what was learned. They are never shortened by themselves.
pub fn shorter(agent: &Agent) -> Vec<Shorter> {
    let Some(report) = agent.living() else { return Vec::new() };
    let ages = &report.ages;
    let deadline = ages.deadline.filter(|deadline| !deadline.explicit).map(|d| d.after);
    let window = Some(ages.progress_window(&agent.policy));
    [("beat", ages.beat_gaps, deadline), ("progress", ages.progress_gaps, window)]
        .into_iter()
        .filter_map(|(of, seen, in_force)| {
            let enough = (3 * seen.longest).max(Duration::from_secs(1));
            let in_force = in_force.filter(|_| seen.count >= LEARNED_MIN)?;
            let shorter = || Shorter {
                of: of.to_owned(),
                gaps: seen.count,
                longest: seen.longest,
                enough,
                in_force,
            };
            (2 * enough <= in_force).then(shorter)
        })
        .collect()
}
