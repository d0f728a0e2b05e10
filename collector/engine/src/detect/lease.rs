//! LeaseExpired: the agent said how long its call may take, and it took longer; or it waits for a
//! rate limit again and again.

use lubdub_shared::beat::Ages;
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Detector, Draft, age};

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
    let finding = Draft {
        cause: Cause::LeaseExpired,
        level: super::level_asked(policy, Cause::LeaseExpired),
        detail: format!("the lease on phase {phase} ended {} ago", age(lease.over)),
        evidence: [("over", age(lease.over)), ("phase", phase.to_owned())],
        rule: "a lease and its slack (10 %, at least 5 s) have passed; the phase's clock runs on",
        cancelled_by: "another phase, a new lease, or progress",
    };
    Some(finding.into())
}

/// Told, and no more: who waits for a provider is never acted on, whatever the policy says.
fn waits_on(ages: &Ages, policy: &Policy) -> Finding {
    let waited = words(ages.waited);
    Draft {
        cause: Cause::LeaseExpired,
        level: Status::Warning,
        detail: format!("it has waited for a rate limit for {waited}, renewed without progress"),
        evidence: [("waited", waited), ("lease_max", words(policy.lease_max))],
        rule: "waits for a rate limit that are renewed without progress pass lease_max in sum",
        cancelled_by: "progress",
    }
    .into()
}
