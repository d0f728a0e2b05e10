//! NoProgress: alive, not thinking. Beats are fresh, the counters that mean work stand still.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::facts::Fact;
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::scaled;

use super::Detector;
use super::setting::Setting;
use crate::finding::Finding;

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
    let facts = [
        ("frozen", ages.progress.frozen.into()),
        ("still", ages.progress.still.into()),
        ("progress", ages.progress.counter.into()),
        ("window", ages.progress_window(policy).into()),
        ("beat_age", ages.beat.into()),
        ("activity_age", ages.activity.map(|last| last.age).into()),
        ("inactive", late.inert.into()),
    ];
    Some(Finding::new(Cause::NoProgress, level, facts))
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

fn turn_progress(policy: &mut Policy, report: &mut Report, by: f64) -> Option<Fact> {
    let window = scaled(report.ages.progress_window(policy), by);
    report.ages.progress.window = window;
    (policy.progress_window, policy.phase) = (window, Default::default());
    Some(window.into())
}
