//! PURE: the proof that refills the restart schedule.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Evidence};
use lubdub_shared::late::{Late, Past, Silence};
use lubdub_shared::session::Happening;

use super::{Action, Supervisor};

impl Supervisor {
    /// Stability that refills the schedule: the kinds of evidence that earlier lives showed, with
    /// no clock late, for `stable_after` without a break, and once more after that: who hangs
    /// before its clock runs out has proven nothing.
    pub(super) fn prove(&mut self, out: &mut Vec<Action>) {
        let ages = self.ages();
        let late = Late::of(&ages, self.policy());
        let well = late.silence == Silence::InTime
            && late.never_seen == Past::Not
            && late.progress == Past::Not
            && ages.failed.is_empty()
            && ages.paused.is_none()
            // Who ends proves nothing by taking its time.
            && self.clocks.stopping_for(self.ticks).is_none();
        let shown = ages.evidence();
        if !well || !shown.covers(self.memory.shown) {
            self.unproven_until = ages.up;
        }
        if self.memory.shown.union(shown) != self.memory.shown {
            self.memory.shown = self.memory.shown.union(shown);
            out.push(Action::Persist);
        }
        let proven = ages.up.saturating_sub(self.unproven_until);
        let beyond = proven.checked_sub(self.policy().restart.stable_after);
        let stable = beyond.is_some_and(|beyond| goes_on(&ages, self.memory.shown, beyond));
        if stable && self.memory.ledger.used() > 0 {
            self.memory.ledger.refill();
            let text = "stability proven: the restart schedule is refilled".to_owned();
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
            out.push(Action::Persist);
        }
    }
}

/// What is owed came once more since the time was over, so long ago.
fn goes_on(ages: &Ages, shown: Evidence, over: Duration) -> bool {
    let beats = !shown.beats || ages.deadline.is_none() || ages.silence <= over;
    let moved = ages.progress.frozen.is_some_and(|frozen| frozen <= over);
    let progress = !shown.progress || !ages.progress.owed || moved;
    beats && progress
}
