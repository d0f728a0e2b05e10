//! Every Critical reaches a person: there is an open incident while it stands.

use lubdub_shared::status::Status;

use super::Moment;

pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    let agent = moment.agent;
    let critical = agent.seen.status == Status::Critical;
    if critical && agent.incidents.iter().all(|incident| incident.resolved.is_some()) {
        return Err(format!("critical, and nobody is told: {:?}", agent.seen.findings));
    }
    Ok(())
}
