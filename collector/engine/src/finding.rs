//! A finding that stands.

use lubdub_shared::incident::Finding;
use lubdub_shared::time::Now;

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
