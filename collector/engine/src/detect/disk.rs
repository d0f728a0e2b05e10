//! SickDisk: the sidecar cannot write its state directory. It goes on in memory and hurts nobody,
//! but a crash of it would now cost what it remembers, and it refuses remote destruction.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::Agent;
use crate::finding::Finding;

pub(super) fn find(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let why = &report.health.sick_disk;
    if why.is_empty() {
        return None;
    }
    let facts = [("error", why.as_str().into()), ("failed", report.health.writes_failed.into())];
    Some(Finding::new(Cause::SickDisk, Status::Warning, facts))
}
