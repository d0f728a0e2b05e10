//! PURE: what the supervisor tells, and when: reports, and the heartbeat file's content.

use std::time::Duration;

use lubdub_shared::beat::{Evidence, Health, Phase, Report, Vitals};
use lubdub_shared::heartbeat_file::Heartbeat;
use lubdub_shared::id::LifeId;
use lubdub_shared::late::Late;
use lubdub_shared::line::Spent;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, Now, millis};
use lubdub_shared::trend::{Burn, MemoryTrend};

use super::{Action, SENT_MAX, State, Supervisor};

/// What makes the sidecar report at once when it changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Telling {
    late: Late,
    phase: Option<Phase>,
    lifecycle: Lifecycle,
    evidence: Evidence,
    failed: u32,
    life: Option<LifeId>,
    /// The tree was looked at in this life.
    seen: bool,
    /// The sidecar itself is sick, or deaf.
    ails: [bool; 2],
}

/// The agent, as far as a service manager above cares.
#[derive(Debug)]
pub(crate) struct Standing {
    /// It said so, or beat; or no life is to come up now: it is held down, or waits for its turn.
    pub(crate) ready: bool,
    /// For how long it has run, while it does.
    pub(crate) up: Option<Duration>,
    /// One line.
    pub(crate) line: String,
}

impl Supervisor {
    /// A look at everything, numbered.
    pub fn report(&mut self, now: Mono) -> Report {
        self.advance(now);
        self.number += 1;
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        self.reported = self.ticks;
        self.note_cpu();
        let policy = self.memory.policy();
        Report {
            number: self.number,
            life: self.memory.life,
            lifecycle: self.lifecycle(),
            pid: self.process().map(|process| process.pid.get()),
            ages: self.ages(),
            vitals: self.vitals(),
            ledger: self.memory.ledger.view(&policy.restart),
            health: self.health.clone(),
            starts_in: match self.state {
                State::Resting { start_at } => Some(start_at.since(self.ticks)),
                State::Unborn { .. }
                | State::Starting { .. }
                | State::Running(_)
                | State::Preparing { .. }
                | State::Stopping { .. }
                | State::Sweeping { .. }
                | State::Held(_)
                | State::Ended(_) => None,
            },
            policy: self.memory.policy_mark,
        }
    }

    /// What the driver could not do so far; it goes out with the next report.
    pub fn set_health(&mut self, health: Health) {
        let unkillable = std::mem::take(&mut self.health.unkillable);
        self.clocks.set_deaf(!health.unheard.is_empty());
        self.health = Health { unkillable, ..health };
    }

    /// Beats of the life that runs; none while no main process lives.
    pub fn beats(&self) -> u64 {
        self.process().map_or(0, |_| self.clocks.beats())
    }

    /// What a service manager above is told.
    pub(crate) fn standing(&self) -> Standing {
        let (runs, rests) = match self.state {
            State::Running(_) => (true, false),
            State::Resting { .. } | State::Held(_) | State::Ended(_) => (false, true),
            State::Unborn { .. }
            | State::Starting { .. }
            | State::Preparing { .. }
            | State::Stopping { .. }
            | State::Sweeping { .. } => (false, false),
        };
        let text = &self.clocks.text;
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        Standing {
            ready: rests || runs && self.clocks.is_ready(),
            up: runs.then(|| self.clocks.up(self.ticks)),
            line: format!("{}{said}", self.lifecycle()),
        }
    }

    /// The word for where the process is.
    pub fn lifecycle(&self) -> Lifecycle {
        match &self.state {
            State::Unborn { .. } | State::Starting { .. } => Lifecycle::Starting,
            State::Resting { .. } => Lifecycle::Restarting,
            State::Running(_) => Lifecycle::Running,
            State::Preparing { .. } | State::Stopping { .. } | State::Sweeping { .. } => {
                Lifecycle::Stopping
            }
            State::Held(hold) => hold.lifecycle,
            State::Ended(lifecycle) => *lifecycle,
        }
    }

    /// The agent's own part of the heartbeat file.
    pub fn heartbeat(&self, now: Now) -> Option<Heartbeat> {
        let process = self.process()?;
        let age = self.clocks.beat_age(self.ticks)?;
        let ages = self.ages();
        let mut vitals = self.clocks.vitals.clone();
        let spent = self.clocks.work.spent;
        if spent != Spent::default() {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 9e15 tokens")]
            let tokens =
                [("tokens_in", spent.tokens_in as f64), ("tokens_out", spent.tokens_out as f64)];
            vitals.extend(tokens.map(|(name, count)| (name.to_owned(), count)));
            vitals.insert("cost_usd".to_owned(), spent.cost_usd);
        }
        let lease_left = ages.lease.map(|lease| lease.left).filter(|left| !left.is_zero());
        Some(Heartbeat {
            agent: self.memory.agent.clone(),
            life: self.memory.life?,
            process,
            boot_id: self.memory.boot_id.clone(),
            seq: self.clocks.beats(),
            timestamp: now.wall.before(age),
            mono_ms: millis(self.ticks.before(age).since(Mono(0))),
            phase: ages.phase,
            lease_until: lease_left.map(|left| now.wall.after(left)),
            cycle: self.clocks.cycle(),
            progress: ages.progress.counter,
            model: Some(self.clocks.model.clone()).filter(|model| !model.is_empty()),
            task: self.clocks.work.tasks.newest_open().map(str::to_owned),
            energy: self.energy(),
            tasks: self.clocks.work.tasks.counts(),
            vitals,
        })
    }

    /// Reports at once when a clock has run out or something else changed, and else when the
    /// interval is over.
    pub(super) fn tell(&mut self, out: &mut Vec<Action>) {
        let ages = self.ages();
        let telling = Telling {
            late: if matches!(self.state, State::Running(_)) {
                Late::of(&ages, self.policy())
            } else {
                Late::default()
            },
            phase: ages.phase,
            lifecycle: self.lifecycle(),
            evidence: ages.evidence(),
            failed: ages.failed.iter().map(|check| check.count).sum(),
            life: self.memory.life.map(|life| life.id),
            seen: self.sample.is_some(),
            ails: [!self.health.sick.is_empty(), !self.health.unheard.is_empty()],
        };
        let due = self.ticks.since(self.reported) >= self.interval;
        if due || self.told != Some(telling) {
            self.told = Some(telling);
            self.reported = self.ticks;
            out.push(Action::Report);
        }
    }

    /// CPU in cores since the report before: of the tree's time, over the sidecar's ticks.
    fn note_cpu(&mut self) {
        let Some(cpu) = self.sample.as_ref().map(|sample| sample.counters.cpu) else {
            self.cpu_before = None;
            return;
        };
        if let Some((at, before)) = self.cpu_before {
            let passed = self.ticks.since(at).as_secs_f64();
            if passed <= 0.0 {
                return;
            }
            self.cpu_ratio = Some(cpu.saturating_sub(before).as_secs_f64() / passed);
        }
        self.cpu_before = Some((self.ticks, cpu));
    }

    /// What the agent declares, or what its budget leaves; the smaller of both.
    pub(super) fn energy(&self) -> Option<f64> {
        let budget = self.local.budget.as_ref();
        let left = budget.and_then(|budget| self.memory.spending.energy(budget));
        match (self.clocks.energy, left) {
            (Some(declared), Some(left)) => Some(declared.min(left)),
            (declared, left) => declared.or(left),
        }
    }

    fn burn(&self) -> Burn {
        let energy = self.energy();
        let rate = energy.map(|energy| self.drain.rate(energy, self.ticks));
        let (per_hour, empty_in) = rate.unwrap_or_default();
        let burnt = self.clocks.work.since_progress();
        Burn {
            per_hour,
            empty_in,
            tokens: burnt.tokens_in.saturating_add(burnt.tokens_out),
            cost_usd: burnt.cost_usd,
            usual_tokens: self.memory.gaps.usual_tokens(),
        }
    }

    /// The least of what the kernel and the policy allow.
    fn memory_limit(&self) -> Option<u64> {
        let seen = self.sample.as_ref().and_then(|sample| sample.memory_limit);
        [seen, self.policy().limits.memory.limit].into_iter().flatten().min()
    }

    fn vitals(&self) -> Vitals {
        let sample = self.sample.as_ref();
        Vitals {
            energy: self.energy(),
            memory_bytes: sample.map(|sample| sample.memory_bytes),
            cpu_ratio: self.cpu_ratio,
            tasks: self.clocks.work.tasks.counts(),
            response: self.clocks.work.tasks.response(self.ticks),
            io_bytes: sample.map(|sample| sample.counters.io),
            fds: sample.and_then(|sample| sample.fds),
            threads: sample.map(|sample| sample.threads),
            children: sample.map(|sample| sample.children),
            text: self.clocks.text.clone(),
            model: self.clocks.model.clone(),
            burn: self.burn(),
            memory_trend: MemoryTrend { limit: self.memory_limit(), slopes: self.growth.slopes() },
            response_trend: self.clocks.work.tasks.trend(),
            recent_tasks: self.clocks.work.tasks.recent(),
        }
    }
}
