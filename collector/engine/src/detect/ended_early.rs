//! EndedEarly: it ended well, and had not finished what it had begun. Nobody restarts it for that;
//! somebody must know.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::Agent;
use crate::finding::Finding;

/// It is found when the end is told, by what was reported last of that life, and stands until
/// another life begins or the agent is forgotten.
pub(super) fn find(agent: &Agent, _: View) -> Option<Finding> {
    if !agent.seen.lifecycle.is_down() {
        return None;
    }
    let stood = agent.seen.findings.iter().find(|s| s.finding.cause == Cause::EndedEarly);
    if let Some(stood) = stood {
        return Some(stood.finding.clone());
    }
    // Who was ended by somebody, or failed, has another story.
    let by_itself = agent.act().is_none() && agent.treatment.trouble().is_none();
    let report = agent.seen.report.as_deref().filter(|_| by_itself && agent.seen.down.is_none())?;
    let open = report.vitals.tasks.open;
    if open == 0 || report.life != agent.seen.life || report.lifecycle.is_down() {
        return None;
    }
    Some(Finding::new(Cause::EndedEarly, Status::Warning, [("open", open.into())]))
}
