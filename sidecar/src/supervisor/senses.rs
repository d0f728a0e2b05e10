//! PURE: what is heard and seen of the agent, and the clocks that it leaves.

use std::time::Duration;

use lubdub_shared::beat::{ActivityKind, Ages};
use lubdub_shared::id::ProcessId;
use lubdub_shared::line::{Message, Spent};
use lubdub_shared::session::Happening;
use lubdub_shared::time::{Mono, Now, Wall};

use super::{Action, Supervisor};
use crate::vitals::TreeSample;

/// Without activity for so long a tree is worth a costlier look, and another after as long again.
const QUIET: Duration = Duration::from_secs(5);
/// Below this clock every tick looks.
const SHORT_CLOCK: Duration = Duration::from_secs(10);
/// Such looks that must fit into the clock that would run out first.
const LOOKS_BEFORE_SILENCE: u32 = 4;

impl Supervisor {
    /// Applies what the agent said.
    pub fn say(&mut self, message: Message, now: Now, out: &mut Vec<Action>) {
        self.advance(now.mono);
        if message.restart_reset {
            // As systemd documents: the agent itself says that it has recovered for good.
            self.memory.ledger.refill();
            out.push(Action::Persist);
        }
        if let Some(budget) = &self.local.budget
            && message.spent != Spent::default()
        {
            self.memory.spending.add(message.spent, budget);
        }
        self.rest(now.wall);
        self.recent.hear(&message, self.ticks);
        let (policy, gaps) = self.memory.policy_and_gaps();
        self.clocks.say(message, self.ticks, now.wall, policy, gaps);
        if self.clocks.take_capped() {
            let text = "it waits for a rate limit until later than any wait may last: 8 days count";
            let text = text.to_owned();
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
        }
        self.tell(out);
    }

    /// So many bytes came through the HTTP door.
    pub fn hear_bytes(&mut self, bytes: usize) {
        self.clocks.activity.heard(false, bytes);
    }

    /// A request that says nothing of the agent: handling it cost as much as a beat.
    pub fn hear_request(&mut self) {
        self.clocks.activity.heard(true, 0);
    }

    /// What a new sidecar must know to find the whole tree.
    pub fn set_orphans(&mut self, orphans: Vec<ProcessId>, out: &mut Vec<Action>) {
        if self.memory.orphans != orphans {
            self.memory.orphans = orphans;
            out.push(Action::Persist);
        }
    }

    /// How often costlier looks are due, while nothing that is looked at each second showed
    /// activity of late.
    pub fn costly_looks_every(&self) -> Option<Duration> {
        let pace = QUIET.min(self.shortest_clock() / LOOKS_BEFORE_SILENCE);
        let last = self.clocks.activity.last(self.ticks);
        let quiet = last.is_none_or(|last| last.age >= pace || last.kind == ActivityKind::Network);
        quiet.then_some(pace)
    }

    /// Without a sign of life it would run out first.
    pub fn shortest_clock(&self) -> Duration {
        let deadline = self.clocks.deadline(self.policy(), &self.memory.gaps);
        let deadline = deadline.map_or(Duration::MAX, |deadline| deadline.after);
        self.policy().inactive_after.min(deadline)
    }

    /// Applies a look at the tree.
    pub fn observe(&mut self, mut sample: TreeSample, now: Mono, out: &mut Vec<Action>) {
        self.advance(now);
        if let Some(before) = &self.sample {
            // What is looked for now and then.
            sample.fds = sample.fds.or(before.fds);
            sample.memory_limit = sample.memory_limit.or(before.memory_limit);
        }
        let deadline = self.clocks.deadline(self.policy(), &self.memory.gaps);
        self.clocks.set_paused(sample.paused, self.ticks);
        let window = deadline.map(|deadline| deadline.after);
        self.clocks.activity.sample(self.ticks, sample.counters, window);
        self.clocks.sampled(self.ticks);
        self.growth.note(sample.memory_bytes, self.ticks, self.policy().limits.memory.window);
        self.recent.sample(&sample, self.ticks);
        self.sample = Some(sample);
        self.tell(out);
    }

    /// Every tick looks: a clock is short, or a beat is half as late as it may be.
    pub fn looks_at_each_tick(&self) -> bool {
        let deadline = self.clocks.deadline(self.policy(), &self.memory.gaps);
        let late = deadline
            .zip(self.clocks.beat_age(self.ticks))
            .is_some_and(|(deadline, age)| age * 2 >= deadline.after);
        late || self.shortest_clock() <= SHORT_CLOCK
    }

    /// Whether anything is owed at this hour of the day.
    pub(super) fn rest(&mut self, wall: Wall) {
        let hours = &self.policy().limits.quiet_hours;
        let resting = hours.iter().any(|hours| hours.hold_at(wall));
        self.clocks.set_resting(resting);
    }

    /// The clocks of the life that runs, or ran last.
    pub(super) fn ages(&self) -> Ages {
        let gone = self.policy().limits.energy.gone;
        Ages {
            spent: self.energy().is_some_and(|energy| energy <= gone),
            ..self.clocks.ages(self.ticks, self.policy(), &self.memory.gaps)
        }
    }
}
