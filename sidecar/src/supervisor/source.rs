//! PURE: the counters of one sender inside the tree.

use super::ages::Steps;

#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) cycle: Option<u64>,
    progress: Option<u64>,
    pub(super) steps: Steps,
}

impl Source {
    /// Takes what was said; how far progress and turns have grown.
    pub(super) fn count(&mut self, progress: Option<u64>, cycle: Option<u64>) -> (u64, u64) {
        (grown(&mut self.progress, progress), grown(&mut self.cycle, cycle))
    }
}

/// How far a counter grew. The first value is a baseline, and so is a smaller one.
fn grown(known: &mut Option<u64>, said: Option<u64>) -> u64 {
    let Some(said) = said else { return 0 };
    let before = known.replace(said);
    before.map_or(0, |before| said.saturating_sub(before))
}
