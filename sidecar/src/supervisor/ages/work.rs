//! PURE: what an agent gets done: counters, tasks, steps, and what it spends meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use lubdub_shared::beat::{Phase, TaskCounts};
use lubdub_shared::line::{Message, Spent};
use lubdub_shared::policy::{Policy, STRETCH_MAX};
use lubdub_shared::time::{Mono, scaled};
use lubdub_shared::trend::Repeats;

use crate::supervisor::gaps::Gaps;
use crate::supervisor::source::Source;
use crate::supervisor::tasks::Tasks;

/// Senders inside one tree whose counters are kept apart; further ones share the last place.
pub(super) const SOURCES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(in crate::supervisor) struct Work {
    pub(super) sources: HashMap<String, Source>,
    counter: u64,
    cycles: u64,
    /// Something better than turns of the loop was sent.
    counts_work: bool,
    /// A counter of progress was.
    told: bool,
    pub(super) moved: bool,
    /// Time in which progress was owed and did not come.
    pub(super) frozen: Duration,
    pub(in crate::supervisor) tasks: Tasks,
    /// In this life.
    pub(in crate::supervisor) spent: Spent,
    /// Since the last progress.
    burnt: Spent,
}

impl Work {
    /// Goes on where an earlier sidecar stood. The next count of each sender is a new baseline, and
    /// progress is missed only once this sidecar has seen some.
    pub(super) fn resumed(counter: u64, cycle: Option<u64>, tasks: TaskCounts) -> Self {
        let tasks = Tasks::resumed(tasks);
        // Which of both it was is told by the next message.
        let mut work = Self { counter, cycles: counter, tasks, ..Self::default() };
        if cycle.is_some() {
            work.source(None).cycle = cycle;
        }
        work
    }

    pub(super) fn counter(&self) -> u64 {
        if self.counts_work { self.counter } else { self.cycles }
    }

    pub(super) fn cycle(&self) -> Option<u64> {
        self.sources.values().filter_map(|source| source.cycle).max()
    }

    /// What was spent since the last progress, or since it was first spoken of; nothing, where it
    /// never was.
    pub(in crate::supervisor) fn since_progress(&self) -> Spent {
        if self.moved || self.told { self.burnt } else { Spent::default() }
    }

    /// Time in which progress was owed, of an agent that counts it and never made any.
    pub(super) fn still(&self) -> Option<Duration> {
        (self.told && !self.moved).then_some(self.frozen)
    }

    /// Progress is owed: a declared phase says so; an open task only where none is declared.
    pub(super) fn is_owed(&self, phase: Option<Phase>) -> bool {
        phase.map_or_else(|| self.tasks.any_open(), Phase::owes_progress)
    }

    /// Another phase, with another window of progress. What was frozen keeps its share of a longer
    /// window: an agent that comes out of a tool call of 40 minutes is not late at once because
    /// its own work has ten.
    pub(super) fn enter_phase(&mut self, before: Duration, now: Duration) {
        if now < before {
            self.frozen = scaled(self.frozen, now.as_secs_f64() / before.as_secs_f64());
        }
    }

    /// Takes what a message says of work. True when progress was made. `charged` is the time of
    /// this life in which clocks ran.
    pub(super) fn take(
        &mut self,
        message: &mut Message,
        (now, charged): (Mono, Duration),
        phase: Option<Phase>,
        policy: &Policy,
        gaps: &mut Gaps,
    ) -> bool {
        add(&mut self.spent, message.spent);
        add(&mut self.burnt, message.spent);
        let (worked, turned) = self.count(message, (now, charged), &policy.limits.looping.exempt);
        let moved = worked || (turned && !self.counts_work);
        if moved {
            let tokens = self.burnt.tokens_in.saturating_add(self.burnt.tokens_out);
            if self.moved {
                let longest = STRETCH_MAX * policy.progress_deadline(phase);
                let dearest = policy.limits.energy.burn_tokens.saturating_mul(STRETCH_MAX.into());
                gaps.between_steps(phase, self.frozen.min(longest), tokens.min(dearest));
            }
            (self.moved, self.frozen, self.burnt) = (true, Duration::ZERO, Spent::default());
        }
        moved
    }

    /// From the first word of a counter on it is missed. A first task may take as long as it takes.
    fn begin_to_count(&mut self) {
        self.counts_work = true;
        if !std::mem::replace(&mut self.told, true) && !self.moved {
            (self.frozen, self.burnt) = (Duration::ZERO, Spent::default());
        }
    }

    /// What is kept of a sender inside the tree; of further ones together.
    fn source(&mut self, name: Option<&str>) -> &mut Source {
        let name = name.unwrap_or_default();
        let full = self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(name);
        let name = if full { "…" } else { name };
        if !self.sources.contains_key(name) {
            self.sources.insert(name.to_owned(), Source::default());
        }
        self.sources.get_mut(name).expect("it was just inserted")
    }

    /// Of the sender that repeats itself most, kind by kind.
    pub(super) fn repeats(&self) -> Repeats {
        let most = |a: Repeats, b: Repeats| Repeats {
            same_result: a.same_result.max(b.same_result),
            same_error: a.same_error.max(b.same_error),
            period_two: a.period_two.max(b.period_two),
            period_three: a.period_three.max(b.period_three),
            monologue: a.monologue.max(b.monologue),
        };
        let each = self.sources.values().map(|source| source.steps.repeats());
        each.reduce(most).unwrap_or_default()
    }

    /// Steps of a wait were counted more leniently, and are no loop of what follows.
    pub(super) fn wait_is_over(&mut self) {
        self.sources.values_mut().for_each(|source| source.steps.clear());
    }

    /// Counters: monotone for each sender; a decrease is a new baseline. Finished tasks are
    /// progress; turns of the loop are only where nothing better was ever sent.
    fn count(
        &mut self,
        message: &mut Message,
        (now, charged): (Mono, Duration),
        exempt: &[String],
    ) -> (bool, bool) {
        let (mut worked, mut turned) = (false, false);
        if message.progress.is_some() || message.cycle.is_some() {
            if message.progress.is_some() {
                self.begin_to_count();
            }
            let source = self.source(message.source.as_deref());
            let (work, turns) = source.count(message.progress, message.cycle);
            self.counter = self.counter.saturating_add(work);
            self.cycles = self.cycles.saturating_add(turns);
            (worked, turned) = (work > 0, turns > 0);
        }
        if let Some(task) = message.task.take() {
            self.counts_work = true;
            if self.tasks.step(task, now, charged) {
                self.counter = self.counter.saturating_add(1);
                worked = true;
            }
        }
        if worked {
            self.source(message.source.as_deref()).steps.clear();
        }
        if let Some(step) = message.step.take() {
            self.source(message.source.as_deref()).steps.take(step, exempt);
        }
        (worked, turned)
    }
}

fn add(sum: &mut Spent, spent: Spent) {
    sum.tokens_in = sum.tokens_in.saturating_add(spent.tokens_in);
    sum.tokens_out = sum.tokens_out.saturating_add(spent.tokens_out);
    sum.cost_usd += spent.cost_usd;
}
