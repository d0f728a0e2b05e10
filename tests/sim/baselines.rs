//! The rules of other watchers, as small models fed with the same lives.
//!
//! | model | rule | source |
//! |---|---|---|
//! | flux-keeper | `tick` alarms when `now > last_ok + timeout`, on each tick; the status never changes by it | flux-keeper 0.1.0, `src/lib.rs`, `Keeper::tick` |
//! | OpenFang | looks each 30 s; more than 180 s without activity is crashed; recovers each 60 s, three times, then terminates; idle reactive agents are exempt | openfang 0.6.9, `heartbeat.rs`, `check_agents` and `RecoveryTracker` |
//! | Kubernetes | HTTP probe each 10 s; three failures kill the container | `livenessProbe` defaults: `periodSeconds` 10, `failureThreshold` 3 |
//! | systemd | no `WATCHDOG=1` for `WatchdogSec` (180 s here) kills the service | systemd.service(5), `WatchdogSec=` |
//! | three missed beats | a beat is expected each 30 s; three missed ones kill | the rule of countless home-grown watchdogs; Trinity issue 307 |
//!
//! Each has the numbers of its own defaults, or where it has none, those of our default policy.
//! Wall clocks are given to those that use them. A life that is killed goes on as it was written;
//! a model is charged with one kill for each stretch of silence, though it would kill again.

use std::time::Duration;

use super::script::Truth;

const SECOND: Duration = Duration::from_secs(1);

/// What a watcher from outside can see in a second.
#[derive(Debug)]
pub(super) struct Signals {
    /// Since the life began.
    pub(super) mono: Duration,
    /// Since 1970; it steps.
    pub(super) wall: Duration,
    /// Since the last word of the agent.
    pub(super) beat_age: Duration,
    /// It ever said anything.
    pub(super) spoke: bool,
    /// Its port answers.
    pub(super) answers: bool,
    /// It says that it is idle or waits, to those who listen to that.
    pub(super) idle: bool,
    /// What it truly is.
    pub(super) truth: Truth,
    /// When it must be found, where it is stuck.
    pub(super) due: Option<Duration>,
}

/// What a model made of a life.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaselineScore {
    /// Alarms about an agent that was not stuck, counted once an episode.
    pub false_alarms: u64,
    /// Restarts or kills of an agent that was not stuck.
    pub false_kills: u64,
    /// It alarmed or acted while the agent was stuck.
    pub found: bool,
}

/// Names of the models, in the order of their scores.
pub const NAMES: [&str; 5] =
    ["flux-keeper", "OpenFang", "Kubernetes liveness", "systemd watchdog", "3 missed beats"];

/// What a rule says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    Alarm,
    Kill,
}

/// All models on one life.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    /// Seconds in which the host was awake.
    awake: Duration,
    /// Of these, when the agent last spoke, and that moment on the wall clock.
    spoke_awake: Duration,
    spoke_wall: Duration,
    /// When each model last restarted it.
    restarted: [Duration; 5],
    restarted_wall: Duration,
    alarming: [bool; 5],
    failures: u32,
    attempts: u32,
    scores: [BaselineScore; 5],
}

impl Baselines {
    pub(super) fn scores(&self) -> [BaselineScore; 5] {
        self.scores
    }

    /// A second has passed.
    pub(super) fn look(&mut self, signals: &Signals) {
        self.awake += SECOND;
        if signals.beat_age < SECOND {
            self.spoke_awake = self.awake;
            self.spoke_wall = signals.wall;
        }
        let says = [
            self.flux_keeper(signals),
            self.openfang(signals),
            self.kubernetes(signals),
            self.systemd(signals),
            self.three_missed(signals),
        ];
        for (model, says) in says.into_iter().enumerate() {
            self.score(model, says, signals);
        }
    }

    fn score(&mut self, model: usize, says: Says, signals: &Signals) {
        let score = &mut self.scores[model];
        let begins = says != Says::Nothing && !self.alarming[model];
        self.alarming[model] = says != Says::Nothing;
        if signals.truth == Truth::Stuck {
            // Whoever comes before the bound counts as well: it said so, however it knew.
            score.found |= says != Says::Nothing && signals.due.is_some();
        } else {
            score.false_alarms += u64::from(begins);
            score.false_kills += u64::from(says == Says::Kill);
        }
        if says == Says::Kill {
            self.restarted[model] = self.awake;
            self.alarming[model] = false;
        }
    }

    /// Since it spoke, or was restarted, on the monotonic clock.
    fn silence(&self, model: usize) -> Duration {
        self.awake.saturating_sub(self.spoke_awake.max(self.restarted[model]))
    }

    fn flux_keeper(&self, signals: &Signals) -> Says {
        let late = signals.wall > self.spoke_wall + Duration::from_secs(180);
        if signals.spoke && late { Says::Alarm } else { Says::Nothing }
    }

    fn openfang(&mut self, signals: &Signals) -> Says {
        if !signals.mono.as_secs().is_multiple_of(30) {
            return if self.alarming[1] { Says::Alarm } else { Says::Nothing };
        }
        let since = self.spoke_wall.max(self.restarted_wall);
        let crashed = signals.wall > since + Duration::from_secs(180);
        if signals.idle || !signals.spoke || !crashed {
            if self.silence(1) < Duration::from_secs(30) {
                self.attempts = 0;
            }
            return Says::Nothing;
        }
        let cooled = self.awake.saturating_sub(self.restarted[1]) >= Duration::from_secs(60);
        if !cooled || self.attempts > 3 {
            return Says::Alarm;
        }
        self.attempts += 1;
        self.restarted_wall = signals.wall;
        Says::Kill
    }

    fn kubernetes(&mut self, signals: &Signals) -> Says {
        if !self.awake.as_secs().is_multiple_of(10) {
            return Says::Nothing;
        }
        self.failures = if signals.answers { 0 } else { self.failures + 1 };
        if self.failures < 3 {
            return Says::Nothing;
        }
        self.failures = 0;
        Says::Kill
    }

    fn systemd(&self, _: &Signals) -> Says {
        let late = self.silence(3) > Duration::from_secs(180);
        if late && self.is_armed(3) { Says::Kill } else { Says::Nothing }
    }

    fn three_missed(&self, _: &Signals) -> Says {
        let late = self.silence(4) > Duration::from_secs(90);
        if late && self.is_armed(4) { Says::Kill } else { Says::Nothing }
    }

    /// It spoke since the model last restarted it: one kill an episode is counted, though each
    /// would kill again.
    fn is_armed(&self, model: usize) -> bool {
        self.spoke_awake > self.restarted[model]
    }
}
