//! Scores, and the tables that are made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lubdub_shared::incident::Cause;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, TICK};

use super::baselines::{BaselineScore, NAMES};
use super::invariants::Moment;
use super::script::{Kind, Truth};

/// What was made of one life.
#[derive(Debug, Default)]
pub(super) struct Score {
    pub(super) lived: Duration,
    /// How long after its bound it was found; zero when before.
    pub(super) found: Option<Duration>,
    pub(super) false_warnings: u64,
    pub(super) false_criticals: u64,
    pub(super) false_restarts: u64,
    pub(super) right_restarts: u64,
    pub(super) saves: u64,
    pub(super) baselines: [BaselineScore; 5],
    /// Of what it was accused, how often.
    pub(super) accused: BTreeMap<Cause, u64>,
    /// What a stuck one must be found as.
    pub(super) found_as: &'static [Cause],
    pub(super) level: u8,
}

impl Score {
    /// What the engine says at a step.
    pub(super) fn note(&mut self, moment: &Moment<'_>, due: Option<Mono>) {
        let accuses = |cause: Cause| {
            // A lost link, a person who is needed and a process that is truly stopped are told,
            // and accuse nobody.
            let stopped = cause == Cause::Paused && moment.truth != Truth::Stuck;
            let told = [Cause::Unreachable, Cause::Missing, Cause::WaitingHuman];
            !stopped && !told.contains(&cause)
        };
        let findings = moment.agent.seen.findings.iter().map(|standing| &standing.finding);
        let levels = findings.filter(|f| accuses(f.cause)).map(|f| f.level.severity());
        let worst = levels.max().unwrap_or_default();
        let before = std::mem::replace(&mut self.level, worst);
        let (warning, critical) = (Status::Warning.severity(), Status::Critical.severity());
        if moment.truth == Truth::Stuck {
            let findings = &moment.agent.seen.findings;
            let mut causes = findings.iter().map(|standing| standing.finding.cause);
            if causes.any(|cause| self.found_as.contains(&cause)) && self.found.is_none() {
                self.found = due.map(|due| moment.now.since(due));
            }
        } else {
            if before < warning && worst >= warning {
                let worst = moment.agent.seen.findings.iter().find(|s| accuses(s.finding.cause));
                *self.accused.entry(worst.expect("one of it").finding.cause).or_default() += 1;
            }
            self.false_warnings += u64::from(before < warning && worst >= warning);
            self.false_criticals += u64::from(before < critical && worst >= critical);
        }
    }

    /// It was ended.
    pub(super) fn restarted(&mut self, truth: Truth) {
        if truth == Truth::Stuck {
            self.right_restarts += 1;
        } else {
            self.false_restarts += 1;
        }
    }
}

/// Of all lives of a kind.
#[derive(Debug, Default)]
pub struct Row {
    stuck: bool,
    /// Each must be ended.
    ends: bool,
    /// Lives.
    pub lives: u64,
    /// Time lived.
    pub lived: Duration,
    /// Of the stuck ones, how long after the bound each was found.
    pub over: Vec<Duration>,
    /// Said of one that was not stuck.
    pub false_warnings: u64,
    /// The same.
    pub false_criticals: u64,
    /// Ended though it was not stuck.
    pub false_restarts: u64,
    right_restarts: u64,
    saves: u64,
    accused: BTreeMap<Cause, u64>,
    baselines: [(u64, u64, u64); 5],
}

/// Of all lives.
#[derive(Debug, Default)]
pub struct Scores(BTreeMap<&'static str, Row>);

impl Scores {
    pub(super) fn add(&mut self, kind: &Kind, score: &Score) {
        let row = self.0.entry(kind.name).or_default();
        row.stuck = kind.is_stuck();
        row.ends = kind.ends;
        row.lives += 1;
        row.lived += score.lived;
        row.over.extend(score.found.filter(|_| kind.is_stuck()));
        row.false_warnings += score.false_warnings;
        row.false_criticals += score.false_criticals;
        row.false_restarts += score.false_restarts;
        row.right_restarts += score.right_restarts;
        row.saves += score.saves;
        for (cause, times) in &score.accused {
            *row.accused.entry(*cause).or_default() += times;
        }
        for (sum, one) in row.baselines.iter_mut().zip(score.baselines) {
            sum.0 += u64::from(one.found);
            sum.1 += one.false_alarms;
            sum.2 += one.false_kills;
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (name, row) in other.0 {
            let own = self.0.entry(name).or_default();
            own.stuck = row.stuck;
            own.ends = row.ends;
            own.lives += row.lives;
            own.lived += row.lived;
            own.over.extend(row.over);
            own.false_warnings += row.false_warnings;
            own.false_criticals += row.false_criticals;
            own.false_restarts += row.false_restarts;
            own.right_restarts += row.right_restarts;
            own.saves += row.saves;
            for (cause, times) in row.accused {
                *own.accused.entry(cause).or_default() += times;
            }
            for (sum, one) in own.baselines.iter_mut().zip(row.baselines) {
                *sum = (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2);
            }
        }
    }

    /// Agent-hours.
    pub fn hours(&self) -> f64 {
        self.0.values().map(|row| row.lived.as_secs_f64()).sum::<f64>() / 3600.0
    }

    /// Each promise that was broken.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, row) in &self.0 {
            if row.false_restarts > 0 {
                broken.push(format!("{name}: {} false restarts", row.false_restarts));
            }
            let found = row.over.len() as u64;
            if row.stuck && found < row.lives {
                broken.push(format!("{name}: {} of {} found", found, row.lives));
            }
            if row.ends && row.right_restarts < row.lives {
                broken.push(format!("{name}: {} of {} ended", row.right_restarts, row.lives));
            }
            let p99 = quantile(&row.over, 99);
            if row.stuck && p99 > TICK + Duration::from_millis(50) {
                broken.push(format!("{name}: p99 {p99:?} over its deadline"));
            }
        }
        broken
    }

    /// One row a kind.
    pub fn confusion(&self) -> String {
        let mut text = format!(
            "{:<54} {:>6} {:>9} {:>13} {:>8} {:>8} {:>8} {:>6} {:>6} {:>7}\n",
            "kind",
            "lives",
            "hours",
            "found",
            "p50 ms",
            "p99 ms",
            "max ms",
            "f.warn",
            "f.crit",
            "f.rest  false warnings of"
        );
        let mut rows: Vec<_> = self.0.iter().collect();
        rows.sort_by_key(|(name, row)| (!row.stuck, *name));
        for (name, row) in rows {
            let hours = row.lived.as_secs_f64() / 3600.0;
            let found = format!("{}/{}", row.over.len(), row.lives);
            let found = if row.stuck { found } else { "-".to_owned() };
            let accused = row.accused.iter().map(|(cause, times)| format!("{times} {cause}"));
            let at = |percent| {
                let over = quantile(&row.over, percent).as_millis();
                if row.stuck { over.to_string() } else { "-".to_owned() }
            };
            writeln!(
                text,
                "{name:<54} {:>6} {hours:>9.0} {found:>13} {:>8} {:>8} {:>8} {:>6} {:>6} {:>7}  {}",
                row.lives,
                at(50),
                at(99),
                at(100),
                row.false_warnings,
                row.false_criticals,
                row.false_restarts,
                accused.collect::<Vec<_>>().join(", ")
            )
            .expect("a string takes it");
        }
        text
    }

    /// One row a watcher; ours first.
    pub fn comparison(&self) -> String {
        let (stuck, healthy): (Vec<&Row>, Vec<&Row>) = self.0.values().partition(|row| row.stuck);
        let count = |n: u64| {
            #[expect(clippy::cast_precision_loss, reason = "counts")]
            let n = n as f64;
            n
        };
        let lives = stuck.iter().map(|row| row.lives).sum::<u64>();
        let hours = self.hours();
        let all = || stuck.iter().chain(&healthy);
        let mut text = format!(
            "{:<20} {:>12} {:>26} {:>32}\n",
            "watcher", "stuck found", "false alarms / agent-day", "false kills / 1000 agent-hours"
        );
        let mut row = |name: &str, found: u64, alarms: u64, kills: u64| {
            let share = 100.0 * count(found) / count(lives.max(1));
            let alarms = count(alarms) / (hours / 24.0);
            let kills = count(kills) / (hours / 1000.0);
            writeln!(text, "{name:<20} {share:>10.1} % {alarms:>26.3} {kills:>32.1}")
                .expect("a string takes it");
        };
        let found = stuck.iter().map(|row| row.over.len() as u64).sum();
        let alarms = all().map(|row| row.false_warnings + row.false_criticals).sum();
        row("lubdub", found, alarms, all().map(|row| row.false_restarts).sum());
        for (model, name) in NAMES.iter().enumerate() {
            let of =
                |part: fn(&(u64, u64, u64)) -> u64| move |row: &&Row| part(&row.baselines[model]);
            let found = stuck.iter().map(of(|sums| sums.0)).sum();
            row(name, found, all().map(of(|s| s.1)).sum(), all().map(of(|s| s.2)).sum());
        }
        text
    }

    /// What the campaign shows, in words.
    pub fn summary(&self) -> String {
        let hours = self.hours();
        let sum = |of: fn(&Row) -> u64| self.0.values().map(of).sum::<u64>();
        let over: Vec<Duration> = self.0.values().flat_map(|row| row.over.clone()).collect();
        let (restarts, right) = (sum(|r| r.false_restarts), sum(|r| r.right_restarts));
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        let warnings = sum(|r| r.false_warnings) as f64 / (hours / 24.0);
        format!(
            "{hours:.0} agent-hours: {restarts} false restarts (95 % bound {:.1} in 1e6 hours), \
             {right} right ones, {} saves; stuck ones found p50 {} ms, p99 {} ms, max {} ms over \
             their bound; {warnings:.3} false Warnings an agent-day, {} false Criticals",
            3e6 / hours,
            sum(|r| r.saves),
            quantile(&over, 50).as_millis(),
            quantile(&over, 99).as_millis(),
            quantile(&over, 100).as_millis(),
            sum(|r| r.false_criticals),
        )
    }
}

/// Nearest rank.
fn quantile(of: &[Duration], percent: usize) -> Duration {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}
