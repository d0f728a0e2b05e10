//! Paused: stopped by a signal, a debugger or a freezer. Its clocks stand; it is not stuck.

use lubdub_shared::beat::Ages;
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::setting::clock;
use super::{Detector, Draft, age};

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::Paused],
    find: |look| find(&look.report.ages, &look.late, look.policy),
    guard: |_, _, _| Some(Precondition::StillPaused),
    settings: &[clock!("paused_max", [Paused], paused_max)],
};

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
    let level = match late.paused {
        Past::Not => return None,
        Past::Warning => Status::Warning,
        Past::Critical => Status::Critical,
    };
    let finding = Draft {
        cause: Cause::Paused,
        level,
        detail: match ages.paused.filter(|paused| paused.as_secs() > 0) {
            Some(paused) => format!("stopped or frozen for {}", words(paused)),
            None => "stopped or frozen".to_owned(),
        },
        evidence: [("paused", age(ages.paused)), ("paused_max", words(policy.paused_max))],
        rule: "the main process is in state T or t, or frozen; Critical at paused_max",
        cancelled_by: "SIGCONT, or a thaw",
    };
    Some(finding.into())
}
