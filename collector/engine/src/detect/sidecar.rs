//! SickSidecar and Unheard: the sidecar cannot do its own work, or cannot hear its agent. Neither
//! says anything about the agent, and neither leads to an act.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::Agent;
use crate::finding::Finding;

pub(super) fn sick(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let (why, age) = (&report.health.sick, report.health.sick_for);
    if why.is_empty() {
        return None;
    }
    let level =
        if age >= agent.policy.unreachable_after { Status::Warning } else { Status::Unknown };
    let facts = [("error", why.as_str().into()), ("for", age.into())];
    Some(Finding::new(Cause::SickSidecar, level, facts))
}

pub(super) fn unheard(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let why = &report.health.unheard;
    if why.is_empty() {
        return None;
    }
    Some(Finding::new(Cause::Unheard, Status::Unknown, [("error", why.as_str().into())]))
}
