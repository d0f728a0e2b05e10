//! Unkillable: the agent was killed, and does not end. Its process waits in the kernel, or somebody
//! froze it; nothing more can be done from outside, and nothing is started beside it.

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;

use super::{Draft, View};
use crate::agent::Agent;

pub(super) fn find(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let left = &report.health.unkillable;
    if left.is_empty() {
        return None;
    }
    let finding = Draft {
        cause: Cause::Unkillable,
        level: Status::Critical,
        detail: format!("killed, and still there: {left}"),
        evidence: [("processes", left.clone())],
        rule: "5 s after the kill it has not ended; it is not killed again and again, and no other \
               life is started beside it",
        cancelled_by: "its end: what it waits for answers, or it is thawed",
    };
    Some(finding.into())
}
