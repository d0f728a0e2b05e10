//! PURE: tasks of a life, and their response times.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lubdub_shared::beat::{ResponseTime, TaskCounts};
use lubdub_shared::line::{Task, TaskStep};
use lubdub_shared::time::{Mono, millis};
use lubdub_shared::trend::{RecentTasks, ResponseTrend};

/// Open tasks that are kept; beyond it the oldest is forgotten, and counts as neither.
const OPEN_MAX: usize = 1024;
/// Response times that are kept, newest last.
const TIMES_MAX: usize = 1024;
/// Tasks that ended last, of which the failed ones are counted.
const RECENT_MAX: usize = 20;
/// Newest response times that are held against the ones before.
const NEWEST: usize = 5;
/// Response times before these that make a past.
const PAST_MIN: usize = 20;
const PAST_MAX: usize = 256;
/// Spread of the logarithm below which everything would be odd: some ten percent.
const SPREAD_MIN: f64 = 0.1;
/// The window of the response times.
const WINDOW: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct Tasks {
    open: HashMap<String, Begun>,
    newest: Option<String>,
    counts: TaskCounts,
    times: VecDeque<(Mono, u64)>,
    /// Of the newest that ended: it failed.
    recent: VecDeque<bool>,
    trend: ResponseTrend,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Mono,
    /// Time of the life in which clocks had run by then.
    charged: Duration,
}

impl Tasks {
    /// Goes on where an earlier sidecar stood. Which tasks were open nobody knows any more.
    pub(super) fn resumed(counts: TaskCounts) -> Self {
        Self { counts: TaskCounts { open: 0, ..counts }, ..Self::default() }
    }

    /// Applies a step. True when it is progress. `charged` is the time of the life in which clocks
    /// ran.
    pub(super) fn step(&mut self, task: Task, now: Mono, charged: Duration) -> bool {
        match task.step {
            TaskStep::Start => {
                self.make_room();
                self.counts.started += 1;
                self.newest = Some(task.id.clone());
                self.open.insert(task.id, Begun { at: now, charged });
                false
            }
            TaskStep::Progress => true,
            TaskStep::Done => {
                self.counts.done += 1;
                self.end(&task, now);
                true
            }
            TaskStep::Fail => {
                self.counts.failed += 1;
                self.end(&task, now);
                false
            }
        }
    }

    pub(super) fn counts(&self) -> TaskCounts {
        TaskCounts { open: self.open.len() as u64, ..self.counts }
    }

    pub(super) fn any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// When the oldest open task was begun, in charged time.
    pub(super) fn oldest_open(&self) -> Option<Duration> {
        self.open.values().map(|begun| begun.charged).min()
    }

    pub(super) fn recent(&self) -> RecentTasks {
        let count = |n: usize| u32::try_from(n).expect("at most RECENT_MAX");
        let failed = self.recent.iter().filter(|failed| **failed).count();
        RecentTasks { ended: count(self.recent.len()), failed: count(failed) }
    }

    /// The newest response times against those before.
    pub(super) fn trend(&self) -> ResponseTrend {
        self.trend
    }

    /// The task begun last, if it is still open.
    pub(super) fn newest_open(&self) -> Option<&str> {
        self.newest.as_deref().filter(|id| self.open.contains_key(*id))
    }

    /// Quantiles over the window, nearest rank.
    pub(super) fn response(&self, now: Mono) -> Option<ResponseTime> {
        let start = now.before(WINDOW);
        let recent = self.times.iter().filter(|(at, _)| *at >= start);
        let mut times: Vec<u64> = recent.map(|(_, ms)| *ms).collect();
        times.sort_unstable();
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        let max = *times.last()?;
        Some(ResponseTime { p50: rank(50), p95: rank(95), max })
    }

    fn end(&mut self, task: &Task, now: Mono) {
        let begun = self.open.remove(&task.id);
        let took = task.took.or_else(|| begun.map(|begun| now.since(begun.at)));
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(task.step == TaskStep::Fail);
        if let Some(took) = took {
            if self.times.len() == TIMES_MAX {
                self.times.pop_front();
            }
            self.times.push_back((now, millis(took)));
            self.trend = response_trend(&self.times);
        }
    }

    fn make_room(&mut self) {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, begun)| begun.at);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.open.remove(&id);
            }
        }
    }
}

/// Robust z of the newest times on a logarithmic scale (Iglewicz and Hoaglin, 1993: 0.6745 times
/// the distance from the median, over the median of such distances), of the one least out of line:
/// one slow task says nothing.
fn response_trend(times: &VecDeque<(Mono, u64)>) -> ResponseTrend {
    let Some(past) = times.len().checked_sub(NEWEST).filter(|past| *past >= PAST_MIN) else {
        return ResponseTrend::default();
    };
    let logs = |range: std::ops::Range<usize>| times.range(range).map(|(_, ms)| log(*ms));
    let mut before: Vec<f64> = logs(past.saturating_sub(PAST_MAX)..past).collect();
    let usual = median(&mut before);
    let mut distances: Vec<f64> = before.iter().map(|log| (log - usual).abs()).collect();
    let spread = median(&mut distances).max(SPREAD_MIN);
    let z = logs(past..times.len()).map(|log| 0.6745 * (log - usual) / spread);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let usual_ms = usual.exp().round() as u64;
    ResponseTrend { z: z.reduce(f64::min), usual_ms }
}

#[expect(clippy::cast_precision_loss, reason = "a response time is coarser than that")]
fn log(ms: u64) -> f64 {
    (ms.max(1) as f64).ln()
}

/// Of at least one value.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_slow_tasks_in_a_row_are_odd_and_four_are_not() {
        let z_after = |slow: usize| {
            let times = (0..40_u64).map(|n| 900 + n % 5 * 50);
            let times = times.chain(std::iter::repeat_n(30_000, slow));
            response_trend(&times.map(|ms| (Mono(0), ms)).collect()).z
        };
        assert!(z_after(5).expect("a past") > 6.0);
        assert!(z_after(4).expect("a past") < 1.0);
        let few: VecDeque<(Mono, u64)> = (0..24).map(|_| (Mono(0), 5)).collect();
        assert_eq!(response_trend(&few), ResponseTrend::default());
    }

    #[test]
    fn the_newest_twenty_are_counted() {
        let mut tasks = Tasks::default();
        for number in 0..30_u64 {
            let step = if number % 2 == 0 { TaskStep::Fail } else { TaskStep::Done };
            tasks.step(task("a", step, None), Mono(0), Duration::ZERO);
        }
        assert_eq!(tasks.recent(), RecentTasks { ended: 20, failed: 10 });
    }

    fn task(id: &str, step: TaskStep, ms: Option<u64>) -> Task {
        Task { id: id.to_owned(), step, took: ms.map(Duration::from_millis) }
    }

    #[test]
    fn counts_and_quantiles() {
        let mut tasks = Tasks::default();
        let at = |s: u64| Mono(s * 1_000_000_000);
        assert!(!tasks.step(task("a", TaskStep::Start, None), at(0), Duration::ZERO));
        assert_eq!(tasks.newest_open(), Some("a"));
        assert!(tasks.step(task("a", TaskStep::Done, None), at(2), Duration::ZERO));
        for ms in 1..=99 {
            tasks.step(task("b", TaskStep::Fail, Some(ms)), at(2), Duration::ZERO);
        }
        let counts = TaskCounts { started: 1, done: 1, failed: 99, open: 0 };
        assert_eq!(tasks.counts(), counts);
        let response = ResponseTime { p50: 50, p95: 95, max: 2000 };
        assert_eq!(tasks.response(at(2)), Some(response));
        assert_eq!(tasks.response(at(303)), None, "the window has passed");
    }

    #[test]
    fn open_tasks_are_bounded() {
        let mut tasks = Tasks::default();
        for number in 0..2000_u64 {
            tasks.step(
                task(&number.to_string(), TaskStep::Start, None),
                Mono(number),
                Duration::ZERO,
            );
        }
        assert_eq!(tasks.counts().open, 1024);
        assert_eq!(tasks.newest_open(), Some("1999"));
    }
}
