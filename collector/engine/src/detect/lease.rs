//! LeaseExpired: the agent said how long its call may take, and it took longer.

use lubdub_shared::beat::Ages;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::Policy;

use super::{Draft, age};

pub(super) fn find(ages: &Ages, late: &Late, policy: &Policy) -> Option<Finding> {
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
