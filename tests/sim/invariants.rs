//! What must hold at every step of every life. One file each.

use std::time::Duration;

use lubdub_engine::{Agent, AgentIndex, Effect};
use lubdub_shared::command::Command;
use lubdub_shared::policy::Policy;
use lubdub_shared::time::Mono;

use super::script::Truth;

mod acts_are_recorded;
mod critical_is_told;
mod nobody_acts_on_silence_alone;
mod status_is_the_worst_finding;
mod who_waits_is_left_alone;

/// One step: what the engine knows and did, and what is true.
pub(super) struct Moment<'w> {
    pub(super) now: Mono,
    pub(super) agent: &'w Agent,
    pub(super) effects: &'w [(AgentIndex, Effect)],
    pub(super) truth: Truth,
    /// What its script was given.
    pub(super) policy: &'w Policy,
    /// Since the script last said anything.
    pub(super) silent_for: Duration,
    /// Since the script's tree last did anything.
    pub(super) inactive_for: Duration,
}

impl Moment<'_> {
    /// Commands that would end a living tree.
    fn destructive(&self) -> impl Iterator<Item = &Command> {
        self.effects.iter().filter_map(|(_, effect)| {
            let Effect::Send(command) = effect else { return None };
            command.kind.is_destructive().then_some(&**command)
        })
    }
}

/// Holds all of them against a step.
pub(super) fn check(moment: &Moment<'_>) -> Result<(), String> {
    status_is_the_worst_finding::check(moment)?;
    critical_is_told::check(moment)?;
    acts_are_recorded::check(moment)?;
    who_waits_is_left_alone::check(moment)?;
    nobody_acts_on_silence_alone::check(moment)
}
