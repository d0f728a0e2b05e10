//! The settings behind a finding: which they are, what they are set to, and what the detectors
//! would have said with others.

use std::time::Duration;

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::Policy;
use lubdub_shared::time::{scaled, words};

/// One setting.
pub(super) struct Knob {
    /// As in the file, below `[policy.NAME]`.
    pub(super) key: fn(&Ages, &Policy) -> String,
    /// The causes that it decides.
    pub(super) causes: &'static [Cause],
    /// Turns it by a factor; its value then. `None` where it does not apply.
    pub(super) turn: fn(&mut Policy, &mut Report, f64) -> Option<String>,
}

/// A setting and its value.
pub(super) type Set = (String, String);

macro_rules! clock {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        Knob {
            key: |_, _| $key.to_owned(),
            causes: &[$(Cause::$cause),*],
            turn: |policy, _, by| {
                policy.$($field).+ = scaled(policy.$($field).+, by);
                Some(words(policy.$($field).+))
            },
        }
    };
}

macro_rules! bound {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        Knob {
            key: |_, _| $key.to_owned(),
            causes: &[$(Cause::$cause),*],
            turn: |policy, _, by| {
                policy.$($field).+ *= by;
                Some(format!("{:.2}", policy.$($field).+))
            },
        }
    };
}

/// Counts go up and down by whole numbers, and not below one.
macro_rules! count {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        Knob {
            key: |_, _| $key.to_owned(),
            causes: &[$(Cause::$cause),*],
            turn: |policy, _, by| {
                let turned = times(policy.$($field).+.get(), by);
                policy.$($field).+ = turned;
                Some(turned.to_string())
            },
        }
    };
}

pub(super) const KNOBS: &[Knob] = &[
    Knob { key: deadline_key, causes: &[Cause::Silent, Cause::BusySilent], turn: turn_deadline },
    count!("failures_before_critical", [Silent], failures_before_critical),
    clock!("busy_cap", [BusySilent], busy_cap),
    clock!("startup_grace", [NeverSeen], startup_grace),
    Knob { key: progress_key, causes: &[Cause::NoProgress], turn: turn_progress },
    clock!("inactive_after", [Inactive], inactive_after),
    clock!("paused_max", [Paused], paused_max),
    clock!("human_after", [WaitingHuman], human_after),
    Knob {
        key: |_, _| "task_timeout".to_owned(),
        causes: &[Cause::TaskOverdue],
        turn: |policy, _, by| {
            let timeout = scaled(policy.task_timeout?, by);
            policy.task_timeout = Some(timeout);
            Some(words(timeout))
        },
    },
    count!("loop.same_result", [Looping], limits.looping.same_result),
    count!("loop.same_error", [Looping], limits.looping.same_error),
    count!("loop.alternating", [Looping], limits.looping.alternating),
    count!("loop.monologue", [Looping], limits.looping.monologue),
    bound!("energy.low", [EnergyLow], limits.energy.low),
    clock!("energy.empty_within", [EnergyLow], limits.energy.empty_within),
    bound!("energy.burn_cost_usd", [BurnWithoutProgress], limits.energy.burn_cost_usd),
    Knob {
        key: |_, _| "energy.burn_tokens".to_owned(),
        causes: &[Cause::BurnWithoutProgress],
        turn: |policy, _, by| {
            let tokens = &mut policy.limits.energy.burn_tokens;
            *tokens = so_many(*tokens, by);
            Some(tokens.to_string())
        },
    },
    bound!("memory.high", [MemoryHigh], limits.memory.high),
    bound!("memory.critical", [MemoryHigh, MemoryLeak], limits.memory.critical),
    bound!("memory.leak_above", [MemoryLeak], limits.memory.leak_above),
    clock!("memory.leak_within", [MemoryLeak], limits.memory.leak_within),
    Knob {
        key: |_, _| "response.slow".to_owned(),
        causes: &[Cause::SlowResponse],
        turn: |policy, _, by| {
            let slow = scaled(policy.limits.response.slow?, by);
            policy.limits.response.slow = Some(slow);
            Some(words(slow))
        },
    },
    bound!("response.anomaly", [SlowResponse], limits.response.anomaly),
    bound!("failures.share", [TaskFailures], limits.failures.share),
    count!("failures.least", [TaskFailures], limits.failures.least),
];

/// The settings that decide a cause, and their values.
pub(super) fn settings(cause: Cause, policy: &Policy, report: &Report) -> Vec<Set> {
    let of = |knob: &Knob| {
        let value = (knob.turn)(&mut policy.clone(), &mut report.clone(), 1.0)?;
        Some(((knob.key)(&report.ages, policy), value))
    };
    KNOBS.iter().filter(|knob| knob.causes.contains(&cause)).filter_map(of).collect()
}

/// The agent's own contract is no setting of the policy.
fn deadline_key(ages: &Ages, policy: &Policy) -> String {
    match ages.phase {
        _ if ages.deadline.is_some_and(|deadline| deadline.explicit) => {
            "WATCHDOG_USEC (the agent's own)".to_owned()
        }
        Some(phase) if policy.phase.contains_key(&phase) => format!("phase.{phase}"),
        Some(_) | None => "heartbeat_deadline".to_owned(),
    }
}

fn turn_deadline(_: &mut Policy, report: &mut Report, by: f64) -> Option<String> {
    let deadline = report.ages.deadline.as_mut()?;
    deadline.after = scaled(deadline.after, by).max(Duration::from_millis(1));
    Some(words(deadline.after))
}

fn progress_key(ages: &Ages, policy: &Policy) -> String {
    let own = ages.phase.and_then(|phase| policy.phase.get(&phase).copied().flatten());
    match (ages.phase, own) {
        (Some(phase), Some(own)) if own > policy.progress_window => format!("phase.{phase}"),
        _ => "progress_window".to_owned(),
    }
}

fn turn_progress(policy: &mut Policy, report: &mut Report, by: f64) -> Option<String> {
    let window = scaled(report.ages.progress_window(policy), by);
    report.ages.progress.window = window;
    (policy.progress_window, policy.phase) = (window, Default::default());
    Some(words(window))
}

fn times(count: u32, by: f64) -> std::num::NonZeroU32 {
    let scaled = u32::try_from(so_many(u64::from(count), by)).unwrap_or(u32::MAX);
    std::num::NonZeroU32::new(scaled).unwrap_or(std::num::NonZeroU32::MIN)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
#[expect(clippy::cast_precision_loss, reason = "a bound is coarser than that")]
fn so_many(count: u64, by: f64) -> u64 {
    (count as f64 * by).round() as u64
}
