//! SickDisk: the sidecar cannot write its state directory. It goes on in memory and hurts nobody,
//! but a crash of it would now cost what it remembers, and it refuses remote destruction.

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;

use super::{Draft, View};
use crate::agent::Agent;

pub(super) fn find(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let why = &report.health.sick_disk;
    if why.is_empty() {
        return None;
    }
    let finding = Draft {
        cause: Cause::SickDisk,
        level: Status::Warning,
        detail: format!("its sidecar cannot write its state: {why}"),
        evidence: [("error", why.clone()), ("failed", report.health.writes_failed.to_string())],
        rule: "a write to the agent's state directory failed. The sidecar goes on in memory, and \
               refuses restart, stop and apoptosis until it can write again",
        cancelled_by: "a write that succeeds; it is tried each second",
    };
    Some(finding.into())
}
