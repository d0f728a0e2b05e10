//! Missed: a check did not come when it had to. At an interval the sidecar's ages decide; at times
//! of the day the next time after the last one that came, on the collector's wall clock. That clock
//! may step, so this may be wrong for a while, and leads to no more than a word.

use std::time::Duration;

use lubdub_shared::beat::Ages;
use lubdub_shared::cause::Cause;
use lubdub_shared::late::{Past, interval_missed};
use lubdub_shared::policy::{Due, Expected, Policy};
use lubdub_shared::status::Status;
use lubdub_shared::time::Wall;
use lubdub_shared::trend::CheckAge;

use super::{Detector, never_acted_on};
use crate::finding::Finding;

pub(super) const DETECTOR: Detector = Detector {
    causes: &[Cause::Missed],
    find: |look| find(&look.report.ages, look.policy, look.reported),
    guard: never_acted_on,
    settings: &[],
};

pub(super) fn find(ages: &Ages, policy: &Policy, wall: Wall) -> Option<Finding> {
    let late = |check: &'_ CheckAge| {
        let expected = policy.limits.check.get(&check.name)?;
        let past = match &expected.due {
            Due::Every(_) => interval_missed(expected, check.age),
            Due::Cron(line) => times_missed(line, expected.grace, check.age, wall),
        };
        (past != Past::Not).then_some((past, expected.clone()))
    };
    let all: Vec<_> = ages.checks.iter().filter_map(|check| Some((check, late(check)?))).collect();
    let (check, (past, expected)) = all.iter().max_by_key(|(_, (past, _))| *past)?;
    let others = all.iter().map(|(other, _)| other.name.as_str());
    let others: Vec<&str> = others.filter(|name| *name != check.name).collect();
    Some(finding(check, *past, expected, &others))
}

fn finding(check: &CheckAge, past: Past, expected: &Expected, others: &[&str]) -> Finding {
    let level = if past == Past::Critical { Status::Critical } else { Status::Warning };
    let facts = [
        ("check", check.name.as_str().into()),
        ("age", check.age.into()),
        ("came", check.came.into()),
        ("due", expected.due.to_string().into()),
        ("grace", expected.grace.into()),
        ("others", others.join(", ").into()),
    ];
    Finding::new(Cause::Missed, level, facts)
}

/// Times of a crontab line that have passed, with the grace, since the check last came.
fn times_missed(line: &str, grace: Duration, age: Duration, wall: Wall) -> Past {
    // A line that cannot be read was refused with its file.
    let Ok(times) = cronexpr::parse_crontab(line) else { return Past::Not };
    let stamp = |wall: Wall| jiff::Timestamp::from_nanosecond(i128::from(wall.0)).ok();
    let (Some(last), Some(now)) = (stamp(wall.before(age)), stamp(wall.before(grace))) else {
        return Past::Not;
    };
    let mut from = last;
    for past in [Past::Not, Past::Warning] {
        match times.find_next(from) {
            Ok(due) if due.timestamp() <= now => from = due.timestamp(),
            Ok(_) | Err(_) => return past,
        }
    }
    Past::Critical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_day_are_missed_one_by_one() {
        let at = |now: &str, hours: u64| {
            let wall = Wall::parse(now).expect("a time");
            let (age, grace) = (Duration::from_secs(hours * 3600), Duration::from_secs(600));
            times_missed("0 3 * * * Europe/Berlin", grace, age, wall)
        };
        // 3:00 in Berlin is 2:00 UTC in winter.
        assert_eq!(at("2026-11-22T02:09:00Z", 20), Past::Not, "within its grace");
        assert_eq!(at("2026-11-22T02:11:00Z", 20), Past::Warning);
        assert_eq!(at("2026-11-22T02:11:00Z", 0), Past::Not, "it came");
        assert_eq!(at("2026-11-23T02:11:00Z", 44), Past::Critical);
        assert_eq!(at("2026-07-22T01:11:00Z", 20), Past::Warning, "summer");
    }
}
