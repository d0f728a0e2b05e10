//! WaitingHuman: the agent needs a person. That is no trouble of its own, and it is never killed
//! for it; but somebody must know.

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::late::Late;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::setting::clock;
use super::{Detector, never_acted_on};
use crate::finding::Finding;

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::WaitingHuman],
    find: |look| find(look.report, &look.late, look.policy),
    guard: never_acted_on,
    settings: &[clock!("human_after", [WaitingHuman], human_after)],
};

pub(super) fn find(report: &Report, late: &Late, policy: &Policy) -> Option<Finding> {
    if !late.human {
        return None;
    }
    let facts = [
        ("waited", report.ages.phase_age.into()),
        ("human_after", policy.human_after.into()),
        ("said", report.vitals.text.as_str().into()),
    ];
    Some(Finding::new(Cause::WaitingHuman, Status::Warning, facts))
}
