//! PURE: named checks that the agent pushes: which are not ok, and when each last came.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::{FAILED_CHECKS_MAX, FailedCheck};
use lubdub_shared::line::{Check, SELF_CHECK};
use lubdub_shared::policy::{Due, Expected, Limits};
use lubdub_shared::time::Mono;
use lubdub_shared::trend::CheckAge;

/// Named checks that are remembered; further names are ignored.
pub(super) const CHECKS_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) failed: BTreeMap<String, FailedCheck>,
    /// When each came: the moment, and in time that the agent was neither paused nor at rest.
    came: BTreeMap<String, (Mono, Duration)>,
}

impl Checks {
    /// A check came, at a moment on both clocks.
    /// Names that the policy waits for, and the agent's own, always have a place.
    pub(super) fn take(&mut self, check: Check, at: (Mono, Duration), limits: &Limits) {
        let known = check.name == SELF_CHECK || limits.check.contains_key(&check.name);
        if known || self.came.len() < CHECKS_MAX || self.came.contains_key(&check.name) {
            self.came.insert(check.name.clone(), at);
        }
        if check.ok {
            self.failed.remove(&check.name);
            return;
        }
        let full = self.failed.len() >= CHECKS_MAX && !known;
        if full && !self.failed.contains_key(&check.name) {
            return;
        }
        let failed = self.failed.entry(check.name.clone()).or_insert_with(|| FailedCheck {
            name: check.name,
            count: 0,
            trigger: false,
            message: String::new(),
        });
        failed.count = failed.count.saturating_add(1);
        failed.trigger |= check.trigger;
        failed.message = check.message;
    }

    /// READY takes a trigger back.
    pub(super) fn withdraw_trigger(&mut self) {
        self.failed.remove(SELF_CHECK);
    }

    /// Those that are not ok, worst first.
    pub(super) fn failed(&self) -> Vec<FailedCheck> {
        let mut failed: Vec<FailedCheck> = self.failed.values().cloned().collect();
        failed.sort_by_key(|check| std::cmp::Reverse((check.trigger, check.count)));
        failed.truncate(FAILED_CHECKS_MAX);
        failed
    }

    /// Those that the policy waits for. One that comes at an interval is owed only while the agent
    /// is awake; one that comes at a time of the day, by that day.
    pub(super) fn expected(
        &self,
        limits: &Limits,
        (now, began, awake): (Mono, Mono, Duration),
    ) -> Vec<CheckAge> {
        let age = |(name, expected): (&String, &Expected)| {
            let came = self.came.get(name).copied();
            let (at, awake_then) = came.unwrap_or((began, Duration::ZERO));
            let age = match expected.due {
                Due::Every(_) => awake.saturating_sub(awake_then),
                Due::Cron(_) => now.since(at),
            };
            CheckAge { name: name.clone(), age, came: came.is_some() }
        };
        limits.check.iter().map(age).collect()
    }
}
