//! SickSidecar and Unheard: the sidecar cannot do its own work, or cannot hear its agent. Neither
//! says anything about the agent, and neither leads to an act.

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Draft, View};
use crate::agent::Agent;

pub(super) fn sick(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let (why, age) = (&report.health.sick, report.health.sick_for);
    if why.is_empty() {
        return None;
    }
    let lasts = age >= agent.policy.unreachable_after;
    let finding = Draft {
        cause: Cause::SickSidecar,
        level: if lasts { Status::Warning } else { Status::Unknown },
        detail: format!("its sidecar cannot do its own work: {why}"),
        evidence: [("error", why.clone()), ("for", words(age))],
        rule: "the sidecar was refused what it needs itself: descriptors, processes, /proc, a file \
               of its own. It tries again, and counts it against nobody; Warning after \
               unreachable_after",
        cancelled_by: "the next try that works",
    };
    Some(finding.into())
}

pub(super) fn unheard(agent: &Agent, _: View) -> Option<Finding> {
    let report = agent.seen.report.as_ref().filter(|_| agent.is_connected())?;
    let why = &report.health.unheard;
    if why.is_empty() {
        return None;
    }
    let finding = Draft {
        cause: Cause::Unheard,
        level: Status::Unknown,
        detail: format!("its sidecar cannot hear it: {why}"),
        evidence: [("error", why.clone())],
        rule: "the local door is shut, so silence is nobody's fault: no clock of beats or progress \
               runs. Never leads to an act",
        cancelled_by: "the door made anew, or another one for the next life",
    };
    Some(finding.into())
}
