//! Flapping: a status that comes and goes. Restarts and notifications are held while it does.

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Draft, View};
use crate::agent::Agent;

pub(super) fn find(agent: &Agent, view: View) -> Option<Finding> {
    let flaps = &agent.seen.flaps;
    let since = flaps.since()?;
    let (limits, lasts) = (&agent.policy.limits.flapping, words(view.now.since(since)));
    let finding = Draft {
        cause: Cause::Flapping,
        level: Status::Warning,
        detail: format!(
            "its status comes and goes for {lasts}: {:.0} % of samples changed",
            flaps.share() * 100.0
        ),
        evidence: [
            ("share", format!("{:.3}", flaps.share())),
            ("on", limits.on.to_string()),
            ("off", limits.off.to_string()),
            ("every", words(limits.every)),
        ],
        rule: "weighted changes over 21 samples, one each flapping.every: on at flapping.on, off \
               at flapping.off. Restarts are held for flapping.hold_max; what calls for one then \
               is a quarantine",
        cancelled_by: "a status that stays",
    };
    Some(finding.into())
}
