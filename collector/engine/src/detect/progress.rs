//! NoProgress: alive, not thinking. Beats are fresh, the counters that mean work stand still.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::{scaled, words};

use super::setting::Setting;
use super::{Detector, Draft, age};

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::NoProgress],
    find: |look| find(&look.report.ages, &look.late, look.policy),
    guard,
    settings: &[Setting { key: progress_key, causes: &[Cause::NoProgress], turn: turn_progress }],
};

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
    let level = match late.progress {
        Past::Not => return None,
        Past::Warning => Status::Warning,
        Past::Critical => Status::Critical,
    };
    let active = if late.inert { "and no activity either" } else { "though the tree is active" };
    let finding = Draft {
        cause: Cause::NoProgress,
        level,
        detail: format!(
            "{} for {}, {active}; the last beat {} ago",
            if ages.progress.frozen.is_some() { "no progress" } else { "its counter never moved" },
            age(ages.progress.frozen.or(ages.progress.still)),
            age(ages.beat)
        ),
        evidence: [
            ("frozen", age(ages.progress.frozen)),
            ("progress", ages.progress.counter.to_string()),
            ("window", words(ages.progress_window(policy))),
            ("beat_age", age(ages.beat)),
            ("activity_age", age(ages.activity.map(|last| last.age))),
        ],
        rule: "progress frozen for progress_window is a Warning, for twice as long Critical; it \
               leads to a restart only without activity or with a second finding. A counter that \
               never moved in this life is told, and no more",
        cancelled_by: "a step of progress, a finished task, or an idle phase",
    };
    Some(finding.into())
}

/// Where the tree is inactive too it has to stay so; a second reason needs no more than a counter
/// that stands still.
fn guard(_: Cause, ages: &Ages, policy: &Policy) -> Option<Precondition> {
    let inert = Late::of(ages, policy).inert;
    let quiet = if inert { ages.progress_window(policy) } else { Duration::ZERO };
    Some(Precondition::Frozen { progress: ages.progress.counter, quiet })
}

fn progress_key(ages: &Ages, policy: &Policy) -> String {
    let own = ages.phase.and_then(|phase| policy.phase.get(&phase).copied().flatten());
    match (ages.phase, own) {
        (Some(phase), Some(own)) if own > policy.progress_window => format!("phase.{phase}"),
        _ => "progress_window".to_owned(),
    }
}

fn turn_progress(policy: &mut Policy, report: &mut Report, by: f64) -> Option<String> {
    let window = scaled(report.ages.progress_window(policy), by);
    report.ages.progress.window = window;
    (policy.progress_window, policy.phase) = (window, Default::default());
    Some(words(window))
}
