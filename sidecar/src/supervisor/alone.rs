//! PURE: the one rule by which a sidecar judges a living agent itself, where its file asks for it
//! (`alone.restart_silent`) and no collector is heard: armed, silent and inactive.
//!
//! The reason is on disk before the act, as for a command; then the agent is looked at once more.

use std::time::Duration;

use lubdub_shared::incident::Cause;
use lubdub_shared::late::{Late, Silence};
use lubdub_shared::policy::{Act, Mode};
use lubdub_shared::schedule::Next;
use lubdub_shared::session::Happening;
use lubdub_shared::time::words;

use super::{Action, State, Supervisor, Then};

/// A collector that restarts, or a link that flaps, is not yet an absent one.
const ALONE_AFTER: Duration = Duration::from_secs(60);

impl Supervisor {
    pub(super) fn judge_alone(&mut self, out: &mut Vec<Action>) {
        if self.condemned {
            return;
        }
        if let Some(why) = self.silent_alone() {
            self.condemned = true;
            let text = format!("alone.restart_silent: {why}");
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
            out.push(Action::Persist);
            out.push(Action::Intend);
        }
    }

    /// Why the agent must be ended, as far as the sidecar may judge that now.
    pub(super) fn silent_alone(&self) -> Option<String> {
        let alone = self.alone_since.is_some_and(|at| self.ticks.since(at) >= ALONE_AFTER);
        let runs = matches!(self.state, State::Running(_));
        if !self.local.restart_silent || !alone || !runs || self.memory.intent.is_some() {
            return None;
        }
        let policy = self.policy();
        let may = policy.mode == Mode::Enforce && policy.act(Cause::Silent) >= Act::Restart;
        let ages = self.ages();
        let silence = Late::of(&ages, policy).silence;
        let silent = may && matches!(silence, Silence::Silent { critical: true, .. });
        silent.then(|| {
            format!(
                "silent: no beat for {}, no activity for {}, and no collector is heard",
                words(ages.silence),
                words(ages.quiet)
            )
        })
    }

    /// The reason is written down, or cannot be; then nothing is done, and it is tried again.
    pub(super) fn end_alone(&mut self, written: bool, out: &mut Vec<Action>) {
        let condemned = std::mem::take(&mut self.condemned);
        if !matches!(self.state, State::Running(_)) {
            return;
        }
        let Some(why) = self.silent_alone().filter(|_| condemned && written) else { return };
        let (then, counts) = match self.memory.ledger.next(&self.policy().restart) {
            Next::After(delay) => (Then::Start { after: self.spread(delay) }, true),
            Next::Spent(spent) => (Then::Hold(self.exhausted(format!("{spent}; {why}"))), false),
        };
        out.push(Action::Persist);
        self.prepare(&why, then, counts, out);
    }
}
