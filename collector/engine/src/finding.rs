//! What is wrong with an agent, as data: a cause, how bad it is, and the facts that it rests on.
//! What people are told of it is asked of [`crate::words`].

use lubdub_shared::cause::Cause;
use lubdub_shared::facts::{Fact, Facts};
use lubdub_shared::status::Status;
use lubdub_shared::time::Now;

/// One detector's opinion at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub cause: Cause,
    /// How bad it is.
    pub level: Status,
    /// What that rests on.
    pub facts: Facts,
    /// What was done about it since and did not help, oldest first.
    pub then: Vec<String>,
}

impl Finding {
    /// Of a cause that rests on some facts.
    pub(crate) fn new<const N: usize>(
        cause: Cause,
        level: Status,
        facts: [(&'static str, Fact); N],
    ) -> Self {
        Self { cause, level, facts: Facts::new(facts), then: Vec::new() }
    }
}

/// A finding with the moment it began.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveFinding {
    /// The detector's opinion now.
    pub finding: Finding,
    /// When this cause was first found.
    pub since: Now,
    /// It is not seen now: an act treats it, and is not yet proven to have helped.
    pub treated: bool,
    /// The agent was nudged for it.
    pub(crate) nudged: bool,
}

impl ActiveFinding {
    /// What no report shows: it stands until its treatment is proven.
    pub(crate) fn treated(finding: Finding, since: Now) -> Self {
        Self { finding, since, treated: true, nudged: false }
    }
}
