//! The settings that decide a cause, each beside its detector: which they are, what they are set
//! to, and what the detectors would have said with others.

use lubdub_shared::beat::{Ages, Report};
use lubdub_shared::cause::Cause;
use lubdub_shared::facts::Fact;
use lubdub_shared::policy::Policy;

/// One setting.
pub(crate) struct Setting {
    /// As in the file, below `[policy.NAME]`.
    pub(crate) key: fn(&Ages, &Policy) -> String,
    /// The causes that it decides.
    pub(crate) causes: &'static [Cause],
    /// Turns it by a factor; its value then. `None` where it does not apply.
    pub(crate) turn: fn(&mut Policy, &mut Report, f64) -> Option<Fact>,
}

impl Setting {
    /// What it is set to.
    pub(crate) fn value(&self, policy: &Policy, report: &Report) -> Option<Fact> {
        (self.turn)(&mut policy.clone(), &mut report.clone(), 1.0)
    }
}

macro_rules! clock {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        $crate::detect::setting::Setting {
            key: |_, _| $key.to_owned(),
            causes: &[$(lubdub_shared::cause::Cause::$cause),*],
            turn: |policy, _, by| {
                policy.$($field).+ = lubdub_shared::time::scaled(policy.$($field).+, by);
                Some(policy.$($field).+.into())
            },
        }
    };
}

macro_rules! bound {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        $crate::detect::setting::Setting {
            key: |_, _| $key.to_owned(),
            causes: &[$(lubdub_shared::cause::Cause::$cause),*],
            turn: |policy, _, by| {
                policy.$($field).+ *= by;
                Some(policy.$($field).+.into())
            },
        }
    };
}

/// Counts go up and down by whole numbers, and not below one.
macro_rules! count {
    ($key:literal, [$($cause:ident),*], $($field:ident).+) => {
        $crate::detect::setting::Setting {
            key: |_, _| $key.to_owned(),
            causes: &[$(lubdub_shared::cause::Cause::$cause),*],
            turn: |policy, _, by| {
                let turned = $crate::detect::setting::times(policy.$($field).+.get(), by);
                policy.$($field).+ = turned;
                Some(turned.get().into())
            },
        }
    };
}

pub(crate) use {bound, clock, count};

pub(crate) fn times(count: u32, by: f64) -> std::num::NonZeroU32 {
    let scaled = u32::try_from(so_many(u64::from(count), by)).unwrap_or(u32::MAX);
    std::num::NonZeroU32::new(scaled).unwrap_or(std::num::NonZeroU32::MIN)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
#[expect(clippy::cast_precision_loss, reason = "a bound is coarser than that")]
pub(crate) fn so_many(count: u64, by: f64) -> u64 {
    (count as f64 * by).round() as u64
}
