//! Causes: what may be wrong with an agent, a row each. What a cause may lead to, how much it
//! weighs, which trouble it is a form of and what people are told of it stands here and nowhere
//! else; how it is found stands with its detector.

use crate::policy::Act;
use crate::status::words;

words! {
    /// Why a finding was made.
    open Cause {
        /// A clean exit, or an asked-for stop.
        Exited = "exited",
        /// The main process failed.
        Crashed = "crashed",
        /// A signal that the sidecar did not send ended it.
        KilledByOther = "killed_by_other",
        /// The kernel killed it because its memory was used up.
        OomKilled = "oom_killed",
        /// The schedule was spent on failed exits.
        CrashLoop = "crash_loop",
        /// Beats were expected, and none came within the startup grace.
        NeverSeen = "never_seen",
        /// No beat and no activity for the deadline.
        Silent = "silent",
        /// No beat, but activity.
        BusySilent = "busy_silent",
        /// Beats, but progress is frozen.
        NoProgress = "no_progress",
        /// A lease and its slack have passed.
        LeaseExpired = "lease_expired",
        /// The agent itself says so.
        ReportedFailure = "reported_failure",
        /// An open task is older than it may be.
        TaskOverdue = "task_overdue",
        /// A check did not come when it had to.
        Missed = "missed",
        /// It waits for a person, and has waited for long.
        WaitingHuman = "waiting_human",
        /// It does the same again and again.
        Looping = "looping",
        /// Little is left of what it may spend.
        EnergyLow = "energy_low",
        /// Nothing is left of it.
        EnergyGone = "energy_gone",
        /// It spends, and nothing comes of it.
        BurnWithoutProgress = "burn_without_progress",
        /// Memory is near its limit.
        MemoryHigh = "memory_high",
        /// Memory grows towards its limit.
        MemoryLeak = "memory_leak",
        /// Tasks take longer than they may, or than they ever did.
        SlowResponse = "slow_response",
        /// Too many tasks fail.
        TaskFailures = "task_failures",
        /// Its status comes and goes.
        Flapping = "flapping",
        /// An agent that never beats shows no activity.
        Inactive = "inactive",
        /// Stopped or frozen.
        Paused = "paused",
        /// The link is lost: nothing is known of the agent.
        Unreachable = "unreachable",
        /// Unreachable for long: a person must look.
        Missing = "missing",
        /// Two sidecar instances report one agent.
        Duplicate = "duplicate",
        /// A state directory cannot be written: the sidecar's, or the collector's own.
        SickDisk = "sick_disk",
        /// It was killed, and does not end.
        Unkillable = "unkillable",
        /// The sidecar cannot do what is its own.
        SickSidecar = "sick_sidecar",
        /// The sidecar is deaf to its agent.
        Unheard = "unheard",
        /// A clean exit with work left undone.
        EndedEarly = "ended_early",
    }
}

/// How much a finding of a cause weighs when it is asked whether to act on a living agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Enough alone, once it is Critical.
    Fact,
    /// Alive, not thinking: needs inactivity or a second reason.
    Frozen,
    /// Speaks for trouble, proves none: similarity, slopes, anomalies.
    Symptom,
    /// Says nothing about the agent: what the link, a person or the sidecar's disk explains, and
    /// what is dead already.
    Context,
}

/// All that is known of a cause, besides how it is found.
#[derive(Debug, Clone, Copy)]
pub struct CauseRow {
    /// The cause.
    pub cause: Cause,
    /// How much a finding of it weighs.
    pub weight: Weight,
    /// Beside frozen progress it is a second reason. What is spent is none: that rests on the same
    /// counter, or on a budget that no restart refills; nor is a pause, which explains it.
    pub is_second: bool,
    /// What it leads to where no policy says otherwise.
    pub default_act: Act,
    /// The most that `[policy.x.act]` may let it do. What rests on the link alone never touches a
    /// living agent, who waits for a person is never killed, and symptoms may nudge and no more.
    pub most: Act,
    /// The trouble that it is a form of: one incident tells the story of a family.
    pub family: Cause,
    /// What it means, for people.
    pub what: &'static str,
    /// The levels that it is found at, for people; empty where it is not found by a detector.
    pub levels: &'static str,
    /// What it leads to by default, for people.
    pub leads: &'static str,
}

/// A row each, in the order of [`Cause`].
pub const CAUSES: [CauseRow; 34] = [
    CauseRow {
        cause: Cause::Exited,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Exited,
        what: "a clean exit, or an asked-for stop",
        levels: "",
        leads: "",
    },
    CauseRow {
        cause: Cause::Crashed,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Crashed,
        what: "it failed",
        levels: "critical",
        leads: "restart by the sidecar",
    },
    CauseRow {
        cause: Cause::KilledByOther,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Crashed,
        what: "a signal that the sidecar did not send ended it",
        levels: "critical",
        leads: "restart by the sidecar",
    },
    CauseRow {
        cause: Cause::OomKilled,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Crashed,
        what: "the kernel ended it, because its memory was used up",
        levels: "critical",
        leads: "restart by the sidecar",
    },
    CauseRow {
        cause: Cause::CrashLoop,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Crashed,
        what: "the schedule was spent on failed exits",
        levels: "critical",
        leads: "`exhausted`: apoptosis or quarantine",
    },
    CauseRow {
        cause: Cause::NeverSeen,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Restart,
        most: Act::Apoptosis,
        family: Cause::NeverSeen,
        what: "beats expected, none in `startup_grace`",
        levels: "warning while active, else critical",
        leads: "restart",
    },
    CauseRow {
        cause: Cause::Silent,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Restart,
        most: Act::Apoptosis,
        family: Cause::Silent,
        what: "no beat and no activity for n deadlines",
        levels: "warning, critical at `failures_before_critical`",
        leads: "restart",
    },
    CauseRow {
        cause: Cause::BusySilent,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Apoptosis,
        family: Cause::Silent,
        what: "no beat, but activity",
        levels: "warning, critical at `busy_cap`",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::NoProgress,
        weight: Weight::Frozen,
        is_second: false,
        default_act: Act::Restart,
        most: Act::Apoptosis,
        family: Cause::NoProgress,
        what: "beats, progress frozen",
        levels: "warning, critical at twice the window",
        leads: "restart if also inactive, or with a second finding",
    },
    CauseRow {
        cause: Cause::LeaseExpired,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Apoptosis,
        family: Cause::LeaseExpired,
        what: "a leased call took longer than its agent said",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::ReportedFailure,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Restart,
        most: Act::Apoptosis,
        family: Cause::ReportedFailure,
        what: "the agent says so itself",
        levels: "warning, critical by trigger or three in a row",
        leads: "restart",
    },
    CauseRow {
        cause: Cause::TaskOverdue,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Apoptosis,
        family: Cause::TaskOverdue,
        what: "open for `task_timeout`",
        levels: "warning, critical at twice",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Missed,
        weight: Weight::Symptom,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::Missed,
        what: "a `check` did not come by its interval or its time of day",
        levels: "warning, critical when two are missed",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::WaitingHuman,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::WaitingHuman,
        what: "a person is needed, for `human_after`",
        levels: "warning",
        leads: "notify, and nothing else ever",
    },
    CauseRow {
        cause: Cause::Looping,
        weight: Weight::Symptom,
        is_second: true,
        default_act: Act::Nudge,
        most: Act::Nudge,
        family: Cause::Looping,
        what: "steps that repeat without progress",
        levels: "warning",
        leads: "nudge",
    },
    CauseRow {
        cause: Cause::EnergyLow,
        weight: Weight::Symptom,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::EnergyLow,
        what: "little is left of what it may spend",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::EnergyGone,
        weight: Weight::Fact,
        is_second: false,
        default_act: Act::Apoptosis,
        most: Act::Apoptosis,
        family: Cause::EnergyLow,
        what: "nothing is left of it",
        levels: "warning, critical under `energy.hard`",
        leads: "apoptosis under `energy.hard`",
    },
    CauseRow {
        cause: Cause::BurnWithoutProgress,
        weight: Weight::Symptom,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::BurnWithoutProgress,
        what: "tokens or money since the last progress, of an agent that counts any",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::MemoryHigh,
        weight: Weight::Symptom,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::MemoryHigh,
        what: "memory near its limit",
        levels: "warning, critical near the limit",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::MemoryLeak,
        weight: Weight::Symptom,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::MemoryHigh,
        what: "memory that grows towards its limit",
        levels: "warning, critical near the limit",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::SlowResponse,
        weight: Weight::Symptom,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::SlowResponse,
        what: "tasks take longer than they may, or than they ever did",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::TaskFailures,
        weight: Weight::Symptom,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Nudge,
        family: Cause::TaskFailures,
        what: "too many tasks fail",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Flapping,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Flapping,
        what: "the status comes and goes",
        levels: "warning",
        leads: "holds restarts for `hold_max`, then quarantine",
    },
    CauseRow {
        cause: Cause::Inactive,
        weight: Weight::Fact,
        is_second: true,
        default_act: Act::Notify,
        most: Act::Apoptosis,
        family: Cause::Inactive,
        what: "never beats, no activity",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Paused,
        weight: Weight::Fact,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Apoptosis,
        family: Cause::Paused,
        what: "stopped or frozen",
        levels: "warning, critical at `paused_max`",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Unreachable,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Unreachable,
        what: "the link is lost",
        levels: "unknown",
        leads: "notify, and nothing else ever",
    },
    CauseRow {
        cause: Cause::Missing,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Unreachable,
        what: "unreachable for `missing_after`",
        levels: "critical",
        leads: "notify, and nothing else ever",
    },
    CauseRow {
        cause: Cause::Duplicate,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Duplicate,
        what: "two sidecars report one agent",
        levels: "critical",
        leads: "notify; nothing automatic happens to either",
    },
    CauseRow {
        cause: Cause::SickDisk,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::SickDisk,
        what: "a sidecar, or the collector itself, cannot write",
        levels: "warning, critical for the collector",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Unkillable,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Unkillable,
        what: "killed, and still there",
        levels: "critical",
        leads: "notify; no other life beside it",
    },
    CauseRow {
        cause: Cause::SickSidecar,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::SickSidecar,
        what: "a sidecar cannot do its own work",
        levels: "unknown, warning at `unreachable_after`",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Unheard,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Unheard,
        what: "the agent's door is gone and cannot be made anew",
        levels: "unknown",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::EndedEarly,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::EndedEarly,
        what: "ended well with tasks open; stands until another life, or `forget`",
        levels: "warning",
        leads: "notify",
    },
    CauseRow {
        cause: Cause::Other,
        weight: Weight::Context,
        is_second: false,
        default_act: Act::Notify,
        most: Act::Notify,
        family: Cause::Other,
        what: "a newer version's",
        levels: "",
        leads: "",
    },
];

impl Cause {
    /// What is known of it.
    pub fn row(self) -> &'static CauseRow {
        &CAUSES[self as usize]
    }

    /// The trouble that it is a form of.
    pub fn family(self) -> Self {
        self.row().family
    }
}

/// The table of causes, as the documents show it.
pub fn table() -> String {
    let told = CAUSES.iter().filter(|row| !row.levels.is_empty());
    let rows = told
        .map(|row| format!("| `{}`: {} | {} | {} |\n", row.cause, row.what, row.levels, row.leads));
    let head = "| cause | level | by default leads to |\n|---|---|---|\n".to_owned();
    std::iter::once(head).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_in_the_place_of_its_cause() {
        for (place, row) in CAUSES.iter().enumerate() {
            assert_eq!(row.cause as usize, place, "{}", row.cause);
            assert_eq!(row.family.family(), row.family, "{}: one step leads to it", row.cause);
            assert!(row.default_act <= row.most, "{}", row.cause);
        }
        assert_eq!(CAUSES.len(), Cause::ALL.len() + 1);
    }

    /// Nothing that is no fault of the agent's may end it, and a symptom may not either.
    #[test]
    fn what_weighs_little_may_do_little() {
        for row in CAUSES {
            let most = match row.weight {
                Weight::Context => Act::Notify,
                Weight::Symptom => Act::Nudge,
                Weight::Fact | Weight::Frozen => Act::Apoptosis,
            };
            assert_eq!(row.most, most, "{}", row.cause);
        }
    }
}
