//! EnergyLow, EnergyGone and BurnWithoutProgress: what an agent may spend, and what comes of it.

use lubdub_shared::beat::Report;
use lubdub_shared::command::Precondition;
use lubdub_shared::incident::{Cause, Finding};
use lubdub_shared::late::Late;
use lubdub_shared::policy::{Policy, STRETCH_MAX};
use lubdub_shared::status::Status;
use lubdub_shared::time::words;

use super::setting::{Setting, bound, clock, so_many};
use super::{Detector, Draft, age, count, never_acted_on, number};

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
    Draft {
        cause: Cause::EnergyGone,
        level: if limits.hard { Status::Critical } else { Status::Warning },
        detail: format!("nothing is left to spend: energy {left:.2}"),
        evidence: [
            ("energy", format!("{left:.3}")),
            ("gone", limits.gone.to_string()),
            ("hard", limits.hard.to_string()),
        ],
        rule: "energy at or below energy.gone; Critical, and the end, where energy.hard is set",
        cancelled_by: "energy: a new window of the budget, or a declared value",
    }
    .into()
}

fn low(report: &Report, policy: &Policy) -> Option<Finding> {
    let (limits, burn) = (&policy.limits.energy, &report.vitals.burn);
    let left = report.vitals.energy?;
    let soon = burn.empty_in.filter(|empty_in| *empty_in <= limits.empty_within);
    let detail = match soon {
        _ if left <= limits.low => format!("energy {left:.2} (low at {})", limits.low),
        Some(empty_in) => format!("energy {left:.2} is gone in {}", words(empty_in)),
        None => return None,
    };
    let finding = Draft {
        cause: Cause::EnergyLow,
        level: Status::Warning,
        detail,
        evidence: [
            ("energy", format!("{left:.3}")),
            ("low", limits.low.to_string()),
            ("per_hour", number(burn.per_hour, 3)),
            ("empty_in", age(burn.empty_in)),
            ("empty_within", words(limits.empty_within)),
        ],
        rule: "energy at or below energy.low, or gone within energy.empty_within at the slower \
               rate of the last ten minutes and the last hour",
        cancelled_by: "more energy, or a slower burn",
    };
    Some(finding.into())
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
                Some(tokens.to_string())
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
    let finding = Draft {
        cause: Cause::BurnWithoutProgress,
        level: Status::Warning,
        detail: format!(
            "{} tokens and {:.2} USD since the last progress (bounds {bound} and {:.2})",
            burn.tokens, burn.cost_usd, limits.burn_cost_usd
        ),
        evidence: [
            ("tokens", burn.tokens.to_string()),
            ("cost_usd", format!("{:.4}", burn.cost_usd)),
            ("burn_tokens", limits.burn_tokens.to_string()),
            ("usual_tokens", count(burn.usual_tokens)),
            ("frozen", age(report.ages.progress.frozen)),
        ],
        rule: "spent since the last progress of this life: energy.burn_tokens, or four times what \
               its steps usually cost; or energy.burn_cost_usd",
        cancelled_by: "a step of progress, or a finished task",
    };
    Some(finding.into())
}
