//! Flapping: a status that comes and goes. Restarts and notifications are held while it does.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::Agent;
use crate::finding::Finding;

pub(super) fn find(agent: &Agent, view: View) -> Option<Finding> {
    let flaps = &agent.seen.flaps;
    let since = flaps.since()?;
    let limits = &agent.policy.limits.flapping;
    let facts = [
        ("lasted", view.now.since(since).into()),
        ("share", flaps.share().into()),
        ("on", limits.on.into()),
        ("off", limits.off.into()),
        ("every", limits.every.into()),
    ];
    Some(Finding::new(Cause::Flapping, Status::Warning, facts))
}
