//! PURE: tasks of a life, and their response times.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lubdub_shared::beat::{ResponseTime, TaskCounts};
use lubdub_shared::line::{Task, TaskStep};
use lubdub_shared::time::{Mono, millis};

/// Open tasks that are kept; beyond it the oldest is forgotten, and counts as neither.
const OPEN_MAX: usize = 1024;
/// Response times that are kept, newest last.
const TIMES_MAX: usize = 1024;
/// The window of the response times.
const WINDOW: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct Tasks {
    open: HashMap<String, Mono>,
    newest: Option<String>,
    counts: TaskCounts,
    times: VecDeque<(Mono, u64)>,
}

impl Tasks {
    /// Applies a step. True when it ended a task well: that is progress.
    pub(super) fn step(&mut self, task: Task, now: Mono) -> bool {
        match task.step {
            TaskStep::Start => {
                self.make_room();
                self.counts.started += 1;
                self.newest = Some(task.id.clone());
                self.open.insert(task.id, now);
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
        let took = task.took.or_else(|| begun.map(|begun| now.since(begun)));
        if let Some(took) = took {
            if self.times.len() == TIMES_MAX {
                self.times.pop_front();
            }
            self.times.push_back((now, millis(took)));
        }
    }

    fn make_room(&mut self) {
        if self.open.len() >= OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, begun)| **begun);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.open.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, step: TaskStep, ms: Option<u64>) -> Task {
        Task { id: id.to_owned(), step, took: ms.map(Duration::from_millis) }
    }

    #[test]
    fn counts_and_quantiles() {
        let mut tasks = Tasks::default();
        let at = |s: u64| Mono(s * 1_000_000_000);
        assert!(!tasks.step(task("a", TaskStep::Start, None), at(0)));
        assert_eq!(tasks.newest_open(), Some("a"));
        assert!(tasks.step(task("a", TaskStep::Done, None), at(2)));
        for ms in 1..=99 {
            tasks.step(task("b", TaskStep::Fail, Some(ms)), at(2));
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
            tasks.step(task(&number.to_string(), TaskStep::Start, None), Mono(number));
        }
        assert_eq!(tasks.counts().open, 1024);
        assert_eq!(tasks.newest_open(), Some("1999"));
    }
}
