//! PURE: gaps between beats that were survived. They teach patience, never haste.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Phase;
use serde::{Deserialize, Serialize};

/// The longest gaps between beats that an agent has survived, by phase. They only lengthen a
/// deadline. Kept across lives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gaps(BTreeMap<String, Duration>);

impl Gaps {
    fn key(phase: Option<Phase>) -> &'static str {
        phase.map_or("undeclared", Phase::as_str)
    }

    pub(super) fn survived(&mut self, phase: Option<Phase>, gap: Duration) {
        let known = self.0.get(Self::key(phase)).copied().unwrap_or_default();
        if gap > known {
            self.0.insert(Self::key(phase).to_owned(), gap);
        }
    }

    /// The policy's deadline, stretched to three times the longest gap, at most to four times
    /// itself.
    pub(super) fn stretch(&self, phase: Option<Phase>, deadline: Duration) -> Duration {
        let longest = self.0.get(Self::key(phase)).copied().unwrap_or_default();
        deadline.max((3 * longest).min(4 * deadline))
    }
}
