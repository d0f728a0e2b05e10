//! Nothing is ended without a reason, and an open incident that holds the act.

use super::Moment;

pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    for command in moment.destructive() {
        let open = moment.agent.incidents.iter().filter(|incident| incident.resolved.is_none());
        let held = open.flat_map(|i| &i.actions).any(|action| action.command == command.id);
        if command.reason.is_empty() || !held {
            return Err(format!("{} without a record: {:?}", command.kind, command.reason));
        }
    }
    Ok(())
}
