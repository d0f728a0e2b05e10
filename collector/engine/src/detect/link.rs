//! Unreachable and Missing: the link is lost, and nothing is known of the agent.
//!
//! A collector that cannot hear a sidecar cannot reach it either. There is no edge from here to a
//! restart or an apoptosis: the rows of these causes let them do no more than tell, and the ladder
//! acts on nothing but a report that has just arrived.

use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;

use super::View;
use crate::agent::{Agent, Stream};
use crate::finding::Finding;

pub(super) fn find(agent: &Agent, view: View) -> Option<Finding> {
    let since = agent.unreachable_at()?;
    let stands = matches!(agent.seen.findings.first(), Some(standing)
        if matches!(standing.finding.cause, Cause::Unreachable | Cause::Missing));
    // While warming up no new verdict rests on absence; one that stood before still stands.
    if view.now < since || (view.warming && !stands) {
        return None;
    }
    let missing = view.now >= since.after(agent.policy.missing_after);
    let link = match agent.link.stream {
        Stream::Up { .. } => "the stream stands, but nothing comes",
        Stream::Lost => "the stream was lost",
        Stream::Left { .. } => "the sidecar is not back",
    };
    let (cause, level) = match missing {
        true => (Cause::Missing, Status::Critical),
        false => (Cause::Unreachable, Status::Unknown),
    };
    let age = view.now.since(agent.link.heard);
    Some(Finding::new(cause, level, [("report_age", age.into()), ("link", link.into())]))
}
