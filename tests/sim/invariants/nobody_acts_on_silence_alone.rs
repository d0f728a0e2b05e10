//! An act for silence needs both: no word, and no activity, for a deadline, by the script's own
//! record.

use lubdub_shared::command::Requester;
use lubdub_shared::incident::Cause;

use super::Moment;

pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    let silence = |command: &&lubdub_shared::command::Command| {
        command.requested_by == Requester::Engine(Cause::Silent)
    };
    let Some(command) = moment.destructive().find(silence) else { return Ok(()) };
    let report = moment.agent.seen.report.as_ref();
    // The policy's own, not what the sidecar says; an agent's contract is the agent's.
    let ages = report.map(|report| &report.ages);
    let contract = ages.and_then(|ages| ages.deadline).filter(|deadline| deadline.explicit);
    let own = ages.and_then(|ages| moment.policy.beat_deadline(ages.phase));
    let deadline = contract.map(|deadline| deadline.after).or(own);
    let Some(deadline) = deadline else {
        return Err(format!("an act for silence in a phase without a clock: {}", command.reason));
    };
    if moment.silent_for < deadline || moment.inactive_for < deadline {
        return Err(format!(
            "acted on silence at {:?}: no word for {:?}, no activity for {:?}; {deadline:?}",
            moment.now, moment.silent_for, moment.inactive_for
        ));
    }
    Ok(())
}
