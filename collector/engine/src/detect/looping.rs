//! Looping: the same step again and again, with nothing to show for it. The rules are those of
//! OpenHands' stuck detector; work that is counted as progress ends every loop.

use lubdub_shared::beat::Ages;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Pattern, looped};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::setting::count;
use super::{Detector, Draft, never_acted_on};

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::Looping],
    find: |look| look.late.looping.and_then(|_| find(&look.report.ages, look.policy)),
    guard: never_acted_on,
    settings: &[
        count!("loop.same_result", [Looping], limits.looping.same_result),
        count!("loop.same_error", [Looping], limits.looping.same_error),
        count!("loop.alternating", [Looping], limits.looping.alternating),
        count!("loop.monologue", [Looping], limits.looping.monologue),
    ],
};

pub(super) fn find(ages: &Ages, policy: &Policy) -> Option<Finding> {
    let (pattern, seen, limit) = looped(ages, policy)?;
    let what = match pattern {
        Pattern::SameResult => "the same action with the same result",
        Pattern::SameError => "the same action with the same error",
        Pattern::Alternating => "a few steps that take turns",
        Pattern::Monologue => "the same action without any result",
    };
    let doubled = if ages.waits() { ", doubled while it waits" } else { "" };
    let finding = Draft {
        cause: Cause::Looping,
        level: Status::Warning,
        detail: format!("{what}, {seen} steps in a row (limit {limit}{doubled})"),
        evidence: [
            ("pattern", pattern.to_string()),
            ("steps", seen.to_string()),
            ("limit", limit.to_string()),
        ],
        rule: "steps that repeat without progress: loop.same_result, same_error, alternating, \
               monologue, doubled while it waits; tools in loop.exempt do not count",
        cancelled_by: "another step, or progress",
    };
    Some(finding.into())
}
