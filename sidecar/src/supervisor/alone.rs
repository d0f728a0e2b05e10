//! PURE: the one rule by which a sidecar judges a living agent itself, where its file asks for it
//! (`alone.restart_silent`) and no collector is heard: armed, silent and inactive.

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
        let alone = self.alone_since.is_some_and(|at| self.ticks.since(at) >= ALONE_AFTER);
        let State::Running(process) = self.state else { return };
        if !self.local.restart_silent || !alone || self.memory.intent.is_some() {
            return;
        }
        let policy = self.policy();
        let may = policy.mode == Mode::Enforce && policy.act(Cause::Silent) >= Act::Restart;
        let ages = self.clocks.ages(self.ticks, policy, &self.memory.gaps);
        let silence = Late::of(&ages, policy).silence;
        if !may || !matches!(silence, Silence::Silent { critical: true, .. }) {
            return;
        }
        let (signal, grace) = (policy.restart.stop_signal, policy.restart.term_grace);
        let why = format!(
            "silent: no beat for {}, no activity for {}, and no collector is heard",
            words(ages.silence),
            words(ages.quiet)
        );
        let then = match self.memory.ledger.next(&policy.restart) {
            Next::After(delay) => {
                self.memory.ledger.record();
                Then::Start { after: self.spread(delay) }
            }
            Next::Spent(spent) => Then::Hold(self.exhausted(format!("{spent}; {why}"))),
        };
        let text = match &then {
            Then::Start { .. } => format!("alone.restart_silent: restarted; {why}"),
            Then::Hold(_) | Then::End => format!("alone.restart_silent: ended; {why}"),
        };
        let kill_at = self.ticks.after(grace);
        self.state = State::Stopping { process, kill_at, then };
        // The reason is on record before the act.
        out.push(Action::Emit(self.memory.life, Happening::Note { text }));
        out.push(Action::Persist);
        out.push(Action::SignalMain(signal));
    }
}
