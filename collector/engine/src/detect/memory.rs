//! MemoryHigh and MemoryLeak: near the limit, and on the way to it.
//!
//! A leak is a slope in three windows at once (Theil-Sen over the minima that a garbage collector
//! leaves; Mann-Kendall alone is known for false alarms on aging software, Machida et al. 2013),
//! each of which reaches the limit soon, and memory that is high already.

use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::setting::{bound, clock};
use super::{Detector, Draft, never_acted_on};

const MIB: f64 = 1_048_576.0;

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
    let finding = Draft {
        cause: Cause::MemoryHigh,
        level: if share >= limits.critical { Status::Critical } else { Status::Warning },
        detail: format!(
            "{:.0} of {:.0} MiB, {:.0} % of the limit",
            used / MIB,
            limit / MIB,
            share * 100.0
        ),
        evidence: [
            ("memory_bytes", format!("{used:.0}")),
            ("limit_bytes", format!("{limit:.0}")),
            ("share", format!("{share:.3}")),
            ("high", limits.high.to_string()),
            ("critical", limits.critical.to_string()),
        ],
        rule: "resident memory of the tree over the least limit of its cgroups, the machine and \
               memory.limit; Warning at memory.high, Critical at memory.critical",
        cancelled_by: "less memory",
    };
    Some(finding.into())
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
    let per_minute = |slope: f64| format!("{:.2}", slope * 60.0 / MIB);
    let finding = Draft {
        cause: Cause::MemoryLeak,
        level: if used / limit >= limits.critical { Status::Critical } else { Status::Warning },
        detail: format!(
            "grows by {} MiB a minute in three windows, and reaches its limit of {:.0} MiB in {}",
            per_minute(slowest),
            limit / MIB,
            words(reaches)
        ),
        evidence: [
            ("memory_bytes", format!("{used:.0}")),
            ("limit_bytes", format!("{limit:.0}")),
            ("mib_per_minute", slopes.map(per_minute).join(", ")),
            ("reaches_limit_in", words(reaches)),
            ("window", words(limits.window)),
        ],
        rule: "above memory.leak_above of the limit, the minima grow in windows of memory.window \
               and 6 and 36 times that, and reach the limit within memory.leak_within in each",
        cancelled_by: "a flat floor in any of the windows",
    };
    Some(finding.into())
}
