//! Looping: the same step again and again, with nothing to show for it. The rules are those of
//! OpenHands' stuck detector; work that is counted as progress ends every loop.

use lubdub_shared::beat::Ages;
use lubdub_shared::cause::Cause;
use lubdub_shared::late::looped;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::setting::count;
use super::{Detector, never_acted_on};
use crate::finding::Finding;

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
    let facts = [
        ("pattern", pattern.to_string().into()),
        ("steps", seen.into()),
        ("limit", limit.into()),
        ("doubled", ages.waits().into()),
    ];
    Some(Finding::new(Cause::Looping, Status::Warning, facts))
}
