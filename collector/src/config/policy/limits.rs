//! The tables of a policy that are no clocks: loops, energy, memory, responses, failures, flapping,
//! checks and quiet hours.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use lubdub_shared::line::NAME_LEN_MAX;
use lubdub_shared::policy::{
    Due, EnergyLimits, Expected, FailureLimits, FlappingLimits, Limits, LoopLimits, MemoryLimits,
    NAMED_MAX, QuietHours, ResponseLimits, STEPS_MAX,
};
use lubdub_shared::strict_toml::{Bytes, Span, SpanOrNone};
use serde::Deserialize;

/// How late a check may be that does not say.
const GRACE: Duration = Duration::from_secs(5 * 60);
/// Least limit of memory.
const MEMORY_MIN: u64 = 1 << 20;
/// Shortest of the windows of memory: a tenth of it is a bucket.
const WINDOW_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoopTable {
    same_result: Option<NonZeroU32>,
    same_error: Option<NonZeroU32>,
    alternating: Option<NonZeroU32>,
    monologue: Option<NonZeroU32>,
    exempt: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnergyTable {
    low: Option<f64>,
    gone: Option<f64>,
    empty_within: Option<Span>,
    hard: Option<bool>,
    burn_tokens: Option<u64>,
    burn_cost_usd: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemoryTable {
    limit: Option<Bytes>,
    high: Option<f64>,
    critical: Option<f64>,
    leak_above: Option<f64>,
    leak_within: Option<Span>,
    window: Option<Span>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseTable {
    slow: Option<SpanOrNone>,
    anomaly: Option<f64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailureTable {
    share: Option<f64>,
    least: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlappingTable {
    every: Option<Span>,
    on: Option<f64>,
    off: Option<f64>,
    hold_max: Option<Span>,
}

/// `[policy.NAME.check.CHECK]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckTable {
    every: Option<Span>,
    cron: Option<String>,
    grace: Option<Span>,
}

/// Everything of a `[policy.NAME]` that this file knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) looping: LoopTable,
    pub(super) energy: EnergyTable,
    pub(super) memory: MemoryTable,
    pub(super) response: ResponseTable,
    pub(super) failures: FailureTable,
    pub(super) flapping: FlappingTable,
    pub(super) check: BTreeMap<String, CheckTable>,
    pub(super) quiet_hours: Option<Vec<String>>,
}

fn span(own: Option<Span>, base: Duration) -> Duration {
    own.map_or(base, |span| span.0)
}

impl Tables {
    /// Over what is inherited, key by key.
    pub(super) fn over(self, base: &Limits) -> Result<Limits, String> {
        let Self { looping, energy, memory, response, failures, flapping, check, quiet_hours } =
            self;
        let mut checks = base.check.clone();
        for (name, table) in check {
            checks.insert(name.clone(), expected(&name, table)?);
        }
        let quiet_hours = match quiet_hours {
            Some(hours) => hours
                .iter()
                .map(|text| QuietHours::parse(text).map_err(|why| format!("quiet_hours: {why}")))
                .collect::<Result<_, _>>()?,
            None => base.quiet_hours.clone(),
        };
        let limits = Limits {
            looping: LoopLimits {
                same_result: looping.same_result.unwrap_or(base.looping.same_result),
                same_error: looping.same_error.unwrap_or(base.looping.same_error),
                alternating: looping.alternating.unwrap_or(base.looping.alternating),
                monologue: looping.monologue.unwrap_or(base.looping.monologue),
                exempt: looping.exempt.unwrap_or_else(|| base.looping.exempt.clone()),
            },
            energy: EnergyLimits {
                low: energy.low.unwrap_or(base.energy.low),
                gone: energy.gone.unwrap_or(base.energy.gone),
                empty_within: span(energy.empty_within, base.energy.empty_within),
                hard: energy.hard.unwrap_or(base.energy.hard),
                burn_tokens: energy.burn_tokens.unwrap_or(base.energy.burn_tokens),
                burn_cost_usd: energy.burn_cost_usd.unwrap_or(base.energy.burn_cost_usd),
            },
            memory: MemoryLimits {
                limit: memory.limit.map(|bytes| bytes.0).or(base.memory.limit),
                high: memory.high.unwrap_or(base.memory.high),
                critical: memory.critical.unwrap_or(base.memory.critical),
                leak_above: memory.leak_above.unwrap_or(base.memory.leak_above),
                leak_within: span(memory.leak_within, base.memory.leak_within),
                window: span(memory.window, base.memory.window),
            },
            response: ResponseLimits {
                slow: response.slow.map_or(base.response.slow, |slow| slow.0),
                anomaly: response.anomaly.unwrap_or(base.response.anomaly),
            },
            failures: FailureLimits {
                share: failures.share.unwrap_or(base.failures.share),
                least: failures.least.unwrap_or(base.failures.least),
            },
            flapping: FlappingLimits {
                every: span(flapping.every, base.flapping.every),
                on: flapping.on.unwrap_or(base.flapping.on),
                off: flapping.off.unwrap_or(base.flapping.off),
                hold_max: span(flapping.hold_max, base.flapping.hold_max),
            },
            check: checks,
            quiet_hours,
        };
        check_limits(&limits).map(|()| limits)
    }
}

fn expected(name: &str, table: CheckTable) -> Result<Expected, String> {
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return Err(format!("check.{name}: a name has 1 to {NAME_LEN_MAX} bytes"));
    }
    let due = match (table.every, table.cron) {
        (Some(every), None) if every.0.is_zero() => {
            return Err(format!("check.{name}.every is zero"));
        }
        (Some(every), None) => Due::Every(every.0),
        (None, Some(line)) => match cronexpr::parse_crontab(&line) {
            // Any moment will do: what has no next time from it has none at all.
            Ok(times) if times.find_next("2026-01-01T00:00:00Z").is_err() => {
                return Err(format!("check.{name}.cron = {line:?} never comes"));
            }
            Ok(_) => Due::Cron(line),
            Err(error) => {
                let why = error.to_string().replace('\n', " ");
                return Err(format!(
                    "check.{name}.cron = {line:?} is not like \"0 3 * * * Europe/Berlin\": {why}"
                ));
            }
        },
        (Some(_), Some(_)) => {
            return Err(format!("check.{name} has both every and cron: one of them"));
        }
        (None, None) => return Err(format!("check.{name} has neither every nor cron")),
    };
    Ok(Expected { due, grace: span(table.grace, GRACE) })
}

/// What could never be reached, or would always be.
fn check_limits(limits: &Limits) -> Result<(), String> {
    let Limits { looping, energy, memory, failures, flapping, check, quiet_hours, .. } = limits;
    let named = [
        ("loop.exempt", looping.exempt.len()),
        ("check", check.len()),
        ("quiet_hours", quiet_hours.len()),
    ];
    for (key, count) in named {
        if count > NAMED_MAX {
            return Err(format!("{key} has {count} entries; {NAMED_MAX} are the most"));
        }
    }
    for (key, times) in [
        ("loop.same_result", looping.same_result),
        ("loop.same_error", looping.same_error),
        ("loop.alternating", looping.alternating),
        ("loop.monologue", looping.monologue),
    ] {
        if times.get() < 2 {
            return Err(format!("{key} = {times}: one step repeats nothing"));
        }
        if times.get() * 2 > STEPS_MAX {
            return Err(format!(
                "{key} = {times} can never be reached while an agent waits: doubled it is more \
                 than the {STEPS_MAX} steps that are remembered"
            ));
        }
    }
    for (key, share) in [
        ("energy.low", energy.low),
        ("energy.gone", energy.gone),
        ("memory.high", memory.high),
        ("memory.critical", memory.critical),
        ("memory.leak_above", memory.leak_above),
        ("failures.share", failures.share),
        ("flapping.on", flapping.on),
        ("flapping.off", flapping.off),
    ] {
        if !(0.0..=1.0).contains(&share) {
            return Err(format!("{key} = {share} is not within 0..1"));
        }
    }
    check_numbers(limits)
}

fn check_numbers(limits: &Limits) -> Result<(), String> {
    let Limits { energy, memory, response, failures, flapping, .. } = limits;
    if energy.burn_tokens == 0 || !(energy.burn_cost_usd.is_finite() && energy.burn_cost_usd > 0.0)
    {
        return Err("energy.burn_tokens and energy.burn_cost_usd must be above zero".to_owned());
    }
    if energy.gone > energy.low {
        return Err("energy.gone is above energy.low".to_owned());
    }
    if memory.high > memory.critical {
        return Err("memory.high is above memory.critical".to_owned());
    }
    if memory.limit.is_some_and(|bytes| bytes < MEMORY_MIN) {
        return Err("memory.limit is below 1MiB: no process has so little".to_owned());
    }
    if memory.window < WINDOW_MIN {
        return Err("memory.window is below 1s".to_owned());
    }
    if !(response.anomaly.is_finite() && response.anomaly > 0.0) {
        return Err(format!("response.anomaly = {} is not above zero", response.anomaly));
    }
    if failures.least.get() > 20 {
        return Err(format!(
            "failures.least = {} can never be reached: the last 20 tasks are looked at",
            failures.least
        ));
    }
    if flapping.off >= flapping.on {
        return Err("flapping.off is not below flapping.on".to_owned());
    }
    if flapping.every.is_zero() {
        return Err("flapping.every is zero".to_owned());
    }
    Ok(())
}
