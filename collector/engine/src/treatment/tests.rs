//! The table: every state, every change. Each row of `table.txt` is one cell.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use lubdub_shared::cause::Cause;
use lubdub_shared::command::{AUTOMATIC_TTL, Command, CommandKind, Precondition, Requester};
use lubdub_shared::id::{CommandId, LifeId, StoreId};

use lubdub_shared::status::Status;
use lubdub_shared::time::{Now, Wall};

use super::*;
use crate::finding::Finding;

fn trouble(cause: Cause) -> Box<ActiveFinding> {
    let since = Now { mono: Mono(0), wall: Wall(0) };
    Box::new(ActiveFinding::treated(Finding::new(cause, Status::Critical, []), since))
}

fn act(number: u64) -> Box<InFlight> {
    let rng = &mut fastrand::Rng::with_seed(number);
    let command = Command {
        id: CommandId::random(rng),
        kind: CommandKind::Restart,
        agent: "a".parse().expect("an id"),
        life: None,
        store: StoreId::random(rng),
        epoch: 1,
        precondition: Precondition::LifeOnly,
        report: number,
        ttl: AUTOMATIC_TTL,
        age: Duration::ZERO,
        requested_by: Requester::Engine(Cause::Silent),
        reason: String::new(),
        dry_run: false,
    };
    let decided = Now { mono: Mono(0), wall: Wall(0) };
    Box::new(InFlight { command: Box::new(command), decided, due: Mono(9), deliver_until: None })
}

/// The life of that ordinal, to be proven until then.
fn proof(ordinal: u32, due: u64) -> Verification {
    let id = LifeId::random(&mut fastrand::Rng::with_seed(ordinal.into()));
    let ordinal = NonZeroU32::new(ordinal).expect("not zero");
    Verification { life: Life { id, ordinal }, due: Mono(due) }
}

/// Every state, with troubles, lives and commands that tell what came from where.
const STATES: [fn() -> Treatment; 6] = [
    || Treatment::Watching,
    || Treatment::Ordered { trouble: trouble(Cause::Silent), act: act(1), proof: None },
    || {
        let proof = Some(proof(1, 1));
        Treatment::Ordered { trouble: trouble(Cause::Silent), act: act(1), proof }
    },
    || Treatment::AwaitingLife { trouble: trouble(Cause::Silent) },
    || Treatment::Proving { trouble: None, proof: proof(1, 1) },
    || Treatment::Proving { trouble: Some(trouble(Cause::Silent)), proof: proof(1, 1) },
];

/// A name, and how such a change is made.
type Named = (&'static str, fn() -> Change);

const CHANGES: [Named; 17] = [
    ("ordered", || Change::Ordered { trouble: trouble(Cause::Paused), act: act(2) }),
    ("done", || Change::Answered(Answer::Done)),
    ("undone", || Change::Answered(Answer::Undone)),
    ("failed to act", || Change::Answered(Answer::Failed)),
    ("unanswered, runs", || Change::Answered(Answer::Silence { running: true })),
    ("unanswered, does not run", || Change::Answered(Answer::Silence { running: false })),
    ("a life, owed", || Change::LifeBegan { proof: proof(2, 2), owed: true }),
    ("a life", || Change::LifeBegan { proof: proof(2, 2), owed: false }),
    ("another life", || Change::AnotherLife),
    ("running", || Change::Running(proof(2, 2))),
    ("ended well", || Change::EndedWell),
    ("failed", || Change::Failed(trouble(Cause::Crashed))),
    ("crash loop", || Change::CrashLoop(trouble(Cause::CrashLoop))),
    ("proven", || Change::Proven),
    ("not shown", || Change::NotShown(trouble(Cause::NeverSeen))),
    ("saved", || Change::Saved { due: Mono(3) }),
    ("ended by a person", || Change::EndedByPerson),
];

fn say(treatment: &Treatment) -> String {
    let name = match treatment {
        Treatment::Watching => "watching",
        Treatment::Ordered { .. } => "ordered",
        Treatment::AwaitingLife { .. } => "awaiting life",
        Treatment::Proving { .. } => "proving",
    };
    let mut said = name.to_owned();
    if let Some(act) = treatment.act() {
        write!(said, " {}", act.command.report).expect("a string takes it");
    }
    if let Some(trouble) = treatment.trouble() {
        write!(said, " for {}", trouble.finding.cause).expect("a string takes it");
    }
    if let Some(Verification { life, due }) = treatment.proof() {
        write!(said, ", life {} by {}", life.ordinal, due.0).expect("a string takes it");
    }
    said
}

#[test]
fn every_state_and_every_change() {
    let mut table = String::new();
    for state in STATES {
        for (name, change) in CHANGES {
            let mut treatment = state();
            let released = treatment.apply(change());
            let before = say(&state());
            write!(table, "{before} x {name}: {}", say(&treatment)).expect("a string takes it");
            if let Some(act) = released {
                let number = act.command.report;
                write!(table, "; releases {number}").expect("a string takes it");
            }
            table.push('\n');
        }
    }
    let expected = include_str!("table.txt");
    let wrong = table.lines().zip(expected.lines()).find(|(actual, expected)| actual != expected);
    assert_eq!(wrong, None, "the whole table is now:\n{table}");
    assert_eq!(table, expected);
}
