//! What a sidecar condenses. Each part is absent from a sidecar that does not know it yet: then
//! there is nothing to hold against a policy.

use super::{Invalid, duration, finite, ms, pb};
use crate::policy::NAMED_MAX;
use crate::text::clip;
use crate::trend::{Burn, CheckAge, GapStats, MemoryTrend, RecentTasks, Repeats, ResponseTrend};

impl From<Repeats> for pb::Repeats {
    fn from(repeats: Repeats) -> Self {
        Self {
            same_result: repeats.same_result,
            same_error: repeats.same_error,
            period_two: repeats.period_two,
            period_three: repeats.period_three,
            monologue: repeats.monologue,
        }
    }
}

impl From<pb::Repeats> for Repeats {
    fn from(repeats: pb::Repeats) -> Self {
        Self {
            same_result: repeats.same_result,
            same_error: repeats.same_error,
            period_two: repeats.period_two,
            period_three: repeats.period_three,
            monologue: repeats.monologue,
        }
    }
}

impl From<CheckAge> for pb::CheckAge {
    fn from(check: CheckAge) -> Self {
        Self { name: check.name, age_ms: ms(check.age), came: check.came }
    }
}

/// Checks of a report.
pub(super) fn checks(checks: Vec<pb::CheckAge>) -> Result<Vec<CheckAge>, Invalid> {
    if checks.len() > NAMED_MAX {
        return Err(Invalid::new("ages.checks", "more than 32"));
    }
    let check = |check: pb::CheckAge| CheckAge {
        name: clip(check.name.into()),
        age: duration(check.age_ms),
        came: check.came,
    };
    Ok(checks.into_iter().map(check).collect())
}

impl From<GapStats> for pb::GapStats {
    fn from(gaps: GapStats) -> Self {
        Self { count: gaps.count, longest_ms: ms(gaps.longest), p999_ms: ms(gaps.p999) }
    }
}

impl From<pb::GapStats> for GapStats {
    fn from(gaps: pb::GapStats) -> Self {
        Self { count: gaps.count, longest: duration(gaps.longest_ms), p999: duration(gaps.p999_ms) }
    }
}

impl From<Burn> for pb::Burn {
    fn from(burn: Burn) -> Self {
        Self {
            per_hour: burn.per_hour,
            empty_in_ms: burn.empty_in.map(ms),
            tokens: burn.tokens,
            cost_usd: burn.cost_usd,
            usual_tokens: burn.usual_tokens,
        }
    }
}

impl TryFrom<pb::Burn> for Burn {
    type Error = Invalid;

    fn try_from(burn: pb::Burn) -> Result<Self, Invalid> {
        Ok(Self {
            per_hour: burn.per_hour.map(|rate| finite("burn.per_hour", rate)).transpose()?,
            empty_in: burn.empty_in_ms.map(duration),
            tokens: burn.tokens,
            cost_usd: finite("burn.cost_usd", burn.cost_usd)?,
            usual_tokens: burn.usual_tokens,
        })
    }
}

impl From<MemoryTrend> for pb::MemoryTrend {
    fn from(trend: MemoryTrend) -> Self {
        Self { limit: trend.limit, slopes: trend.slopes.map(Vec::from).unwrap_or_default() }
    }
}

impl TryFrom<pb::MemoryTrend> for MemoryTrend {
    type Error = Invalid;

    fn try_from(trend: pb::MemoryTrend) -> Result<Self, Invalid> {
        let slopes = match trend.slopes.as_slice() {
            [] => None,
            [a, b, c] => {
                let field = "memory_trend.slopes";
                Some([finite(field, *a)?, finite(field, *b)?, finite(field, *c)?])
            }
            _ => return Err(Invalid::new("memory_trend.slopes", "neither three nor none")),
        };
        Ok(Self { limit: trend.limit, slopes })
    }
}

impl From<ResponseTrend> for pb::ResponseTrend {
    fn from(trend: ResponseTrend) -> Self {
        Self { z: trend.z, usual_ms: trend.usual_ms }
    }
}

impl TryFrom<pb::ResponseTrend> for ResponseTrend {
    type Error = Invalid;

    fn try_from(trend: pb::ResponseTrend) -> Result<Self, Invalid> {
        let z = trend.z.map(|z| finite("response_trend.z", z)).transpose()?;
        Ok(Self { z, usual_ms: trend.usual_ms })
    }
}

impl From<RecentTasks> for pb::RecentTasks {
    fn from(recent: RecentTasks) -> Self {
        Self { ended: recent.ended, failed: recent.failed }
    }
}

impl From<pb::RecentTasks> for RecentTasks {
    fn from(recent: pb::RecentTasks) -> Self {
        Self { ended: recent.ended, failed: recent.failed }
    }
}
