//! One row a reason: with nothing but that, the gate is shut for it, and until then; without it the
//! gate is open.

use std::collections::BTreeMap;
use std::time::Duration;

use lubdub_shared::beat::Evidence;
use lubdub_shared::command::{AUTOMATIC_TTL, Command, Precondition, Requester};
use lubdub_shared::id::{CommandId, InstanceId, SpoolId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::{Now, Wall};

use super::*;
use crate::agent::{AgentRecord, ConflictingInstance, Stream};
use crate::asks::InFlight;
use crate::{AgentIndex, Identity};

const NOW: Mono = Mono(1_000_000_000_000);
const RESTART: Proposal = Proposal { kind: CommandKind::Restart, cause: Cause::NoProgress };
const NUDGE: Proposal = Proposal { kind: CommandKind::Nudge, cause: Cause::NoProgress };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn in_seconds(n: u64) -> Option<Mono> {
    Some(NOW.after(seconds(n)))
}

/// An agent and what is around it, as a row changes them.
struct Case {
    agent: Agent,
    around: Surroundings,
}

impl Case {
    fn open() -> Self {
        let record = AgentRecord {
            id: "a".parse().expect("an id"),
            host: String::new(),
            labels: BTreeMap::new(),
            life: None,
            started: None,
            lifecycle: Lifecycle::Running,
            shown: Evidence::default(),
            left: false,
            applied: Vec::<(SpoolId, u64)>::new(),
            held: None,
            treating: None,
            verifying: false,
        };
        let mut agent = Agent::new(record, Policy::default().into(), NOW);
        agent.link.stream = Stream::Up { session: 1, instance: instance() };
        let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
        let interval = seconds(5);
        let identity = Identity { store, epoch: 1, interval, reports_per_second: 1000 };
        Self { agent, around: Surroundings::new(identity, NOW) }
    }

    fn set_mode(&mut self, mode: Mode) {
        self.agent.policy = Policy { mode, ..Policy::default() }.into();
    }

    fn ask(&self, proposal: Proposal) -> Gate {
        ask(&self.agent, &self.around, NOW, proposal)
    }
}

fn instance() -> InstanceId {
    InstanceId::random(&mut fastrand::Rng::with_seed(1))
}

fn under_way(by: Requester) -> InFlight {
    let rng = &mut fastrand::Rng::with_seed(1);
    let command = Command {
        id: CommandId::random(rng),
        kind: CommandKind::Stop,
        agent: "a".parse().expect("an id"),
        life: None,
        store: StoreId::random(rng),
        epoch: 1,
        precondition: Precondition::LifeOnly,
        report: 1,
        ttl: AUTOMATIC_TTL,
        age: Duration::ZERO,
        requested_by: by,
        reason: String::new(),
        dry_run: false,
    };
    let decided = Now { mono: NOW, wall: Wall(0) };
    let due = NOW.after(seconds(40));
    InFlight { command: Box::new(command), decided, due, deliver_until: None }
}

/// A status that came and went until now.
fn flap(agent: &mut Agent) {
    let limits = agent.policy.limits.flapping.clone();
    for minute in (0..21).rev() {
        let status = if minute % 2 == 0 { Status::Critical } else { Status::Ok };
        agent.seen.flaps.note(status, NOW.before(minute * limits.every), &limits);
    }
}

struct Row {
    why: Why,
    until: Option<Mono>,
    /// What of the two it holds back.
    holds: (bool, bool),
    change: fn(&mut Case),
}

fn rows() -> Vec<Row> {
    let row = |why, until, holds, change| Row { why, until, holds, change };
    vec![
        row(Why::NoLink, None, (true, true), |case| case.agent.link.stream = Stream::Lost),
        row(Why::Contested, in_seconds(50), (true, true), |case| {
            let last = NOW.before(seconds(10));
            let other = ConflictingInstance { instance: instance(), first: last, last };
            case.agent.link.conflict = Some(other);
        }),
        row(Why::ActUnderWay(CommandKind::Stop), in_seconds(40), (true, true), |case| {
            case.agent.asks.sent.push(under_way(Requester::Person("p".to_owned())));
        }),
        row(Why::Refused, in_seconds(30), (true, false), |case| {
            case.agent.restraint.note_refusal(false, NOW);
        }),
        row(Why::JustNudged, in_seconds(29), (true, false), |case| {
            case.agent.restraint.nudged = Some(NOW.before(seconds(1)));
        }),
        row(Why::NotTaken(2), in_seconds(119), (false, true), |case| {
            case.agent.restraint.nudged = Some(NOW.before(seconds(1)));
            case.agent.restraint.note_nudge(false);
            case.agent.restraint.note_nudge(false);
        }),
        row(Why::Flapping, in_seconds(3600 - 12 * 60), (true, false), |case| flap(&mut case.agent)),
        row(Why::Observing, None, (true, true), |case| case.set_mode(Mode::Observe)),
        row(Why::Shadowed, None, (true, false), |case| {
            case.set_mode(Mode::Shadow);
            case.agent.restraint.shadowed = Some(Cause::NoProgress);
        }),
        row(Why::SlotTaken, Some(NOW.after(Duration::from_millis(1500))), (true, false), |case| {
            let id = CommandId::random(&mut fastrand::Rng::with_seed(2));
            case.around.slots.take(AgentIndex(9), id, NOW, NOW.after(seconds(60)));
        }),
        row(Why::Withheld("the store is behind".to_owned()), None, (true, true), |case| {
            case.around.withheld = Some("the store is behind".to_owned());
        }),
        row(Why::WarmingUp, in_seconds(49), (true, true), |case| {
            case.around.warm_at = NOW.after(seconds(49));
        }),
    ]
}

#[test]
fn each_reason_alone_shuts_the_gate() {
    assert_eq!(Case::open().ask(RESTART), Gate::Open(Permit::Send));
    assert_eq!(Case::open().ask(NUDGE), Gate::Open(Permit::Send));
    for Row { why, until, holds, change } in rows() {
        let mut case = Case::open();
        change(&mut case);
        for (proposal, holds) in [(RESTART, holds.0), (NUDGE, holds.1)] {
            let answer = case.ask(proposal);
            match holds {
                true => {
                    let shut = Shut { why: why.clone(), until };
                    assert_eq!(answer, Gate::Shut(shut), "{proposal:?}");
                }
                false => assert!(matches!(answer, Gate::Open(_)), "{why:?}: {proposal:?}"),
            }
        }
    }
}

/// A variant without a row does not compile here, or fails.
#[test]
fn every_reason_has_a_row() {
    let number = |why: &Why| match why {
        Why::NoLink => 0,
        Why::Contested => 1,
        Why::ActUnderWay(_) => 2,
        Why::Refused => 3,
        Why::JustNudged => 4,
        Why::NotTaken(_) => 5,
        Why::Flapping => 6,
        Why::Observing => 7,
        Why::Shadowed => 8,
        Why::SlotTaken => 9,
        Why::Withheld(_) => 10,
        Why::WarmingUp => 11,
    };
    let numbers: Vec<i32> = rows().iter().map(|row| number(&row.why)).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
}

/// What shadow mode tells does nothing, so nothing that is there for safety holds it back.
#[test]
fn shadow_mode_tells_what_the_fleet_holds_back() {
    for why in [Why::SlotTaken, Why::Withheld("the store is behind".to_owned()), Why::WarmingUp] {
        let row = rows().into_iter().find(|row| row.why == why).expect("a row");
        let mut case = Case::open();
        case.set_mode(Mode::Shadow);
        (row.change)(&mut case);
        assert_eq!(case.ask(RESTART), Gate::Open(Permit::Tell), "{why:?}");
    }
}

/// Another cause than a frozen progress does not wait for a nudge to be thought over.
#[test]
fn a_fact_does_not_wait_for_an_answer_to_a_nudge() {
    let mut case = Case::open();
    case.agent.restraint.nudged = Some(NOW);
    let fact = Proposal { cause: Cause::ReportedFailure, ..RESTART };
    assert_eq!(case.ask(fact), Gate::Open(Permit::Send));
}
