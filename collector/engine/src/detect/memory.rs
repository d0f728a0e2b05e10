//! MemoryHigh and MemoryLeak: near the limit, and on the way to it.
//!
//! A leak is a slope in three windows at once (Theil-Sen over the minima that a garbage collector
//! leaves; Mann-Kendall alone is known for false alarms on aging software, Machida et al. 2013),
//! each of which reaches the limit soon, and memory that is high already.

use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::facts::Fact;
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;

use super::setting::{bound, clock};
use super::{Detector, never_acted_on};
use crate::finding::Finding;

/// What is used, and the limit, bytes.
fn used(report: &Report) -> Option<(f64, f64)> {
    let (used, limit) = (report.vitals.memory_bytes?, report.vitals.memory_trend.limit?);
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9e15 bytes")]
    let used = (used as f64, (limit as f64).max(1.0));
    Some(used)
}

pub(super) const HIGH: Detector = Detector {
    causes: &[Cause::MemoryHigh],
    find: |look| high(look.report, look.policy),
    guard: never_acted_on,
    settings: &[
        bound!("memory.high", [MemoryHigh], limits.memory.high),
        bound!("memory.critical", [MemoryHigh, MemoryLeak], limits.memory.critical),
    ],
};

pub(super) fn high(report: &Report, policy: &Policy) -> Option<Finding> {
    let (used, limit) = used(report)?;
    let (limits, share) = (&policy.limits.memory, used / limit);
    if share < limits.high {
        return None;
    }
    let level = if share >= limits.critical { Status::Critical } else { Status::Warning };
    let facts = [
        ("memory_bytes", Fact::Count(report.vitals.memory_bytes)),
        ("limit_bytes", Fact::Count(report.vitals.memory_trend.limit)),
        ("share", share.into()),
        ("high", limits.high.into()),
        ("critical", limits.critical.into()),
    ];
    Some(Finding::new(Cause::MemoryHigh, level, facts))
}

pub(super) const LEAK: Detector = Detector {
    causes: &[Cause::MemoryLeak],
    find: |look| leak(look.report, look.policy),
    guard: never_acted_on,
    settings: &[
        bound!("memory.leak_above", [MemoryLeak], limits.memory.leak_above),
        clock!("memory.leak_within", [MemoryLeak], limits.memory.leak_within),
    ],
};

pub(super) fn leak(report: &Report, policy: &Policy) -> Option<Finding> {
    let (used, limit) = used(report)?;
    let limits = &policy.limits.memory;
    let slopes = report.vitals.memory_trend.slopes?;
    let slowest = slopes.into_iter().fold(f64::INFINITY, f64::min);
    if used / limit < limits.leak_above || slowest <= 0.0 {
        return None;
    }
    let reaches = Duration::try_from_secs_f64((limit - used).max(0.0) / slowest).ok()?;
    if reaches > limits.leak_within {
        return None;
    }
    let critical = used / limit >= limits.critical;
    let [short, middle, long] = slopes;
    let facts = [
        ("memory_bytes", Fact::Count(report.vitals.memory_bytes)),
        ("limit_bytes", Fact::Count(report.vitals.memory_trend.limit)),
        ("slowest_bytes_per_second", slowest.into()),
        ("short_bytes_per_second", short.into()),
        ("middle_bytes_per_second", middle.into()),
        ("long_bytes_per_second", long.into()),
        ("reaches_limit_in", reaches.into()),
        ("window", limits.window.into()),
    ];
    let level = if critical { Status::Critical } else { Status::Warning };
    Some(Finding::new(Cause::MemoryLeak, level, facts))
}
