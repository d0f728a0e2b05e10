//! PURE: a collector answers, with its policy, its store and what waited for this sidecar.

use std::time::Duration;

use lubdub_shared::policy::Policy;
use lubdub_shared::session::{Happening, Welcome};
use lubdub_shared::time::{Mono, scaled};

use super::{Action, State, Supervisor};
use crate::state::Home;

/// How often what changes all the time is persisted.
const KEEP_EVERY: Duration = Duration::from_secs(60);
impl Supervisor {
    pub(super) fn welcome(
        &mut self,
        welcome: Welcome,
        address: String,
        now: Mono,
        out: &mut Vec<Action>,
    ) {
        self.alone_since = None;
        self.interval = welcome.interval;
        // Spread over the interval: a fleet that came back at one moment does not report so.
        self.reported = self.ticks.before(scaled(self.interval, self.rng.f64()));
        self.set_policy(welcome.policy, welcome.policy_mark, out);
        let store = welcome.store;
        if let Some(old) = self.memory.home.as_ref().filter(|home| home.store != store) {
            let text = format!(
                "{address} has another store, {store}; what {} asked for is void",
                old.store
            );
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
            self.void_intent(out);
        }
        self.memory.accept(Home { store, address }, welcome.epoch);
        out.push(Action::Persist);
        for command in welcome.pending {
            self.command(command, now, out);
        }
        if matches!(self.state, State::Unborn { .. }) && !self.is_intending() {
            self.start(out);
        }
    }

    /// A policy holds from now on; under another one the clocks begin anew.
    pub(super) fn set_policy(&mut self, policy: Policy, mark: u64, out: &mut Vec<Action>) {
        if *self.policy() != policy {
            self.clocks.rebase();
        }
        self.memory.policy = Some(policy);
        if self.memory.policy_mark != mark {
            self.memory.policy_mark = mark;
            // The collector waits for a report that was made under it.
            self.told = None;
        }
        out.push(Action::Persist);
    }

    /// A command waits for the disk, and is not begun.
    pub(super) fn is_intending(&self) -> bool {
        self.memory.intent.as_ref().is_some_and(|intent| !intent.begun)
    }

    /// Ages, gaps and spending change all the time: a crash may cost a minute of them.
    pub(super) fn keep(&mut self, out: &mut Vec<Action>) {
        let alive = matches!(self.state, State::Running(_));
        if alive && self.ticks.since(self.kept) >= KEEP_EVERY {
            self.kept = self.ticks;
            out.push(Action::Persist);
        }
    }
}
