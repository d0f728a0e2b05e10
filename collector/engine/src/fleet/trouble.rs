//! Troubles that no report shows: how a life ended, or did not begin.

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::cause::Cause;
use lubdub_shared::status::Status;
use lubdub_shared::time::Now;

use crate::agent::Agent;
use crate::finding::{ActiveFinding, Finding};
use crate::words;

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
    let ledger = agent.ledger();
    let facts = [
        ("exit", exit.to_string().into()),
        ("restarts", ledger.used.into()),
        ("restarts_limit", ledger.limit.into()),
    ];
    ActiveFinding::treated(Finding::new(cause_of(exit), Status::Critical, facts), now)
}

/// A life that a person's command began has not shown what it owes. Nobody acts on it alone.
pub(super) fn unproven(missing: &str, now: Now) -> ActiveFinding {
    let facts = [("missing", missing.into())];
    ActiveFinding::treated(Finding::new(Cause::NeverSeen, Status::Warning, facts), now)
}

pub(super) fn crash_loop(agent: &Agent, reason: &str, now: Now) -> ActiveFinding {
    let last = agent.treatment.trouble().map(|last| words::detail(&last.finding));
    let ledger = agent.ledger();
    let facts = [
        ("reason", reason.into()),
        ("last", last.unwrap_or_default().into()),
        ("restarts", ledger.used.into()),
        ("restarts_limit", ledger.limit.into()),
    ];
    ActiveFinding::treated(Finding::new(Cause::CrashLoop, Status::Critical, facts), now)
}
