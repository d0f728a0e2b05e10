//! Causes, findings and incidents: what may be wrong, and how it is told.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::cause::Cause;
use crate::command::CommandKind;
use crate::id::{CommandId, IncidentId};
use crate::status::{Lifecycle, Status, words};
use crate::time::Wall;

words! {
    /// How an act ended, or how far it got.
    open ActionOutcome {
        /// Sent, and not answered yet.
        Accepted = "accepted",
        /// Carried out.
        Done = "done",
        /// The sidecar said no.
        Refused = "refused",
        /// It came too late to be carried out.
        Expired = "expired",
        /// It was tried, and did not work.
        Failed = "failed",
        /// Waits for a sidecar that is not there.
        Pending = "pending",
    }
}

/// What was done about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The command.
    pub command: CommandId,
    /// What it asked for.
    pub kind: CommandKind,
    /// How it went.
    pub outcome: ActionOutcome,
    /// What the sidecar answered, in words.
    pub detail: String,
    /// When it last changed.
    pub at: Wall,
    /// Id of the evidence that was gathered for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One trouble of one agent, from open to resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Sorts by the time it was opened.
    pub id: IncidentId,
    /// What the trouble is.
    pub cause: Cause,
    /// The worst it reached.
    pub level: Status,
    /// When it opened.
    pub opened: Wall,
    /// `None` while it is open.
    pub resolved: Option<Wall>,
    /// Ordinal of the life in which it opened; 0 when there was none.
    pub incarnation: u32,
    /// One line.
    pub summary: String,
    /// What was done, oldest first.
    pub actions: Vec<Action>,
}

/// A change of an agent's status or lifecycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Status,
    /// After.
    pub to: Status,
    /// Where the process is then.
    pub lifecycle: Lifecycle,
    /// The worst of what is wrong then.
    pub cause: Option<Cause>,
    /// Why, in one line.
    pub why: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{} ({})", self.to, self.lifecycle)?;
        } else {
            write!(f, "{} -> {} ({})", self.from, self.to, self.lifecycle)?;
        }
        if self.why.is_empty() { Ok(()) } else { write!(f, " {}", self.why) }
    }
}
