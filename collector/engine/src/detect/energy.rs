//! EnergyLow, EnergyGone and BurnWithoutProgress: what an agent may spend, and what comes of it.

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::command::Precondition;
use lubdub_shared::facts::Fact;
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Policy, STRETCH_MAX};
use lubdub_shared::status::Status;

use super::setting::{Setting, bound, clock, so_many};
use super::{Detector, never_acted_on};
use crate::finding::Finding;

/// What is burnt may be so many times what its steps of progress usually cost.
const BURN_TIMES: u64 = 4;

pub(super) const LEFT: Detector = Detector {
    causes: &[Cause::EnergyLow, Cause::EnergyGone],
    find: |look| left(look.report, &look.late, look.policy),
    guard: |cause, _, _| (cause == Cause::EnergyGone).then_some(Precondition::StillSpent),
    settings: &[
        bound!("energy.low", [EnergyLow], limits.energy.low),
        clock!("energy.empty_within", [EnergyLow], limits.energy.empty_within),
    ],
};

pub(super) fn left(report: &Report, late: &Late, policy: &Policy) -> Option<Finding> {
    if late.spent { Some(gone(report, policy)) } else { low(report, policy) }
}

fn gone(report: &Report, policy: &Policy) -> Finding {
    let limits = &policy.limits.energy;
    let left = report.vitals.energy.unwrap_or_default();
    let level = if limits.hard { Status::Critical } else { Status::Warning };
    let facts =
        [("energy", left.into()), ("gone", limits.gone.into()), ("hard", limits.hard.into())];
    Finding::new(Cause::EnergyGone, level, facts)
}

fn low(report: &Report, policy: &Policy) -> Option<Finding> {
    let (limits, burn) = (&policy.limits.energy, &report.vitals.burn);
    let left = report.vitals.energy?;
    let soon = burn.empty_in.is_some_and(|empty_in| empty_in <= limits.empty_within);
    if left > limits.low && !soon {
        return None;
    }
    let facts = [
        ("energy", left.into()),
        ("low", limits.low.into()),
        ("per_hour", burn.per_hour.into()),
        ("empty_in", burn.empty_in.into()),
        ("empty_within", limits.empty_within.into()),
    ];
    Some(Finding::new(Cause::EnergyLow, Status::Warning, facts))
}

pub(super) const BURNT: Detector = Detector {
    causes: &[Cause::BurnWithoutProgress],
    find: |look| burnt(look.report, look.policy),
    guard: never_acted_on,
    settings: &[
        bound!("energy.burn_cost_usd", [BurnWithoutProgress], limits.energy.burn_cost_usd),
        Setting {
            key: |_, _| "energy.burn_tokens".to_owned(),
            causes: &[Cause::BurnWithoutProgress],
            turn: |policy, _, by| {
                let tokens = &mut policy.limits.energy.burn_tokens;
                *tokens = so_many(*tokens, by);
                Some((*tokens).into())
            },
        },
    ],
};

pub(super) fn burnt(report: &Report, policy: &Policy) -> Option<Finding> {
    let (limits, burn) = (&policy.limits.energy, &report.vitals.burn);
    let usual = burn.usual_tokens.unwrap_or_default();
    // What one step once cost is no licence: the bound grows no further than any deadline does.
    let most = limits.burn_tokens.saturating_mul(STRETCH_MAX.into());
    let bound = usual.saturating_mul(BURN_TIMES).clamp(limits.burn_tokens, most);
    if burn.tokens < bound && burn.cost_usd < limits.burn_cost_usd {
        return None;
    }
    let facts = [
        ("tokens", burn.tokens.into()),
        ("cost_usd", burn.cost_usd.into()),
        ("tokens_bound", bound.into()),
        ("cost_bound_usd", limits.burn_cost_usd.into()),
        ("burn_tokens", limits.burn_tokens.into()),
        ("usual_tokens", Fact::Count(burn.usual_tokens)),
        ("frozen", report.ages.progress.frozen.into()),
    ];
    Some(Finding::new(Cause::BurnWithoutProgress, Status::Warning, facts))
}
