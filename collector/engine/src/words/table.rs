//! The words of each cause, a row each; of one that has several forms, those that are known by a
//! fact come first.

use std::time::Duration;

use lubdub_shared::cause::Cause;
use lubdub_shared::facts::Facts;
use lubdub_shared::time::words;

use super::Row;

const MIB: f64 = 1_048_576.0;

/// The age of the beat; where part of it was leased or paused, also what counts of it.
fn without_beat(facts: &Facts) -> String {
    let (age, silence) = (facts.time("beat_age"), facts.time("silence"));
    let uncounted = age.saturating_sub(silence) >= Duration::from_secs(1);
    let counts = uncounted.then(|| format!(" ({} of it count)", words(silence)));
    words(age) + &counts.unwrap_or_default()
}

/// A text behind a colon, where there is one.
fn behind_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

const fn row_of(
    cause: Cause,
    detail: fn(&Facts) -> String,
    rule: &'static str,
    ends_with: &'static str,
) -> Row {
    Row { cause, form: None, detail, rule, ends_with: Some(ends_with) }
}

/// Of what no report shows: it is under treatment as soon as it is known.
const fn treated(cause: Cause, detail: fn(&Facts) -> String, rule: &'static str) -> Row {
    Row { cause, form: None, detail, rule, ends_with: None }
}

impl Row {
    const fn with(self, fact: &'static str) -> Self {
        Self { form: Some(fact), ..self }
    }
}

pub(super) static TABLE: [Row; 34] = [
    treated(Cause::Crashed, ended_with, FAILED_EXIT),
    treated(Cause::KilledByOther, ended_with, FAILED_EXIT),
    treated(Cause::OomKilled, ended_with, FAILED_EXIT),
    treated(
        Cause::CrashLoop,
        |f| match f.text("last") {
            "" => {
                let reason = f.text("reason");
                format!("failed again and again ({reason}); how it ended last is not known")
            }
            last => format!("failed again and again ({}); at last it {last}", f.text("reason")),
        },
        "the restart schedule was spent on failed exits (restart.attempts, per_day_max)",
    ),
    treated(
        Cause::NeverSeen,
        |f| format!("the new life did not show {}", f.text("missing")),
        "a new life shows what earlier lives showed, within startup_grace",
    )
    .with("missing"),
    row_of(
        Cause::NeverSeen,
        |f| format!("beats are expected, and none came in {}", f.said("up")),
        "expect_beats, and no beat within startup_grace; Critical without activity",
        "a beat",
    ),
    row_of(
        Cause::Silent,
        |f| {
            let [quiet, deadline] = ["inactive", "deadline"].map(|name| f.said(name));
            let [misses, critical] = ["misses", "critical_at"].map(|name| f.said(name));
            let unheard = match f.is("unheard") {
                true => "; not heard since its sidecar was restarted: no restart",
                false => "",
            };
            format!(
                "no beat for {}, no activity for {quiet} (deadline {deadline}, missed {misses}, \
                 critical at {critical}){unheard}",
                without_beat(f)
            )
        },
        "neither beat nor activity for failures_before_critical x heartbeat_deadline (or the \
         phase's deadline, or the agent's own contract at the first miss)",
        "a beat, or activity of the tree",
    ),
    row_of(
        Cause::BusySilent,
        |f| {
            let [activity, age] = ["activity", "activity_age"].map(|name| f.said(name));
            format!("no beat for {}, but {activity} {age} ago", without_beat(f))
        },
        "no beat for the deadline while the tree is active; Critical at busy_cap",
        "a beat",
    ),
    row_of(
        Cause::NoProgress,
        |f| {
            let frozen = f.time("frozen");
            let (what, lasted) = match frozen.is_zero() {
                true => ("its counter never moved", f.time("still")),
                false => ("no progress", frozen),
            };
            let active = match f.is("inactive") {
                true => "and no activity either",
                false => "though the tree is active",
            };
            let (lasted, beat) = (words(lasted), f.said("beat_age"));
            format!("{what} for {lasted}, {active}; the last beat {beat} ago")
        },
        "progress frozen for progress_window is a Warning, for twice as long Critical; it leads to \
         a restart only without activity or with a second finding. A counter that never moved in \
         this life is told, and no more",
        "a step of progress, a finished task, or an idle phase",
    ),
    row_of(
        Cause::LeaseExpired,
        |f| {
            let waited = f.said("waited");
            format!("it has waited for a rate limit for {waited}, renewed without progress")
        },
        "waits for a rate limit that are renewed without progress pass lease_max in sum",
        "progress",
    )
    .with("waited"),
    row_of(
        Cause::LeaseExpired,
        |f| format!("the lease on phase {} ended {} ago", f.text("phase"), f.said("over")),
        "a lease and its slack (10 %, at least 5 s) have passed; the phase's clock runs on",
        "another phase, a new lease, or progress",
    ),
    row_of(
        Cause::ReportedFailure,
        |f| {
            let (check, why) = (f.text("check"), behind_colon(f.text("message")));
            format!("check {check} failed, {} in a row{why}", f.said("count"))
        },
        "WATCHDOG=trigger, fail, or a named check not ok: three in a row are Critical",
        "the same check reported ok; READY=1 after a trigger",
    ),
    row_of(
        Cause::TaskOverdue,
        |f| {
            let [age, limit] = ["oldest_task", "task_timeout"].map(|name| f.said(name));
            let open = f.said("open");
            format!(
                "a task is open for {age} (task_timeout {limit}), of {open} open ones the oldest"
            )
        },
        "the oldest open task passed task_timeout; Critical at twice as long. What was leased, \
         paused or waited for a rate limit does not count",
        "the end of that task",
    ),
    row_of(
        Cause::Missed,
        |f| {
            let [check, age, due, grace] = ["check", "age", "due", "grace"].map(|n| f.said(n));
            let also = match f.text("others") {
                "" => String::new(),
                others => format!("; missed too: {others}"),
            };
            let came = match f.is("came") {
                true => format!("came {age} ago"),
                false => "never came".to_owned(),
            };
            format!("check {check} {came}; it is due {due}, grace {grace}{also}")
        },
        "check.NAME did not come by its time and grace; Critical when the next one is missed too",
        "that check",
    ),
    row_of(
        Cause::WaitingHuman,
        |f| {
            let (waited, what) = (f.said("waited"), behind_colon(f.text("said")));
            format!("needs you: waits for a person for {waited}{what}")
        },
        "phase waiting_human for human_after; never leads to more than a word",
        "another phase",
    ),
    row_of(
        Cause::Looping,
        |f| {
            let what = match f.text("pattern") {
                "same_result" => "the same action with the same result",
                "same_error" => "the same action with the same error",
                "alternating" => "a few steps that take turns",
                _ => "the same action without any result",
            };
            let doubled = if f.is("doubled") { ", doubled while it waits" } else { "" };
            let [steps, limit] = ["steps", "limit"].map(|name| f.said(name));
            format!("{what}, {steps} steps in a row (limit {limit}{doubled})")
        },
        "steps that repeat without progress: loop.same_result, same_error, alternating, monologue, \
         doubled while it waits; tools in loop.exempt do not count",
        "another step, or progress",
    ),
    row_of(
        Cause::EnergyLow,
        |f| {
            let (left, low) = (f.number("energy"), f.said("low"));
            match left <= f.number("low") {
                true => format!("energy {left:.2} (low at {low})"),
                false => format!("energy {left:.2} is gone in {}", f.said("empty_in")),
            }
        },
        "energy at or below energy.low, or gone within energy.empty_within at the slower rate of \
         the last ten minutes and the last hour",
        "more energy, or a slower burn",
    ),
    row_of(
        Cause::EnergyGone,
        |f| format!("nothing is left to spend: energy {:.2}", f.number("energy")),
        "energy at or below energy.gone; Critical, and the end, where energy.hard is set",
        "energy: a new window of the budget, or a declared value",
    ),
    row_of(
        Cause::BurnWithoutProgress,
        |f| {
            let [tokens, bound] = ["tokens", "tokens_bound"].map(|name| f.said(name));
            let [cost, most] = ["cost_usd", "cost_bound_usd"].map(|name| f.number(name));
            format!(
                "{tokens} tokens and {cost:.2} USD since the last progress (bounds {bound} and \
                 {most:.2})"
            )
        },
        "spent since the last progress of this life: energy.burn_tokens, or four times what its \
         steps usually cost; or energy.burn_cost_usd",
        "a step of progress, or a finished task",
    ),
    row_of(
        Cause::MemoryHigh,
        |f| {
            let [used, limit] = ["memory_bytes", "limit_bytes"].map(|name| f.number(name) / MIB);
            let percent = f.number("share") * 100.0;
            format!("{used:.0} of {limit:.0} MiB, {percent:.0} % of the limit")
        },
        "resident memory of the tree over the least limit of its cgroups, the machine and \
         memory.limit; Warning at memory.high, Critical at memory.critical",
        "less memory",
    ),
    row_of(
        Cause::MemoryLeak,
        |f| {
            let per_minute = f.number("slowest_bytes_per_second") * 60.0 / MIB;
            let (limit, within) = (f.number("limit_bytes") / MIB, f.said("reaches_limit_in"));
            format!(
                "grows by {per_minute:.2} MiB a minute in three windows, and reaches its limit of \
                 {limit:.0} MiB in {within}"
            )
        },
        "above memory.leak_above of the limit, the minima grow in windows of memory.window and 6 \
         and 36 times that, and reach the limit within memory.leak_within in each",
        "a flat floor in any of the windows",
    ),
    row_of(
        Cause::SlowResponse,
        |f| match f.is("too_slow") {
            true => {
                let [p95, slow] = ["p95_ms", "slow"].map(|name| f.said(name));
                format!("95 % of tasks took up to {p95} ms (bound {slow})")
            }
            false => {
                let [usual, limit] = ["usual_ms", "anomaly"].map(|name| f.said(name));
                format!(
                    "the last five tasks took far longer than the usual {usual} ms (z {:.1}, limit \
                     {limit})",
                    f.number("z")
                )
            }
        },
        "the 95th percentile over five minutes passed response.slow; or each of the newest five \
         tasks is response.anomaly robust deviations of log time above the agent's own",
        "faster tasks",
    ),
    row_of(
        Cause::TaskFailures,
        |f| format!("of the last {} tasks {} failed", f.said("ended"), f.said("failed")),
        "of the newest 20 tasks failures.share failed, and at least failures.least",
        "tasks that end well",
    ),
    row_of(
        Cause::Flapping,
        |f| {
            let (lasted, percent) = (f.said("lasted"), f.number("share") * 100.0);
            format!("its status comes and goes for {lasted}: {percent:.0} % of samples changed")
        },
        "weighted changes over 21 samples, one each flapping.every: on at flapping.on, off at \
         flapping.off. Restarts are held for flapping.hold_max; what calls for one then is a \
         quarantine",
        "a status that stays",
    ),
    row_of(
        Cause::Inactive,
        |f| {
            let what = match f.number("beats") > 0.0 {
                true => "has not beaten on purpose",
                false => "never beats",
            };
            format!("{what}, and shows no activity for {}", f.said("inactive"))
        },
        "not armed by beats in this life, and no activity for inactive_after",
        "a beat, or activity of the tree",
    ),
    row_of(
        Cause::Paused,
        |f| match f.time("paused") {
            paused if paused.as_secs() > 0 => format!("stopped or frozen for {}", words(paused)),
            _ => "stopped or frozen".to_owned(),
        },
        "the main process is in state T or t, or frozen; Critical at paused_max",
        "SIGCONT, or a thaw",
    ),
    row_of(Cause::Unreachable, no_report, NO_REPORT, "a report"),
    row_of(Cause::Missing, no_report, NO_REPORT, "a report"),
    row_of(
        Cause::Duplicate,
        |f| format!("another sidecar reports this agent too, for {}", f.said("lasted")),
        "two sidecar instances report one agent for more than 10 s; nobody acts on either",
        "the end of one of them: look for a second lubdub-sidecar run with this id",
    ),
    row_of(
        Cause::SickDisk,
        |f| format!("its sidecar cannot write its state: {}", f.text("error")),
        "a write to the agent's state directory failed. The sidecar goes on in memory, and refuses \
         restart, stop and apoptosis until it can write again",
        "a write that succeeds; it is tried each second",
    ),
    row_of(
        Cause::Unkillable,
        |f| format!("killed, and still there: {}", f.text("processes")),
        "5 s after the kill it has not ended; it is not killed again and again, and no other life \
         is started beside it",
        "its end: what it waits for answers, or it is thawed",
    ),
    row_of(
        Cause::SickSidecar,
        |f| format!("its sidecar cannot do its own work: {}", f.text("error")),
        "the sidecar was refused what it needs itself: descriptors, processes, /proc, a file of \
         its own. It tries again, and counts it against nobody; Warning after unreachable_after",
        "the next try that works",
    ),
    row_of(
        Cause::Unheard,
        |f| format!("its sidecar cannot hear it: {}", f.text("error")),
        "the local door is shut, so silence is nobody's fault: no clock of beats or progress runs. \
         Never leads to an act",
        "the door made anew, or another one for the next life",
    ),
    row_of(
        Cause::EndedEarly,
        |f| {
            let open = f.said("open");
            format!("ended well with {open} {} open", if open == "1" { "task" } else { "tasks" })
        },
        "a clean exit that nobody asked for, while tasks of that life were open",
        "another life; or lubdub forget",
    ),
];

const FAILED_EXIT: &str =
    "an exit that is no success (restart.success_exit) and that nobody asked for";
const NO_REPORT: &str = "no report for unreachable_after and three intervals; Missing at \
     missing_after more. Says nothing about the agent, and never leads to an act";

fn ended_with(facts: &Facts) -> String {
    format!("ended with {}", facts.text("exit"))
}

fn no_report(facts: &Facts) -> String {
    format!("no report for {}; {}", facts.said("report_age"), facts.text("link"))
}
