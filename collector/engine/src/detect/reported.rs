//! ReportedFailure: the agent itself says that it has failed. The ladder of flux-keeper: one or
//! two failures in a row warn, three are Critical; a trigger is Critical at once.

use lubdub_shared::beat::{Ages, FailedCheck};
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::{Detector, Draft};

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
    let why = match worst.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let finding = Draft {
        cause: Cause::ReportedFailure,
        level: level(worst),
        detail: format!("check {} failed, {} in a row{why}", worst.name, worst.count),
        evidence: [
            ("check", worst.name.clone()),
            ("count", worst.count.to_string()),
            ("trigger", worst.trigger.to_string()),
            ("failed_checks", ages.failed.len().to_string()),
        ],
        rule: "WATCHDOG=trigger, fail, or a named check not ok: three in a row are Critical",
        cancelled_by: "the same check reported ok; READY=1 after a trigger",
    };
    Some(finding.into())
}

fn guard(_: Cause, ages: &Ages, _: &Policy) -> Option<Precondition> {
    let worst = ages.failed.first()?;
    Some(Precondition::StillFailed { check: worst.name.clone() })
}

fn level(check: &FailedCheck) -> Status {
    let critical = check.trigger || check.count >= CRITICAL_COUNT;
    if critical { Status::Critical } else { Status::Warning }
}
