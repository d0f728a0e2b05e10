//! No automatic act begins while a sidecar is known to carry one out. An act is over when the tree
//! has ended, when the command was answered, or when neither was heard in time.
//!
//! A sidecar that takes a command shows it at once: its agent is stopping. One that does not is
//! deaf, and what is asked of it holds up nobody else for longer than [`HEARD_WITHIN`]; but only
//! so many may be deaf at one time, since they may all wake up: then that many act at once, and
//! nothing else begins before all of them are over.

use std::time::Duration;

use lubdub_shared::command::AUTOMATIC_TTL;
use lubdub_shared::id::CommandId;
use lubdub_shared::time::Mono;

use crate::AgentIndex;

/// An intent is on disk, and a report back, well within this.
const HEARD_WITHIN: Duration = Duration::from_millis(1500);
/// Commands that nobody has heard and that may still be carried out: of a small fleet so many, of a
/// large one a tenth.
const UNHEARD_MIN: usize = 5;

/// An act under way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Act {
    agent: AgentIndex,
    command: CommandId,
    sent: Mono,
    due: Mono,
    heard: bool,
}

impl Act {
    /// Nobody has heard of it, and it may still be carried out.
    fn is_deaf(&self, now: Mono) -> bool {
        !self.heard && now < self.deaf_until()
    }

    fn deaf_until(&self) -> Mono {
        self.sent.after(AUTOMATIC_TTL)
    }

    /// Nothing else may begin now.
    fn holds(&self, now: Mono) -> bool {
        now < self.held_until()
    }

    fn held_until(&self) -> Mono {
        let until = if self.heard { self.due } else { self.sent.after(HEARD_WITHIN) };
        until.min(self.due)
    }
}

/// The acts under way, and those that nobody seems to have heard.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Slots(Vec<Act>);

impl Slots {
    /// No other act may begin now, in a fleet of so many.
    fn are_taken(&self, fleet: usize, now: Mono) -> bool {
        let deaf = self.0.iter().filter(|act| act.is_deaf(now)).count();
        self.0.iter().any(|act| act.holds(now)) || deaf >= UNHEARD_MIN.max(fleet / 10)
    }

    /// Until when no other act may begin, in a fleet of so many, if nobody answers; `None` when one
    /// may now.
    pub(crate) fn taken_until(&self, fleet: usize, now: Mono) -> Option<Mono> {
        if !self.are_taken(fleet, now) {
            return None;
        }
        let ends = self.0.iter().flat_map(|act| [act.held_until(), act.deaf_until()]);
        ends.filter(|end| *end > now && !self.are_taken(fleet, *end)).min()
    }

    /// An act begins.
    pub(crate) fn take(&mut self, agent: AgentIndex, command: CommandId, now: Mono, due: Mono) {
        self.0.retain(|act| act.is_deaf(now) || act.holds(now));
        self.0.push(Act { agent, command, sent: now, due, heard: false });
    }

    /// The agent is stopping: its sidecar has heard.
    pub(crate) fn note_heard(&mut self, agent: AgentIndex) {
        for act in self.0.iter_mut().filter(|act| act.agent == agent) {
            act.heard = true;
        }
    }

    /// Nothing is under way for the agent any more.
    pub(crate) fn free_agent(&mut self, agent: AgentIndex) {
        self.0.retain(|act| act.agent != agent);
    }

    /// The command was answered.
    pub(crate) fn free_command(&mut self, command: CommandId) {
        self.0.retain(|act| act.command != command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(0).after(Duration::from_millis(ms))
    }

    fn id(seed: u64) -> CommandId {
        CommandId::random(&mut fastrand::Rng::with_seed(seed))
    }

    #[test]
    fn who_has_heard_holds_the_slot_and_who_has_not_holds_it_for_a_moment() {
        let (heard, deaf) = (AgentIndex(1), AgentIndex(2));
        let mut slots = Slots::default();
        slots.take(heard, id(1), at(0), at(50_000));
        slots.note_heard(heard);
        assert!(slots.are_taken(5, at(49_999)) && !slots.are_taken(5, at(50_000)));
        slots.take(deaf, id(2), at(50_000), at(100_000));
        assert!(slots.are_taken(5, at(51_499)) && !slots.are_taken(5, at(51_500)));
        slots.free_command(id(2));
        assert!(!slots.are_taken(5, at(50_001)), "it was answered");
    }

    #[test]
    fn one_that_hears_late_holds_the_slot_as_well() {
        let (late, deaf) = (AgentIndex(1), AgentIndex(2));
        let mut slots = Slots::default();
        slots.take(late, id(1), at(0), at(50_000));
        slots.take(deaf, id(2), at(2_000), at(52_000));
        assert!(!slots.are_taken(5, at(4_000)));
        slots.note_heard(late);
        assert!(slots.are_taken(5, at(4_000)) && slots.are_taken(5, at(49_999)));
        slots.free_agent(late);
        assert!(!slots.are_taken(5, at(4_000)), "its tree has ended");
    }

    #[test]
    fn not_many_may_be_deaf_at_one_time() {
        let mut slots = Slots::default();
        for number in 0..5 {
            let now = at(u64::from(number) * 2_000);
            assert!(!slots.are_taken(5, now), "{number}");
            slots.take(AgentIndex(number), id(number.into()), now, now.after(AUTOMATIC_TTL * 2));
        }
        assert!(slots.are_taken(5, at(10_000)), "all five may wake up");
        assert!(!slots.are_taken(100, at(10_000)), "a tenth of a large fleet");
        slots.free_agent(AgentIndex(0));
        assert!(!slots.are_taken(5, at(10_000)));
        slots.take(AgentIndex(9), id(9), at(10_000), at(99_000));
        assert!(
            slots.are_taken(5, at(31_999)) && !slots.are_taken(5, at(32_000)),
            "their ttl ends"
        );
    }
}
