//! PURE: the one rule by which a sidecar judges a living agent itself, where its file asks for it
//! (`alone.restart_silent`) and no collector is heard: armed, silent and inactive.
//!
//! The reason is on disk before the act, as for a command; then the agent is looked at once more.

use std::time::Duration;

use lubdub_shared::incident::Cause;
use lubdub_shared::late::{Late, Silence};
use lubdub_shared::policy::{Act, Mode, RestartOn};
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

    /// Why the sidecar itself must end the agent, if it still must.
    pub(super) fn condemned_for(&self) -> Option<String> {
        self.silent_alone().or_else(|| self.never_stops())
    }

    /// The reason is written down, or cannot be; then nothing is done, and it is tried again.
    pub(super) fn end_condemned(&mut self, written: bool, out: &mut Vec<Action>) {
        let condemned = std::mem::take(&mut self.condemned);
        if !matches!(self.state, State::Running(_)) {
            return;
        }
        let Some(why) = self.condemned_for().filter(|_| condemned && written) else { return };
        let restart = &self.policy().restart;
        let stays = restart.on == RestartOn::Never && self.never_stops().is_some();
        let (then, counts) = match self.memory.ledger.next(restart) {
            _ if stays => (Then::End, false),
            Next::After(delay) => (Then::Start { after: self.spread(delay) }, true),
            Next::Spent(spent) => (Then::Hold(self.exhausted(format!("{spent}; {why}"))), false),
        };
        out.push(Action::Persist);
        self.prepare(&why, then, counts, out);
    }
}
