//! The table: every state, every event. Each row of `table.txt` is one cell.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use lubdub_shared::command::{Command, CommandKind, Ending, Precondition, Requester};
use lubdub_shared::id::{CommandId, StoreId};
use lubdub_shared::incident::Cause;
use lubdub_shared::time::Wall;

use super::*;
use lubdub_shared::beat::ExitHow;
use lubdub_shared::command::Refusal;

const LATER: Duration = Duration::from_secs(400);

fn now(after: Duration) -> Now {
    Now { mono: Mono(1_000_000_000).after(after), wall: Wall(0) }
}

fn process() -> ProcessId {
    ProcessId { pid: NonZeroU32::new(42).expect("not 0"), start_time: 7 }
}

fn exit(how: ExitHow) -> Exit {
    Exit { how, core: false, by_us: false }
}

fn hold(lifecycle: Lifecycle) -> Hold {
    Hold { lifecycle, reason: "r".to_owned(), requested_by: "p".to_owned() }
}

fn store() -> StoreId {
    StoreId::random(&mut fastrand::Rng::with_seed(5))
}

fn supervisor(state: State) -> Supervisor {
    let agent = "a1".parse().expect("an id");
    let mut memory = Memory::empty(agent, String::new());
    let life = memory.next_life(LifeId::random(&mut fastrand::Rng::with_seed(6)));
    assert_eq!(life.ordinal, NonZeroU32::MIN);
    memory.epochs.insert(store(), 3);
    let mut supervisor = Supervisor::new(memory, 1, now(Duration::ZERO).mono);
    supervisor.state = state;
    supervisor.ran = true;
    // Nothing but what the event itself leads to is in the table.
    drop(supervisor.report(now(Duration::ZERO).mono));
    let mut actions = Vec::new();
    supervisor.tell(&mut actions);
    supervisor
}

fn states() -> Vec<(&'static str, State)> {
    let soon = Mono(0).after(Duration::from_secs(5));
    let then = Then::Start { after: Duration::from_secs(1) };
    let gone = Some(exit(ExitHow::Code(1)));
    vec![
        ("unborn", State::Unborn { patience: soon }),
        ("resting", State::Resting { start_at: soon }),
        ("starting", State::Starting { shutdown: None }),
        ("running", State::Running(process())),
        ("stopping", State::Stopping { process: process(), kill_at: soon, then: then.clone() }),
        (
            "sweeping, main alive",
            State::Sweeping { exit: None, kill_at: None, asked: true, then: then.clone() },
        ),
        (
            "sweeping, main gone",
            State::Sweeping { exit: gone, kill_at: Some(soon), asked: false, then },
        ),
        ("stopped", State::Held(hold(Lifecycle::Stopped))),
        ("terminated", State::Held(hold(Lifecycle::Terminated))),
        ("ended", State::Ended(Lifecycle::Stopped)),
    ]
}

fn command(supervisor: &Supervisor, kind: CommandKind) -> Event {
    let life = supervisor.memory.life.map(|life| life.id);
    Event::Command(Box::new(Command {
        id: CommandId::random(&mut fastrand::Rng::with_seed(9)),
        kind,
        life,
        store: store(),
        epoch: 3,
        precondition: Precondition::LifeOnly,
        report: 0,
        ttl: Duration::from_secs(30),
        age: Duration::ZERO,
        requested_by: Requester::Person("p".to_owned()),
        reason: "r".to_owned(),
    }))
}

fn events(supervisor: &Supervisor) -> Vec<(&'static str, Event, Duration)> {
    let soon = Duration::from_millis(250);
    let welcome = Welcome {
        session: 1,
        store: store(),
        epoch: 3,
        interval: LATER * 2,
        policy: Policy::default(),
        acked: 0,
        degraded: String::new(),
    };
    vec![
        ("tick, nothing due", Event::Tick, soon),
        ("tick, all due", Event::Tick, LATER),
        ("welcome", Event::Welcome(Box::new(welcome)), soon),
        ("started", Event::Started(process()), soon),
        ("start failed", Event::StartFailed(126, "why".to_owned()), soon),
        ("exit 0", Event::MainExited(exit(ExitHow::Code(0))), soon),
        ("exit 1", Event::MainExited(exit(ExitHow::Code(1))), soon),
        ("tree gone", Event::TreeGone(Vec::new()), soon),
        ("unkillable", Event::Unkillable(Vec::new()), soon),
        ("restart", command(supervisor, CommandKind::Restart), soon),
        ("stop", command(supervisor, CommandKind::Stop), soon),
        ("start", command(supervisor, CommandKind::Start), soon),
        ("apoptosis", command(supervisor, CommandKind::Apoptosis), soon),
        ("revive", command(supervisor, CommandKind::Revive), soon),
        ("shutdown", Event::Shutdown(15), soon),
    ]
}

fn state_word(state: &State) -> String {
    match state {
        State::Unborn { .. } => "unborn".to_owned(),
        State::Resting { .. } => "resting".to_owned(),
        State::Starting { shutdown: None } => "starting".to_owned(),
        State::Starting { shutdown: Some(_) } => "starting, then end".to_owned(),
        State::Running(_) => "running".to_owned(),
        State::Stopping { then, .. } => format!("stopping, then {}", then_word(then)),
        State::Sweeping { exit, kill_at, then, .. } => {
            let main = if exit.is_some() { "main gone" } else { "main alive" };
            let kill = if kill_at.is_some() { "" } else { ", killing" };
            format!("sweeping, {main}{kill}, then {}", then_word(then))
        }
        State::Held(hold) => hold.lifecycle.to_string(),
        State::Ended(lifecycle) => format!("ended {lifecycle}"),
    }
}

fn then_word(then: &Then) -> String {
    match then {
        Then::Start { .. } => "start".to_owned(),
        Then::Hold { hold, .. } => hold.lifecycle.to_string(),
        Then::End => "end".to_owned(),
    }
}

fn action_word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Start(_) => "START".to_owned(),
        Action::SignalMain(number) => format!("signal {number}"),
        Action::SignalTree(number) => format!("signal tree {number}"),
        Action::KillTree => "kill tree".to_owned(),
        Action::Emit(_, Happening::Outcome(outcome)) => match &outcome.ending {
            Ending::Refused(refusal) => format!("refused {refusal}"),
            ending @ (Ending::Done | Ending::Expired | Ending::Failed) => format!("{ending:?}"),
        },
        Action::Emit(_, what) => format!("emit {}", what.kind()),
        Action::Tombstone(hold) => format!("tombstone {}", hold.is_some()),
        Action::End(code) => format!("END {code}"),
        Action::Report | Action::Persist => return None,
    })
}

#[test]
fn the_table_holds() {
    let mut table = String::new();
    for (state_name, state) in states() {
        let count = events(&supervisor(state.clone())).len();
        for number in 0..count {
            let mut supervisor = supervisor(state.clone());
            let (event_name, event, after) = events(&supervisor).swap_remove(number);
            // The tick clock takes two ticks at a time.
            for step in 1..=after.as_millis() / 500 {
                let step = Duration::from_millis(u64::try_from(step).expect("small") * 500);
                supervisor.advance(now(step).mono);
            }
            let mut actions = Vec::new();
            supervisor.handle(event, now(after), &mut actions);
            let actions: Vec<String> = actions.iter().filter_map(action_word).collect();
            let after = state_word(&supervisor.state);
            let row = format!("{state_name} x {event_name}: {after}; {}", actions.join(", "));
            writeln!(table, "{}", row.trim_end_matches([' ', ';'])).expect("a string takes it");
        }
    }
    let expected = include_str!("table.txt");
    let wrong = table.lines().zip(expected.lines()).find(|(actual, expected)| actual != expected);
    assert_eq!(wrong, None, "the whole table is now:\n{table}");
    assert_eq!(table, expected);
}

/// One command, differently wrong each time.
#[test]
fn a_command_is_refused_with_its_reason() {
    type Spoil = fn(&mut Command);
    let table: [(&str, Spoil, Ending); 6] = [
        ("an old epoch", |c| c.epoch = 2, Ending::Refused(Refusal::Fenced)),
        (
            "an unknown store",
            |c| c.store = StoreId::random(&mut fastrand::Rng::with_seed(77)),
            Ending::Refused(Refusal::Fenced),
        ),
        ("too old", |c| c.age = Duration::from_secs(31), Ending::Expired),
        ("a report of long ago", |c| c.report = 99, Ending::Expired),
        (
            "another life",
            |c| c.life = Some(LifeId::random(&mut fastrand::Rng::with_seed(78))),
            Ending::Refused(Refusal::WrongLife),
        ),
        (
            "a precondition that is not true",
            |c| c.precondition = Precondition::StillPaused,
            Ending::Refused(Refusal::PreconditionFailed),
        ),
    ];
    for (what, spoil, ending) in table {
        let mut supervisor = supervisor(State::Running(process()));
        let Event::Command(mut command) = command(&supervisor, CommandKind::Restart) else {
            unreachable!("it makes a command")
        };
        spoil(&mut command);
        let mut actions = Vec::new();
        let at = now(Duration::from_millis(250));
        supervisor.handle(Event::Command(command), at, &mut actions);
        let ended = actions.iter().find_map(|action| {
            let Action::Emit(_, Happening::Outcome(outcome)) = action else { return None };
            Some(outcome.ending.clone())
        });
        assert_eq!(ended, Some(ending), "{what}");
        assert!(matches!(supervisor.state, State::Running(_)), "{what}: nothing happened");
    }
}

#[test]
fn a_repeated_command_is_answered_and_not_repeated() {
    let mut supervisor = supervisor(State::Running(process()));
    let command = command(&supervisor, CommandKind::Stop);
    let at = now(Duration::from_millis(250));
    let mut actions = Vec::new();
    supervisor.handle(command.clone(), at, &mut actions);
    assert!(actions.contains(&Action::SignalMain(15)), "{actions:?}");
    actions.clear();
    supervisor.handle(command.clone(), at, &mut actions);
    assert!(!actions.iter().any(|a| matches!(a, Action::SignalMain(_))), "still under way");
    supervisor.handle(Event::MainExited(exit(ExitHow::Signal(15))), at, &mut actions);
    supervisor.handle(Event::TreeGone(Vec::new()), at, &mut actions);
    actions.clear();
    supervisor.handle(command, at, &mut actions);
    let again = actions.iter().filter_map(action_word).collect::<Vec<_>>();
    assert_eq!(again, ["Done"], "answered from memory");
}

#[test]
fn automatic_restarts_count_and_a_persons_do_not() {
    for (by, used) in
        [(Requester::Engine(Cause::Silent), 1), (Requester::Person("p".to_owned()), 0)]
    {
        let mut supervisor = supervisor(State::Running(process()));
        let Event::Command(mut command) = command(&supervisor, CommandKind::Restart) else {
            unreachable!("it makes a command")
        };
        command.requested_by = by;
        let at = now(Duration::from_millis(250));
        supervisor.handle(Event::Command(command), at, &mut Vec::new());
        assert_eq!(supervisor.memory.ledger.used(), used);
    }
}
