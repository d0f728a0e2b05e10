//! Looping: the same step again and again, with nothing to show for it. The rules are those of
//! OpenHands' stuck detector; work that is counted as progress ends every loop.

use lubdub_shared::beat::Ages;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::{Late, Pattern};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::Draft;

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
    let pattern = late.looping?;
    let (repeats, limits) = (&ages.repeats, &policy.limits.looping);
    let turns = repeats.period_two.max(repeats.period_three);
    let (what, seen, limit) = match pattern {
        Pattern::SameResult => {
            ("the same action with the same result", repeats.same_result, limits.same_result)
        }
        Pattern::SameError => {
            ("the same action with the same error", repeats.same_error, limits.same_error)
        }
        Pattern::Alternating => ("a few steps that take turns", turns, limits.alternating),
        Pattern::Monologue => {
            ("the same action without any result", repeats.monologue, limits.monologue)
        }
    };
    let doubled = if ages.waits() { ", doubled while it waits" } else { "" };
    let limit = limit.get() * if ages.waits() { 2 } else { 1 };
    let finding = Draft {
        cause: Cause::Looping,
        level: Status::Warning,
        detail: format!("{what}, {seen} steps in a row (limit {limit}{doubled})"),
        evidence: [
            ("pattern", pattern.to_string()),
            ("same_result", repeats.same_result.to_string()),
            ("same_error", repeats.same_error.to_string()),
            ("alternating", turns.to_string()),
            ("monologue", repeats.monologue.to_string()),
            ("limit", limit.to_string()),
        ],
        rule: "steps that repeat without progress: loop.same_result, same_error, alternating, \
               monologue, doubled while it waits; tools in loop.exempt do not count",
        cancelled_by: "another step, or progress",
    };
    Some(finding.into())
}
