//! NoProgress: alive, not thinking. Beats are fresh, the counters that mean work stand still.

use lubdub_shared::beat::Ages;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Draft, age};

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
