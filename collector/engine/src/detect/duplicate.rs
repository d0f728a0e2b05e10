//! Duplicate: two sidecar instances report one agent. Nobody acts on either: which of the two
//! processes is meant cannot be known.

use std::time::Duration;

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Draft, View};
use crate::agent::{Agent, CONFLICT_GONE};

/// A sidecar that is replaced overlaps with its successor for less.
const OVERLAP_MAX: Duration = Duration::from_secs(10);

pub(super) fn find(agent: &Agent, view: View) -> Option<Finding> {
    let rival = agent.link.conflict?;
    let lasted = rival.last.since(rival.first);
    let gone = view.now.since(rival.last) >= CONFLICT_GONE;
    // The other one is heard all the while: a stream that was cut without a reset is not.
    let both = agent.link.heard >= rival.first.after(OVERLAP_MAX);
    let stands = agent.seen.findings.iter().any(|s| s.finding.cause == Cause::Duplicate);
    if lasted < OVERLAP_MAX || !both || gone || (view.warming && !stands) {
        return None;
    }
    let finding = Draft {
        cause: Cause::Duplicate,
        level: Status::Critical,
        detail: format!("another sidecar reports this agent too, for {}", words(lasted)),
        evidence: [("instance", rival.instance.to_string()), ("host", agent.who.host.clone())],
        rule: "two sidecar instances report one agent for more than 10 s; nobody acts on either",
        cancelled_by: "the end of one of them: look for a second lubdub-sidecar run with this id",
    };
    Some(finding.into())
}
