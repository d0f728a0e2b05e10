//! Which findings together are enough to act on a living agent: two independent reasons, or one
//! hard fact.
//!
//! | finding | beside it | leads to |
//! |---|---|---|
//! | a fact, Critical | whatever | its act: restart, or what `[policy.x.act]` says |
//! | frozen progress, Critical | no activity for its whole window | its act |
//! | frozen progress, Critical | a second finding of a fact or of a symptom | its act |
//! | frozen progress, Critical | neither | a word |
//! | anything, Warning | whatever | a nudge, where the policy asks for one |
//! | a symptom, whatever its level | whatever | a nudge, where the policy asks for one |
//! | context | whatever | a word |
//!
//! A fact is silence of an armed agent without activity, a failure that the agent reports itself,
//! a hard budget that is spent, and what a policy has made one by asking for more than a word
//! (a lease that ended, an open task that is too old, and the like). Similarity, slopes and
//! anomalies are symptoms. What the link, a person or the sidecar's disk explains is context: it
//! speaks neither for nor against the agent.

use lubdub_shared::cause::{Cause, Weight};
use lubdub_shared::status::Status;

/// What stands beside a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beside {
    /// No activity of the tree for the whole window.
    pub(crate) inert: bool,
    /// Another finding that is a second reason.
    pub(crate) second: bool,
}

/// The most that may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leads {
    Notify,
    Nudge,
    Act,
}

/// A row of the table above; the first that fits holds. `None` stands for whatever.
type Row = (Option<Weight>, Option<Status>, Option<bool>, Option<bool>, Leads);

const TABLE: [Row; 7] = [
    // weight, level, inert, second
    (Some(Weight::Context), None, None, None, Leads::Notify),
    (Some(Weight::Symptom), None, None, None, Leads::Nudge),
    (Some(Weight::Fact), Some(Status::Critical), None, None, Leads::Act),
    (Some(Weight::Frozen), Some(Status::Critical), Some(true), None, Leads::Act),
    (Some(Weight::Frozen), Some(Status::Critical), None, Some(true), Leads::Act),
    (Some(Weight::Frozen), Some(Status::Critical), None, None, Leads::Notify),
    (None, Some(Status::Warning), None, None, Leads::Nudge),
];

/// What a finding leads to at most, given what stands beside it.
pub(crate) fn leads(cause: Cause, level: Status, beside: Beside) -> Leads {
    let fits = |(weight, at, inert, second, _): &&Row| {
        weight.is_none_or(|w| w == weigh(cause))
            && at.is_none_or(|at| at == level)
            && inert.is_none_or(|inert| inert == beside.inert)
            && second.is_none_or(|second| second == beside.second)
    };
    TABLE.iter().find(fits).map_or(Leads::Notify, |row| row.4)
}

pub(crate) fn weigh(cause: Cause) -> Weight {
    cause.row().weight
}

/// A finding that is a second reason beside frozen progress.
pub(crate) fn is_second(cause: Cause, level: Status) -> bool {
    cause.row().is_second && level.severity() >= Status::Warning.severity()
}

#[cfg(test)]
mod tests {
    use lubdub_shared::policy::Act;

    use super::*;

    const NOTHING: Beside = Beside { inert: false, second: false };
    const INERT: Beside = Beside { inert: true, second: false };
    const SECOND: Beside = Beside { inert: false, second: true };

    #[test]
    fn each_row_of_the_table() {
        use Status::{Critical, Unknown, Warning};
        for (cause, level, beside, expected) in [
            (Cause::Silent, Critical, NOTHING, Leads::Act),
            (Cause::ReportedFailure, Critical, NOTHING, Leads::Act),
            (Cause::NeverSeen, Critical, NOTHING, Leads::Act),
            (Cause::EnergyGone, Critical, NOTHING, Leads::Act),
            (Cause::NoProgress, Critical, INERT, Leads::Act),
            (Cause::NoProgress, Critical, SECOND, Leads::Act),
            (Cause::NoProgress, Critical, NOTHING, Leads::Notify),
            (Cause::NoProgress, Warning, INERT, Leads::Nudge),
            (Cause::Silent, Warning, SECOND, Leads::Nudge),
            (Cause::Looping, Warning, INERT, Leads::Nudge),
            (Cause::MemoryHigh, Critical, SECOND, Leads::Nudge),
            (Cause::MemoryLeak, Critical, INERT, Leads::Nudge),
            (Cause::WaitingHuman, Warning, SECOND, Leads::Notify),
            (Cause::Flapping, Warning, SECOND, Leads::Notify),
            (Cause::Unreachable, Unknown, INERT, Leads::Notify),
            (Cause::Missing, Critical, SECOND, Leads::Notify),
            (Cause::Duplicate, Critical, SECOND, Leads::Notify),
        ] {
            assert_eq!(leads(cause, level, beside), expected, "{cause} {level} {beside:?}");
        }
    }

    #[test]
    fn no_cause_that_may_only_be_told_leads_to_an_act() {
        for cause in Cause::ALL {
            for level in [Status::Warning, Status::Critical, Status::Unknown] {
                let beside = Beside { inert: true, second: true };
                let acts = leads(*cause, level, beside) == Leads::Act;
                assert!(!acts || cause.row().weight.most() >= Act::Restart, "{cause}");
                assert!(!acts || level == Status::Critical, "{cause}");
            }
        }
    }

    #[test]
    fn two_symptoms_are_no_fact() {
        for (cause, second) in [
            (Cause::Looping, true),
            (Cause::LeaseExpired, true),
            (Cause::BurnWithoutProgress, false),
            (Cause::EnergyLow, false),
            (Cause::EnergyGone, false),
            (Cause::Missed, false),
            (Cause::Paused, false),
            (Cause::WaitingHuman, false),
            (Cause::SickDisk, false),
            (Cause::NoProgress, false),
        ] {
            assert_eq!(is_second(cause, Status::Warning), second, "{cause}");
        }
        assert!(!is_second(Cause::Looping, Status::Ok));
    }
}
