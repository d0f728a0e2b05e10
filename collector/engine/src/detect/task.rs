//! TaskOverdue and TaskFailures: tasks that do not end, and tasks that end badly.

use lubdub_shared::beat::Report;
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::{scaled, words};

use super::setting::{Setting, bound, count};
use super::{Detector, Draft, age, never_acted_on};

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
            Some(words(timeout))
        },
    }],
};

pub(super) fn overdue(report: &Report, late: &Late, policy: &Policy) -> Option<Finding> {
    let level = match late.overdue {
        Past::Not => return None,
        Past::Warning => Status::Warning,
        Past::Critical => Status::Critical,
    };
    let finding = Draft {
        cause: Cause::TaskOverdue,
        level,
        detail: format!(
            "a task is open for {} (task_timeout {}), of {} open ones the oldest",
            age(report.ages.oldest_task),
            age(policy.task_timeout),
            report.vitals.tasks.open
        ),
        evidence: [
            ("oldest_task", age(report.ages.oldest_task)),
            ("task_timeout", age(policy.task_timeout)),
            ("open", report.vitals.tasks.open.to_string()),
        ],
        rule: "the oldest open task passed task_timeout; Critical at twice as long. What was \
               leased, paused or waited for a rate limit does not count",
        cancelled_by: "the end of that task",
    };
    Some(finding.into())
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
    let finding = Draft {
        cause: Cause::TaskFailures,
        level: Status::Warning,
        detail: format!("of the last {} tasks {} failed", recent.ended, recent.failed),
        evidence: [
            ("ended", recent.ended.to_string()),
            ("failed", recent.failed.to_string()),
            ("share", format!("{share:.2} (limit {})", limits.share)),
        ],
        rule: "of the newest 20 tasks failures.share failed, and at least failures.least",
        cancelled_by: "tasks that end well",
    };
    Some(finding.into())
}
