//! LeaseExpired: the agent said how long its call may take, and it took longer; or it waits for a
//! rate limit again and again.

use lubdub_shared::beat::Ages;
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::late::Late;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::Detector;
use crate::finding::Finding;

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::LeaseExpired],
    find: |look| find(&look.report.ages, &look.late, look.policy),
    guard: |_, ages, _| ages.lease.map(|lease| Precondition::SameLease { number: lease.number }),
    settings: &[],
};

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
    if late.waits_on {
        return Some(waits_on(ages, policy));
    }
    let lease = ages.lease.filter(|_| late.lease_over)?;
    let phase = ages.phase.map_or("undeclared", |phase| phase.as_str());
    let level = super::level_asked(policy, Cause::LeaseExpired);
    let facts = [("over", lease.over.into()), ("phase", phase.into())];
    Some(Finding::new(Cause::LeaseExpired, level, facts))
}

/// Told, and no more: who waits for a provider is never acted on, whatever the policy says.
fn waits_on(ages: &Ages, policy: &Policy) -> Finding {
    let facts = [("waited", ages.waited.into()), ("lease_max", policy.lease_max.into())];
    Finding::new(Cause::LeaseExpired, Status::Warning, facts)
}
