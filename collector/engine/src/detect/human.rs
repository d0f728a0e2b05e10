//! WaitingHuman: the agent needs a person. That is no trouble of its own, and it is never killed
//! for it; but somebody must know.

use lubdub_shared::beat::Report;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::setting::clock;
use super::{Detector, Draft, never_acted_on};

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
    let waited = words(report.ages.phase_age);
    let said = match report.vitals.text.as_str() {
        "" => String::new(),
        text => format!(": {text}"),
    };
    let finding = Draft {
        cause: Cause::WaitingHuman,
        level: Status::Warning,
        detail: format!("needs you: waits for a person for {waited}{said}"),
        evidence: [("waited", waited), ("human_after", words(policy.human_after))],
        rule: "phase waiting_human for human_after; never leads to more than a word",
        cancelled_by: "another phase",
    };
    Some(finding.into())
}
