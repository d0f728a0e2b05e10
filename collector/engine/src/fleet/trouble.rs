//! Troubles that no report shows: how a life ended, or did not begin.

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::incident::Cause;
use lubdub_shared::status::Status;
use lubdub_shared::time::Now;

use crate::agent::Agent;
use crate::detect::Draft;
use crate::finding::ActiveFinding;

/// The cause that an exit of its own has.
fn cause_of(exit: &Exit) -> Cause {
    if exit.oom {
        return Cause::OomKilled;
    }
    // HUP, INT, QUIT, KILL and TERM come from somebody; the others from the process's own fault.
    match exit.how {
        ExitHow::Signal(1 | 2 | 3 | 9 | 15) => Cause::KilledByOther,
        ExitHow::Signal(_) | ExitHow::Code(_) | ExitHow::Unknown(_) => Cause::Crashed,
    }
}

pub(super) fn crashed(agent: &Agent, exit: &Exit, now: Now) -> ActiveFinding {
    let finding = Draft {
        cause: cause_of(exit),
        level: Status::Critical,
        detail: format!("ended with {exit}"),
        evidence: [("exit", exit.to_string()), ("restarts", agent.ledger().share())],
        rule: "an exit that is no success (restart.success_exit) and that nobody asked for",
        cancelled_by: "a new life that shows what earlier lives showed",
    };
    ActiveFinding { finding: finding.into(), since: now, treated: true, nudged: false }
}

/// A life that a person's command began has not shown what it owes. Nobody acts on it alone.
pub(super) fn unproven(missing: &str, now: Now) -> ActiveFinding {
    let finding = Draft {
        cause: Cause::NeverSeen,
        level: Status::Warning,
        detail: format!("the new life did not show {missing}"),
        evidence: [("missing", missing.to_owned())],
        rule: "a new life shows what earlier lives showed, within startup_grace",
        cancelled_by: "the evidence that is missing",
    };
    ActiveFinding { finding: finding.into(), since: now, treated: true, nudged: false }
}

pub(super) fn crash_loop(agent: &Agent, reason: &str, now: Now) -> ActiveFinding {
    let last = agent.treatment.trouble().map(|last| last.finding.detail.as_str());
    let at_last = last.map(|last| format!("at last it {last}"));
    let at_last = at_last.unwrap_or_else(|| "how it ended last is not known".to_owned());
    let last = last.unwrap_or("not known");
    let finding = Draft {
        cause: Cause::CrashLoop,
        level: Status::Critical,
        detail: format!("failed again and again ({reason}); {at_last}"),
        evidence: [("restarts", agent.ledger().share()), ("last", last.to_owned())],
        rule: "the restart schedule was spent on failed exits (restart.attempts, per_day_max)",
        cancelled_by: "a person: lubdub start, or lubdub revive after an apoptosis",
    };
    ActiveFinding { finding: finding.into(), since: now, treated: true, nudged: false }
}
