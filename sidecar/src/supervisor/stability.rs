//! PURE: the proof that refills the restart schedule.

use lubdub_shared::late::{Late, Past, Silence};
use lubdub_shared::session::Happening;

use super::{Action, Supervisor};

impl Supervisor {
    /// Stability that refills the schedule: the kinds of evidence that earlier lives showed, with
    /// no clock late, for `stable_after` without a break.
    pub(super) fn prove(&mut self, out: &mut Vec<Action>) {
        let ages = self.ages();
        let late = Late::of(&ages, self.policy());
        let well = late.silence == Silence::InTime
            && late.never_seen == Past::Not
            && late.progress == Past::Not
            && ages.failed.is_empty()
            && ages.paused.is_none();
        let shown = ages.evidence();
        if !well || !shown.covers(self.memory.shown) {
            self.unproven_until = ages.up;
        }
        if self.memory.shown.union(shown) != self.memory.shown {
            self.memory.shown = self.memory.shown.union(shown);
            out.push(Action::Persist);
        }
        let proven = ages.up.saturating_sub(self.unproven_until);
        let stable = proven >= self.policy().restart.stable_after;
        if stable && self.memory.ledger.used() > 0 {
            self.memory.ledger.refill();
            let text = "stability proven: the restart schedule is refilled".to_owned();
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
            out.push(Action::Persist);
        }
    }
}
