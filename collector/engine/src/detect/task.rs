//! TaskOverdue and TaskFailures: tasks that do not end, and tasks that end badly.

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::scaled;

use super::setting::{Setting, bound, count};
use super::{Detector, never_acted_on};
use crate::finding::Finding;

pub(super) const OVERDUE: Detector = Detector {
    causes: &[Cause::TaskOverdue],
    find: |look| overdue(look.report, &look.late, look.policy),
    guard: |_, _, policy| {
        policy.task_timeout.map(|over| Precondition::StillOverdue { over: 2 * over })
    },
    settings: &[Setting {
        key: |_, _| "task_timeout".to_owned(),
        causes: &[Cause::TaskOverdue],
        turn: |policy, _, by| {
            let timeout = scaled(policy.task_timeout?, by);
            policy.task_timeout = Some(timeout);
            Some(timeout.into())
        },
    }],
};

pub(super) fn overdue(report: &Report, late: &Late, policy: &Policy) -> Option<Finding> {
    let level = match late.overdue {
        Past::Not => return None,
        Past::Warning => Status::Warning,
        Past::Critical => Status::Critical,
    };
    let facts = [
        ("oldest_task", report.ages.oldest_task.into()),
        ("task_timeout", policy.task_timeout.into()),
        ("open", report.vitals.tasks.open.into()),
    ];
    Some(Finding::new(Cause::TaskOverdue, level, facts))
}

pub(super) const FAILURES: Detector = Detector {
    causes: &[Cause::TaskFailures],
    find: |look| failures(look.report, look.policy),
    guard: never_acted_on,
    settings: &[
        bound!("failures.share", [TaskFailures], limits.failures.share),
        count!("failures.least", [TaskFailures], limits.failures.least),
    ],
};

pub(super) fn failures(report: &Report, policy: &Policy) -> Option<Finding> {
    let (recent, limits) = (report.vitals.recent_tasks, &policy.limits.failures);
    let share = f64::from(recent.failed) / f64::from(recent.ended.max(1));
    if recent.failed < limits.least.get() || share < limits.share {
        return None;
    }
    let facts = [
        ("ended", recent.ended.into()),
        ("failed", recent.failed.into()),
        ("share", share.into()),
        ("limit", limits.share.into()),
    ];
    Some(Finding::new(Cause::TaskFailures, Status::Warning, facts))
}
