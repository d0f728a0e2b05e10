//! Wake-ups of agents: one heap, lazy, so that a report never re-arms a timer.
//!
//! Each agent holds the time of its one valid entry. A later due time leaves the entry where it
//! is: it fires early, finds nothing due and is set anew (the lease heap of etcd's lessor, with
//! the update made lazy).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lubdub_shared::time::Mono;

use crate::index::AgentIndex;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Mono, AgentIndex)>>,
}

impl Deadlines {
    /// Wakes an agent at `due`, unless it wakes earlier already. `wake` is the agent's own note of
    /// its valid entry.
    pub(crate) fn arm(&mut self, agent: AgentIndex, due: Option<Mono>, wake: &mut Option<Mono>) {
        let Some(due) = due else { return };
        if wake.is_none_or(|valid| due < valid) {
            *wake = Some(due);
            self.heap.push(Reverse((due, agent)));
        }
    }

    /// Takes one entry that is due. It counts only if the agent's note says the same time.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<(Mono, AgentIndex)> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }
}
