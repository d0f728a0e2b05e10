//! PURE: decides what happens to the agent's process. The driver tells it what happened, it
//! answers with actions; it never signals, spawns, waits or reads a clock itself.
//!
//! ```text
//!            Welcome, or            Started               MainExited
//!  Unborn ───patience over──▶ Starting ──▶ Running ───────────────────▶ Sweeping
//!                                 ▲           │ command                    │ TreeGone
//!                                 │       Preparing ──exit─────────────────┤
//!                                 │           │ gathered, or patience over │
//!                              Resting     Stopping ──exit, or grace over──┤
//!                                 ▲                                        │
//!                                 ├──────────── a start follows ◀──────────┤
//!                       start,    │                                        │
//!                       revive    │                                        ▼
//!                             Held ◀── stop, quarantine, apoptosis ──── or Ended
//! ```
//!
//! Plain supervision (exit → restart by schedule) is decided here alone, link or not. Judgement of
//! a living agent is the collector's; its commands arrive here, are written down, and are held
//! against a fresh sample before and after that.

use std::collections::VecDeque;
use std::time::Duration;

use lubdub_shared::beat::{Exit, Health};
use lubdub_shared::command::{Outcome, Survivor};
use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::policy::Policy;
use lubdub_shared::schedule::jittered;
use lubdub_shared::session::Hold;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, Now, TickClock};

use crate::state::Memory;
use crate::vitals::TreeSample;

mod ages;
mod alone;
mod beginning;
mod budget;
mod command;
mod drain;
mod ending;
mod event;
mod gaps;
mod growth;
mod histogram;
mod nudge;
mod prepare;
mod recent;
mod report;
mod senses;
mod shutdown;
mod source;
mod stability;
mod tasks;
mod welcome;

use ages::LifeClocks;
pub use budget::{Budget, Spending};
use drain::Drain;
pub use event::{Action, Event};
pub use gaps::Gaps;
use growth::Growth;
pub use nudge::Notice;
use nudge::Nudging;
use prepare::Step;
pub use prepare::{EVIDENCE_PATIENCE, Gather, Gathered, Purpose};
pub use recent::History;
use recent::Recent;
pub(crate) use report::Standing;
use report::Telling;

/// How long a start waits for a newer policy than the one it remembers.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a first start waits for a collector's policy.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a first start waits once no collector could be reached: one that is just being started
/// has this long to listen.
const REFUSED_PATIENCE: Duration = Duration::from_millis(500);
/// Reports whose sending times are remembered, so that a stale command can be told.
const SENT_MAX: usize = 256;
/// Outcomes that are remembered, so that a repeated command is answered and not repeated.
const OUTCOMES_MAX: usize = 128;

/// Where the process is.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Never started by this sidecar; waits for a policy.
    Unborn { patience: Mono },
    /// Between a stop and the next start.
    Resting { start_at: Mono },
    /// A start was ordered; a signal that came meanwhile waits for its process.
    Starting { shutdown: Option<i32> },
    /// The main process lives.
    Running(ProcessId),
    /// It is about to be asked to stop: evidence is gathered, and its checkpoint made.
    Preparing { process: ProcessId, until: Mono, then: Then, counts: bool, step: Step },
    /// It was asked to stop.
    Stopping { process: ProcessId, kill_at: Mono, then: Then },
    /// It is gone, or being killed; its tree is swept. `kill_at` is `None` once the kill was
    /// ordered.
    /// `left` still ran when the main process had ended by itself.
    Sweeping {
        exit: Option<Exit>,
        kill_at: Option<Mono>,
        asked: bool,
        left: Vec<Survivor>,
        then: Then,
    },
    /// Held down.
    Held(Hold),
    /// The sidecar ends; how its agent did.
    Ended(Lifecycle),
}

/// What follows a stop.
#[derive(Debug, Clone, PartialEq)]
enum Then {
    Start { after: Duration },
    Hold(Hold),
    End,
}

/// What the sidecar's own file settles.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Local {
    /// What the agent may spend.
    pub budget: Option<Budget>,
    /// Without a collector, a silent and inactive agent is restarted.
    pub restart_silent: bool,
    /// How long the checkpoint hook may take; `None` where there is none.
    pub checkpoint: Option<Duration>,
    /// A local command restarts the agent, and has this long.
    pub restarted_by_command: Option<Duration>,
    /// It runs one life, which is ended after this time.
    pub once: Option<Once>,
    /// It runs in a terminal's foreground: what Ctrl-C ends is ended for good.
    pub interactive: bool,
}

/// Bounds of the only life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Once {
    /// How long it may take.
    pub timeout: Duration,
    /// How long it may go on after that, once it was asked to end.
    pub grace: Duration,
}

/// The supervisor of one agent.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct Supervisor {
    state: State,
    memory: Memory,
    local: Local,
    clock: TickClock,
    ticks: Mono,
    clocks: LifeClocks,
    growth: Growth,
    drain: Drain,
    recent: Recent,
    sample: Option<TreeSample>,
    cpu_ratio: Option<f64>,
    cpu_before: Option<(Mono, Duration)>,
    /// Age of the life up to which its stability is not proven.
    unproven_until: Duration,
    interval: Duration,
    reported: Mono,
    told: Option<Telling>,
    /// A process of this agent ran under this supervisor.
    ran: bool,
    /// Who does not die though it was killed.
    stuck: Vec<Survivor>,
    /// Its only life took too long.
    timed_out: bool,
    /// That its own stop takes too long was told.
    told_of_stopping: bool,
    number: u64,
    sent: VecDeque<(u64, Mono)>,
    /// Since when no collector is heard.
    alone_since: Option<Mono>,
    /// It judged a silent agent itself, and waits for the disk.
    condemned: bool,
    /// A nudge that nobody took yet.
    nudging: Option<Nudging>,
    /// A capture that somebody asked for, and its answer as far as it is known.
    capturing: Option<Outcome>,
    /// Somebody takes nudges: a long poll, or a local hook.
    listens: bool,
    /// When a command under way came in, on the system's clock.
    arrived: Mono,
    /// When what changes all the time was last persisted.
    kept: Mono,
    health: Health,
    rng: fastrand::Rng,
}

impl Supervisor {
    /// A supervisor with what it remembers; `seed` feeds life ids and jitter.
    pub fn new(memory: Memory, local: Local, seed: u64, now: Mono) -> Self {
        let mut clock = TickClock::new(now);
        let ticks = clock.advance(now);
        let state = match memory.hold.clone() {
            Some(hold) => State::Held(hold),
            // Nobody's policy holds for it.
            None if local.once.is_some() => State::Unborn { patience: ticks },
            None if memory.policy.is_some() => State::Unborn { patience: ticks.after(PATIENCE) },
            None => State::Unborn { patience: ticks.after(FIRST_PATIENCE) },
        };
        Self {
            state,
            memory,
            local,
            clock,
            ticks,
            clocks: LifeClocks::new(ticks),
            growth: Growth::default(),
            drain: Drain::default(),
            recent: Recent::default(),
            sample: None,
            cpu_ratio: None,
            cpu_before: None,
            unproven_until: Duration::ZERO,
            interval: Duration::from_secs(5),
            reported: ticks,
            told: None,
            ran: false,
            stuck: Vec::new(),
            timed_out: false,
            told_of_stopping: false,
            number: 0,
            sent: VecDeque::new(),
            alone_since: Some(ticks),
            condemned: false,
            nudging: None,
            capturing: None,
            listens: false,
            arrived: now,
            kept: ticks,
            health: Health::default(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Applies an event. Actions are appended to `out`.
    pub fn handle(&mut self, event: Event, now: Now, out: &mut Vec<Action>) {
        self.advance(now.mono);
        match event {
            Event::Tick => {
                self.rest(now.wall);
                self.tick(out);
            }
            Event::Welcome(welcome, address) => self.welcome(*welcome, address, now.mono, out),
            Event::Policy(policy, mark) => self.set_policy(*policy, mark, out),
            Event::Noticed(command, taken) => self.noticed(command, taken, out),
            Event::LinkLost => self.alone_since = self.alone_since.or(Some(self.ticks)),
            Event::Started(process) => self.started(process, out),
            Event::StartFailed(code, why) => self.start_failed(code, &why, out),
            Event::MainMoved(process) => self.main_moved(process, out),
            Event::Unreachable => self.wait_no_more(),
            Event::MainExited(exit, left) => self.main_exited(exit, left, out),
            Event::NobodyLaunched(why) => self.nobody_launched(why, out),
            Event::TreeGone(survivors) => self.tree_gone(survivors, out),
            Event::Unkillable(survivors, plight) => self.unkillable(survivors, plight, out),
            Event::Gathered(gathered) => self.gathered(*gathered, out),
            Event::Checkpointed(done) => self.checkpointed(done, out),
            Event::Command(command) => self.command(*command, now.mono, out),
            Event::Intended(written) => self.intended(written, now.mono, out),
            Event::Shutdown(signal) => self.shutdown(signal, out),
        }
        self.tell(out);
    }

    /// The sidecar's file settles this from now on.
    pub fn set_local(&mut self, local: Local) {
        self.local = local;
    }

    /// What must survive a crash.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        self.memory.policy()
    }

    /// The life that runs, or ran last.
    pub fn life(&self) -> Option<Life> {
        self.memory.life
    }

    /// The main process, while it lives.
    pub fn process(&self) -> Option<ProcessId> {
        match &self.state {
            State::Running(process)
            | State::Preparing { process, .. }
            | State::Stopping { process, .. } => Some(*process),
            State::Unborn { .. }
            | State::Resting { .. }
            | State::Starting { .. }
            | State::Sweeping { .. }
            | State::Held(_)
            | State::Ended(_) => None,
        }
    }

    /// The tree is being swept.
    pub fn is_sweeping(&self) -> bool {
        matches!(self.state, State::Sweeping { .. })
    }

    /// The tree is being swept, and may be gone any moment: the driver looks closely.
    pub fn is_sweeping_fast(&self) -> bool {
        self.is_sweeping() && self.health.unkillable.is_empty()
    }

    fn advance(&mut self, now: Mono) {
        let before = self.ticks;
        self.ticks = self.clock.advance(now);
        let passed = self.ticks.since(before);
        if passed.is_zero() {
            return;
        }
        if self.clock.overslept() {
            // The collector has missed its reports: it hears at once that all is well.
            self.told = None;
        }
        self.memory.ledger.age(passed);
        if let Some(budget) = &self.local.budget {
            self.memory.spending.age(passed, budget);
        }
        if matches!(self.state, State::Running(_)) {
            self.clocks.advance(self.ticks);
        }
    }

    fn tick(&mut self, out: &mut Vec<Action>) {
        // What waited for this sidecar is settled before a first start.
        let idle = !self.is_intending();
        match &mut self.state {
            State::Unborn { patience } if self.ticks >= *patience && idle => self.start(out),
            State::Resting { start_at } if self.ticks >= *start_at => self.start(out),
            State::Running(process) => {
                let process = *process;
                self.prove(out);
                self.judge_alone(out);
                self.end_in_time(process, out);
                self.judge_stopping(out);
            }
            State::Preparing { until, step, .. } if self.ticks >= *until => {
                let step = *step;
                self.prepared(step, out);
            }
            State::Stopping { kill_at, then, .. } if self.ticks >= *kill_at => {
                let then = then.clone();
                self.state = killed(then);
                out.push(Action::KillTree);
            }
            State::Sweeping { kill_at, .. } if kill_at.is_some_and(|at| self.ticks >= at) => {
                *kill_at = None;
                out.push(Action::KillTree);
            }
            State::Unborn { .. }
            | State::Resting { .. }
            | State::Starting { .. }
            | State::Preparing { .. }
            | State::Stopping { .. }
            | State::Sweeping { .. }
            | State::Held(_)
            | State::Ended(_) => {}
        }
        if let Some(energy) = self.energy() {
            self.drain.note(energy, self.ticks);
        }
        self.expire_nudge(out);
        self.keep(out);
    }

    /// How long a first start waits for its policy at most, where it has none.
    pub(crate) fn waits_for_policy(&self) -> Option<Duration> {
        let none = self.memory.policy.is_none() && self.local.once.is_none();
        let State::Unborn { patience } = self.state else { return None };
        none.then(|| patience.since(self.ticks))
    }

    /// A first start waits for a collector that answers, not for one that refuses.
    fn wait_no_more(&mut self) {
        if let State::Unborn { patience } = &mut self.state {
            *patience = (*patience).min(self.ticks.after(REFUSED_PATIENCE));
        }
    }

    fn spread(&mut self, delay: Duration) -> Duration {
        let unit = self.rng.f64();
        jittered(delay, self.policy().restart.delay.jitter, unit)
    }
}

/// The kill of all that is left was ordered.
fn killed(then: Then) -> State {
    State::Sweeping { exit: None, kill_at: None, asked: true, left: Vec::new(), then }
}

#[cfg(test)]
mod tests;
