//! Unreachable and Missing: the link is lost, and nothing is known of the agent.
//!
//! A collector that cannot hear a sidecar cannot reach it either. There is no edge from here to a
//! restart or an apoptosis: the rows of these causes let them do no more than tell, and the ladder
//! acts on nothing but a report that has just arrived.

use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::{Draft, View};
use crate::agent::{Agent, Stream};

pub(super) fn find(agent: &Agent, view: View) -> Option<Finding> {
    let since = agent.unreachable_at()?;
    let stands = matches!(agent.seen.findings.first(), Some(standing)
        if matches!(standing.finding.cause, Cause::Unreachable | Cause::Missing));
    // While warming up no new verdict rests on absence; one that stood before still stands.
    if view.now < since || (view.warming && !stands) {
        return None;
    }
    let missing = view.now >= since.after(agent.policy.missing_after);
    let silent = words(view.now.since(agent.link.heard));
    let stream = match agent.link.stream {
        Stream::Up { .. } => "the stream stands, but nothing comes",
        Stream::Lost => "the stream was lost",
        Stream::Left { .. } => "the sidecar is not back",
    };
    let finding = Draft {
        cause: if missing { Cause::Missing } else { Cause::Unreachable },
        level: if missing { Status::Critical } else { Status::Unknown },
        detail: format!("no report for {silent}; {stream}"),
        evidence: [("report_age", silent), ("link", stream.to_owned())],
        rule: "no report for unreachable_after and three intervals; Missing at missing_after more. \
               Says nothing about the agent, and never leads to an act",
        cancelled_by: "a report",
    };
    Some(finding.into())
}
