//! Unkillable: the agent was killed, and does not end. Its process waits in the kernel, or somebody
//! froze it; nothing more can be done from outside, and nothing is started beside it.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::Agent;
use crate::finding::Finding;

pub(super) fn find(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let left = &report.health.unkillable;
    if left.is_empty() {
        return None;
    }
    let facts = [("processes", left.as_str().into())];
    Some(Finding::new(Cause::Unkillable, Status::Critical, facts))
}
