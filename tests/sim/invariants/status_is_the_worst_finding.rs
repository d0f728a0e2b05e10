//! A status holds no memory of its own: it is the worst of the findings of the moment.

use lubdub_shared::status::Status;

use super::Moment;

pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    let agent = moment.agent;
    let levels = agent.seen.findings.iter().map(|standing| standing.finding.level);
    let worst = levels.max_by_key(|level| level.severity());
    match (worst, agent.seen.status) {
        (Some(worst), status) if worst == status => Ok(()),
        (None, Status::Ok | Status::Unknown) => Ok(()),
        (worst, status) => Err(format!("status {status}, worst finding {worst:?}")),
    }
}
