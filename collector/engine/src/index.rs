//! Numbers of agents: what everything but a Hello calls them by.

/// Dense number of an agent, given when it first attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgentIndex(pub(crate) u32);

impl AgentIndex {
    /// From 0; given again when an agent was forgotten.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}
