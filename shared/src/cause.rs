//! Causes: what may be wrong with an agent, a row each. What a cause may lead to, how much it
//! weighs, which trouble it is a form of and what people are told of it stands here and nowhere
//! else; how it is found stands with its detector.

use Act::{Apoptosis, Notify, Nudge, Restart};
use Weight::{Context, Fact, Frozen, Symptom};

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

impl Weight {
    /// The most that `[policy.x.act]` may let a cause of this weight do. What rests on the link
    /// alone never touches a living agent, who waits for a person is never killed, and symptoms may
    /// nudge and no more.
    pub fn most(self) -> Act {
        match self {
            Self::Context => Notify,
            Self::Symptom => Nudge,
            Self::Fact | Self::Frozen => Apoptosis,
        }
    }
}

/// All that is known of a cause, besides how it is found.
#[derive(Debug, Clone, Copy)]
pub struct CauseRow {
    /// The cause.
    pub cause: Cause,
    /// How much a finding of it weighs.
    pub weight: Weight,
    /// What it leads to where no policy says otherwise.
    pub default_act: Act,
    /// Beside frozen progress it is a second reason.
    pub is_second: bool,
    /// The trouble that it is a form of: one incident tells the story of a family.
    pub family: Cause,
    /// For people: what it means, the levels that it is found at (empty where no detector finds
    /// it), and what it leads to by default.
    pub told: [&'static str; 3],
}

const fn row(cause: Cause, weight: Weight, default_act: Act, told: [&'static str; 3]) -> CauseRow {
    let is_second = matches!(weight, Fact | Symptom);
    CauseRow { cause, weight, default_act, is_second, family: cause, told }
}

impl CauseRow {
    const fn of(self, family: Cause) -> Self {
        Self { family, ..self }
    }

    /// No second reason beside frozen progress: it rests on the same counter, on a budget that no
    /// restart refills or on a clock that is not the agent's, or it explains why nothing moves.
    const fn no_second(self) -> Self {
        Self { is_second: false, ..self }
    }
}

/// A row each, in the order of [`Cause`].
pub const CAUSES: [CauseRow; 34] = [
    row(Cause::Exited, Context, Notify, ["a clean exit, or an asked-for stop", "", ""]),
    row(Cause::Crashed, Context, Notify, ["it failed", "critical", "restart by the sidecar"]),
    row(
        Cause::KilledByOther,
        Context,
        Notify,
        ["a signal that the sidecar did not send ended it", "critical", "restart by the sidecar"],
    )
    .of(Cause::Crashed),
    row(
        Cause::OomKilled,
        Context,
        Notify,
        [
            "the kernel ended it, because its memory was used up",
            "critical",
            "restart by the sidecar",
        ],
    )
    .of(Cause::Crashed),
    row(
        Cause::CrashLoop,
        Context,
        Notify,
        [
            "the schedule was spent on failed exits",
            "critical",
            "`exhausted`: apoptosis or quarantine",
        ],
    )
    .of(Cause::Crashed),
    row(
        Cause::NeverSeen,
        Fact,
        Restart,
        [
            "beats expected, none in `startup_grace`",
            "warning while active, else critical",
            "restart",
        ],
    ),
    row(
        Cause::Silent,
        Fact,
        Restart,
        [
            "no beat and no activity for n deadlines",
            "warning, critical at `failures_before_critical`",
            "restart",
        ],
    ),
    row(
        Cause::BusySilent,
        Fact,
        Notify,
        ["no beat, but activity", "warning, critical at `busy_cap`", "notify"],
    )
    .of(Cause::Silent),
    row(
        Cause::NoProgress,
        Frozen,
        Restart,
        [
            "beats, progress frozen",
            "warning, critical at twice the window",
            "restart if also inactive, or with a second finding",
        ],
    ),
    row(
        Cause::LeaseExpired,
        Fact,
        Notify,
        ["a leased call took longer than its agent said", "warning", "notify"],
    ),
    row(
        Cause::ReportedFailure,
        Fact,
        Restart,
        ["the agent says so itself", "warning, critical by trigger or three in a row", "restart"],
    ),
    row(
        Cause::TaskOverdue,
        Fact,
        Notify,
        ["open for `task_timeout`", "warning, critical at twice", "notify"],
    ),
    row(
        Cause::Missed,
        Symptom,
        Notify,
        [
            "a `check` did not come by its interval or its time of day",
            "warning, critical when two are missed",
            "notify",
        ],
    )
    .no_second(),
    row(
        Cause::WaitingHuman,
        Context,
        Notify,
        ["a person is needed, for `human_after`", "warning", "notify, and nothing else ever"],
    ),
    row(Cause::Looping, Symptom, Nudge, ["steps that repeat without progress", "warning", "nudge"]),
    row(
        Cause::EnergyLow,
        Symptom,
        Notify,
        ["little is left of what it may spend", "warning", "notify"],
    )
    .no_second(),
    row(
        Cause::EnergyGone,
        Fact,
        Apoptosis,
        [
            "nothing is left of it",
            "warning, critical under `energy.hard`",
            "apoptosis under `energy.hard`",
        ],
    )
    .of(Cause::EnergyLow)
    .no_second(),
    row(
        Cause::BurnWithoutProgress,
        Symptom,
        Notify,
        [
            "tokens or money since the last progress, of an agent that counts any",
            "warning",
            "notify",
        ],
    )
    .no_second(),
    row(
        Cause::MemoryHigh,
        Symptom,
        Notify,
        ["memory near its limit", "warning, critical near the limit", "notify"],
    ),
    row(
        Cause::MemoryLeak,
        Symptom,
        Notify,
        ["memory that grows towards its limit", "warning, critical near the limit", "notify"],
    )
    .of(Cause::MemoryHigh),
    row(
        Cause::SlowResponse,
        Symptom,
        Notify,
        ["tasks take longer than they may, or than they ever did", "warning", "notify"],
    ),
    row(Cause::TaskFailures, Symptom, Notify, ["too many tasks fail", "warning", "notify"]),
    row(
        Cause::Flapping,
        Context,
        Notify,
        ["the status comes and goes", "warning", "holds restarts for `hold_max`, then quarantine"],
    ),
    row(Cause::Inactive, Fact, Notify, ["never beats, no activity", "warning", "notify"]),
    row(
        Cause::Paused,
        Fact,
        Notify,
        ["stopped or frozen", "warning, critical at `paused_max`", "notify"],
    )
    .no_second(),
    row(
        Cause::Unreachable,
        Context,
        Notify,
        ["the link is lost", "unknown", "notify, and nothing else ever"],
    ),
    row(
        Cause::Missing,
        Context,
        Notify,
        ["unreachable for `missing_after`", "critical", "notify, and nothing else ever"],
    )
    .of(Cause::Unreachable),
    row(
        Cause::Duplicate,
        Context,
        Notify,
        [
            "two sidecars report one agent",
            "critical",
            "notify; nothing automatic happens to either",
        ],
    ),
    row(
        Cause::SickDisk,
        Context,
        Notify,
        [
            "a sidecar, or the collector itself, cannot write",
            "warning, critical for the collector",
            "notify",
        ],
    ),
    row(
        Cause::Unkillable,
        Context,
        Notify,
        ["killed, and still there", "critical", "notify; no other life beside it"],
    ),
    row(
        Cause::SickSidecar,
        Context,
        Notify,
        ["a sidecar cannot do its own work", "unknown, warning at `unreachable_after`", "notify"],
    ),
    row(
        Cause::Unheard,
        Context,
        Notify,
        ["the agent's door is gone and cannot be made anew", "unknown", "notify"],
    ),
    row(
        Cause::EndedEarly,
        Context,
        Notify,
        ["ended well with tasks open; stands until another life, or `forget`", "warning", "notify"],
    ),
    row(Cause::Other, Context, Notify, ["a newer version's", "", ""]),
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
    let head = "| cause | level | by default leads to |\n|---|---|---|\n".to_owned();
    let told = CAUSES.iter().filter(|row| !row.told[1].is_empty());
    let rows = told.map(|CauseRow { cause, told: [what, levels, leads], .. }| {
        format!("| `{cause}`: {what} | {levels} | {leads} |\n")
    });
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
            assert!(row.default_act <= row.weight.most(), "{}", row.cause);
        }
        assert_eq!(CAUSES.len(), Cause::ALL.len() + 1);
    }
}
