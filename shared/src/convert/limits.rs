//! Limits of a policy. Absent from a collector that does not know them yet: then the defaults hold.

use std::num::NonZeroU32;

use super::{Invalid, Required as _, duration, finite, ms, pb};
use crate::policy::{
    Due, EnergyLimits, Expected, FailureLimits, FlappingLimits, Limits, LoopLimits, MemoryLimits,
    NAMED_MAX, QuietHours, ResponseLimits,
};
use crate::text::clip;

impl From<Limits> for pb::Limits {
    fn from(limits: Limits) -> Self {
        let Limits { looping, energy, memory, response, failures, flapping, check, quiet_hours } =
            limits;
        Self {
            looping: Some(pb::LoopLimits {
                same_result: looping.same_result.get(),
                same_error: looping.same_error.get(),
                alternating: looping.alternating.get(),
                monologue: looping.monologue.get(),
                exempt: looping.exempt,
            }),
            energy: Some(pb::EnergyLimits {
                low: energy.low,
                gone: energy.gone,
                empty_within_ms: ms(energy.empty_within),
                hard: energy.hard,
                burn_tokens: energy.burn_tokens,
                burn_cost_usd: energy.burn_cost_usd,
            }),
            memory: Some(pb::MemoryLimits {
                limit: memory.limit,
                high: memory.high,
                critical: memory.critical,
                leak_above: memory.leak_above,
                leak_within_ms: ms(memory.leak_within),
                window_ms: ms(memory.window),
            }),
            response: Some(pb::ResponseLimits {
                slow_ms: response.slow.map(ms),
                anomaly: response.anomaly,
            }),
            failures: Some(pb::FailureLimits {
                share: failures.share,
                least: failures.least.get(),
            }),
            flapping: Some(pb::FlappingLimits {
                every_ms: ms(flapping.every),
                on: flapping.on,
                off: flapping.off,
                hold_max_ms: ms(flapping.hold_max),
            }),
            checks: check.into_iter().map(expected_to_wire).collect(),
            quiet_hours: quiet_hours.iter().map(ToString::to_string).collect(),
        }
    }
}

fn expected_to_wire((name, expected): (String, Expected)) -> pb::ExpectedCheck {
    let due = match expected.due {
        Due::Every(every) => pb::expected_check::Due::EveryMs(ms(every)),
        Due::Cron(line) => pb::expected_check::Due::Cron(line),
    };
    pb::ExpectedCheck { name, grace_ms: ms(expected.grace), due: Some(due) }
}

/// `None` where it is due in a way that is not known here: the collector clocks it.
fn expected_from_wire(check: pb::ExpectedCheck) -> Option<(String, Expected)> {
    let due = match check.due? {
        pb::expected_check::Due::EveryMs(every) => Due::Every(duration(every)),
        pb::expected_check::Due::Cron(line) => Due::Cron(clip(line.into())),
    };
    Some((clip(check.name.into()), Expected { due, grace: duration(check.grace_ms) }))
}

fn least(field: &'static str, number: u32) -> Result<NonZeroU32, Invalid> {
    NonZeroU32::new(number).required(field)
}

impl TryFrom<pb::Limits> for Limits {
    type Error = Invalid;

    fn try_from(limits: pb::Limits) -> Result<Self, Invalid> {
        let looping = limits.looping.required("limits.looping")?;
        let energy = limits.energy.required("limits.energy")?;
        let memory = limits.memory.required("limits.memory")?;
        let response = limits.response.required("limits.response")?;
        let failures = limits.failures.required("limits.failures")?;
        let flapping = limits.flapping.required("limits.flapping")?;
        let named = [looping.exempt.len(), limits.checks.len(), limits.quiet_hours.len()];
        if named.into_iter().any(|count| count > NAMED_MAX) {
            return Err(Invalid::new("limits", "more than 32 of one kind"));
        }
        let hours = |text: &String| {
            QuietHours::parse(text).map_err(|_| Invalid::new("limits.quiet_hours", "not hours"))
        };
        Ok(Self {
            looping: LoopLimits {
                same_result: least("looping.same_result", looping.same_result)?,
                same_error: least("looping.same_error", looping.same_error)?,
                alternating: least("looping.alternating", looping.alternating)?,
                monologue: least("looping.monologue", looping.monologue)?,
                exempt: looping.exempt.into_iter().map(|tool| clip(tool.into())).collect(),
            },
            energy: EnergyLimits {
                low: finite("energy.low", energy.low)?,
                gone: finite("energy.gone", energy.gone)?,
                empty_within: duration(energy.empty_within_ms),
                hard: energy.hard,
                burn_tokens: energy.burn_tokens,
                burn_cost_usd: finite("energy.burn_cost_usd", energy.burn_cost_usd)?,
            },
            memory: MemoryLimits {
                limit: memory.limit,
                high: finite("memory.high", memory.high)?,
                critical: finite("memory.critical", memory.critical)?,
                leak_above: finite("memory.leak_above", memory.leak_above)?,
                leak_within: duration(memory.leak_within_ms),
                window: duration(memory.window_ms),
            },
            response: ResponseLimits {
                slow: response.slow_ms.map(duration),
                anomaly: finite("response.anomaly", response.anomaly)?,
            },
            failures: FailureLimits {
                share: finite("failures.share", failures.share)?,
                least: least("failures.least", failures.least)?,
            },
            flapping: FlappingLimits {
                every: duration(flapping.every_ms),
                on: finite("flapping.on", flapping.on)?,
                off: finite("flapping.off", flapping.off)?,
                hold_max: duration(flapping.hold_max_ms),
            },
            check: limits.checks.into_iter().filter_map(expected_from_wire).collect(),
            quiet_hours: limits.quiet_hours.iter().map(hours).collect::<Result<_, _>>()?,
        })
    }
}
