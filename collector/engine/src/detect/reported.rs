//! ReportedFailure: the agent itself says that it has failed. The ladder of flux-keeper: one or
//! two failures in a row warn, three are Critical; a trigger is Critical at once.

use lubdub_shared::beat::{Ages, FailedCheck};
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::facts::Fact;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::Detector;
use crate::finding::Finding;

/// Failures in a row that are Critical.
const CRITICAL_COUNT: u32 = 3;

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::ReportedFailure],
    find: |look| find(&look.report.ages),
    guard,
    settings: &[],
};

pub(super) fn find(ages: &Ages) -> Option<Finding> {
    let worst = ages.failed.iter().max_by_key(|check| (level(check), check.count))?;
    let facts = [
        ("check", worst.name.as_str().into()),
        ("count", worst.count.into()),
        ("trigger", worst.trigger.into()),
        ("message", worst.message.as_str().into()),
        ("failed_checks", Fact::Count(u64::try_from(ages.failed.len()).ok())),
    ];
    Some(Finding::new(Cause::ReportedFailure, level(worst), facts))
}

fn guard(_: Cause, ages: &Ages, _: &Policy) -> Option<Precondition> {
    let worst = ages.failed.first()?;
    Some(Precondition::StillFailed { check: worst.name.clone() })
}

fn level(check: &FailedCheck) -> Status {
    let critical = check.trigger || check.count >= CRITICAL_COUNT;
    if critical { Status::Critical } else { Status::Warning }
}
