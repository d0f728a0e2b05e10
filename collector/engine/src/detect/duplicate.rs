//! Duplicate: two sidecar instances report one agent. Nobody acts on either: which of the two
//! processes is meant cannot be known.

use std::time::Duration;

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::{Agent, CONFLICT_GONE};
use crate::finding::Finding;

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
    let facts = [
        ("instance", rival.instance.to_string().into()),
        ("host", agent.who.host.as_str().into()),
        ("lasted", lasted.into()),
    ];
    Some(Finding::new(Cause::Duplicate, Status::Critical, facts))
}
