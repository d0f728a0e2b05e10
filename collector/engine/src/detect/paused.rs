//! Paused: stopped by a signal, a debugger or a freezer. Its clocks stand; it is not stuck.

use lubdub_shared::beat::Ages;
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::late::{Late, Past};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::Detector;
use super::setting::clock;
use crate::finding::Finding;

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
    let facts = [("paused", ages.paused.into()), ("paused_max", policy.paused_max.into())];
    Some(Finding::new(Cause::Paused, level, facts))
}
