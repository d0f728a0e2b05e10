//! The table: every state, every event. Each row of `table.txt` is one cell.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use lubdub_shared::command::{Command, CommandKind, Ending, Precondition, Requester};
use lubdub_shared::id::{CommandId, LifeId, StoreId};
use lubdub_shared::incident::Cause;
use lubdub_shared::session::{Happening, Welcome};
use lubdub_shared::time::Wall;

use super::*;
use crate::state::Home;
use lubdub_shared::beat::ExitHow;
use lubdub_shared::command::Refusal;

mod watching;
mod wishes;

const LATER: Duration = Duration::from_secs(400);

fn now(after: Duration) -> Now {
    Now { mono: Mono(1_000_000_000).after(after), wall: Wall(0) }
}

fn process() -> ProcessId {
    ProcessId { pid: NonZeroU32::new(42).expect("not 0"), start_time: 7 }
}

fn exit(how: ExitHow) -> Exit {
    Exit::of(how)
}

fn hold(lifecycle: Lifecycle) -> Hold {
    let (reason, requested_by) = ("r".to_owned(), "p".to_owned());
    Hold { lifecycle, reason, requested_by, crash_loop: false }
}

fn store() -> StoreId {
    StoreId::random(&mut fastrand::Rng::with_seed(5))
}

fn supervisor(state: State) -> Supervisor {
    let agent = "a1".parse().expect("an id");
    let mut memory = Memory::empty(agent, String::new());
    let life = memory.next_life(LifeId::random(&mut fastrand::Rng::with_seed(6)));
    assert_eq!(life.ordinal, NonZeroU32::MIN);
    memory.accept(Home { store: store(), address: "x".to_owned() }, 3);
    let at = now(Duration::ZERO).mono;
    let mut supervisor = Supervisor::new(memory, Local::default(), 1, at);
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
        (
            "preparing",
            State::Preparing {
                process: process(),
                until: soon,
                then: then.clone(),
                counts: true,
                step: Step::Evidence,
            },
        ),
        (
            "checkpoint",
            State::Preparing {
                process: process(),
                until: soon,
                then: then.clone(),
                counts: true,
                step: Step::Checkpoint,
            },
        ),
        ("starting, told to end", State::Starting { shutdown: Some(15) }),
        (
            "sweeping to the end, main alive",
            State::Sweeping {
                exit: None,
                kill_at: None,
                asked: true,
                left: Vec::new(),
                then: Then::End,
            },
        ),
        ("stopping", State::Stopping { process: process(), kill_at: soon, then: then.clone() }),
        (
            "stopping to the end",
            State::Stopping { process: process(), kill_at: soon, then: Then::End },
        ),
        (
            "sweeping, main alive",
            State::Sweeping {
                exit: None,
                kill_at: None,
                asked: true,
                left: Vec::new(),
                then: then.clone(),
            },
        ),
        (
            "sweeping, main gone",
            State::Sweeping {
                exit: gone,
                kill_at: Some(soon),
                asked: false,
                left: Vec::new(),
                then,
            },
        ),
        ("stopped", State::Held(hold(Lifecycle::Stopped))),
        ("terminated", State::Held(hold(Lifecycle::Terminated))),
        ("ended", State::Ended(Lifecycle::Stopped)),
    ]
}

fn gathered() -> Gathered {
    let bundle = Err("none".to_owned());
    Gathered { purpose: Purpose::BeforeStop, life: None, bundle }
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
        dry_run: false,
        agent: supervisor.memory.agent.clone(),
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
        policy_mark: 1,
        spool: None,
        pending: Vec::new(),
    };
    vec![
        ("tick, nothing due", Event::Tick, soon),
        ("tick, all due", Event::Tick, LATER),
        ("welcome", Event::Welcome(Box::new(welcome), "x".to_owned()), soon),
        ("started", Event::Started(process()), soon),
        ("start failed", Event::StartFailed(126, "why".to_owned()), soon),
        ("main moved", Event::MainMoved(process()), soon),
        ("exit 0", Event::MainExited(exit(ExitHow::Code(0)), Vec::new()), soon),
        ("exit 1", Event::MainExited(exit(ExitHow::Code(1)), Vec::new()), soon),
        ("tree gone", Event::TreeGone(Vec::new()), soon),
        ("unkillable", Event::Unkillable(Vec::new(), "42 (x), state D".to_owned()), soon),
        ("restart", command(supervisor, CommandKind::Restart), soon),
        ("stop", command(supervisor, CommandKind::Stop), soon),
        ("start", command(supervisor, CommandKind::Start), soon),
        ("apoptosis", command(supervisor, CommandKind::Apoptosis), soon),
        ("revive", command(supervisor, CommandKind::Revive), soon),
        ("nudge", command(supervisor, CommandKind::Nudge), soon),
        ("capture", command(supervisor, CommandKind::Capture), soon),
        ("gathered", Event::Gathered(Box::new(gathered())), soon),
        ("checkpointed", Event::Checkpointed(Ok(String::new())), soon),
        ("shutdown", Event::Shutdown(15), soon),
        ("ctrl-c", Event::Shutdown(2), soon),
        ("no collector answers", Event::Unreachable, Duration::from_secs(1)),
        ("launched nobody", Event::NobodyLaunched("why".to_owned()), soon),
    ]
}

/// The disk takes what is to be written, and evidence is there at once.
fn follow_through(supervisor: &mut Supervisor, at: Now, actions: &mut Vec<Action>) {
    if actions.contains(&Action::Intend) {
        supervisor.handle(Event::Intended(Ok(())), at, actions);
    }
    let before_stop =
        |a: &Action| matches!(a, Action::Gather(order) if order.purpose == Purpose::BeforeStop);
    if actions.iter().any(before_stop) {
        supervisor.handle(Event::Gathered(Box::new(gathered())), at, actions);
    }
}

fn state_word(state: &State) -> String {
    match state {
        State::Unborn { .. } => "unborn".to_owned(),
        State::Resting { .. } => "resting".to_owned(),
        State::Starting { shutdown: None } => "starting".to_owned(),
        State::Starting { shutdown: Some(_) } => "starting, then end".to_owned(),
        State::Running(_) => "running".to_owned(),
        State::Preparing { then, .. } => format!("preparing, then {}", then_word(then)),
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
        Then::Hold(hold) => hold.lifecycle.to_string(),
        Then::End => "end".to_owned(),
    }
}

fn action_word(action: &Action) -> Option<String> {
    Some(match action {
        Action::Start(_) => "START".to_owned(),
        Action::Tell(_) => "tell".to_owned(),
        Action::SignalMain(number) => format!("signal {number}"),
        Action::SignalTree(number) => format!("signal tree {number}"),
        Action::KillTree => "kill tree".to_owned(),
        Action::Gather(_) => "gather".to_owned(),
        Action::Checkpoint => "checkpoint".to_owned(),
        Action::RestartElsewhere => "restart elsewhere".to_owned(),
        Action::Emit(_, Happening::Outcome(outcome)) => match &outcome.ending {
            Ending::Refused(refusal) => format!("refused {refusal}"),
            ending @ (Ending::Done | Ending::Expired | Ending::Failed | Ending::Other) => {
                format!("{ending:?}")
            }
        },
        Action::Emit(_, what) => format!("emit {}", what.kind()),
        Action::Tombstone(hold) => format!("tombstone {}", hold.is_some()),
        Action::End(code) => format!("END {code}"),
        Action::Report | Action::Persist | Action::Intend | Action::Untell(_) => return None,
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
            follow_through(&mut supervisor, now(after), &mut actions);
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
    let table: [(&str, Spoil, Ending); 7] = [
        (
            "another agent",
            |c| c.agent = "other".parse().expect("an id"),
            Ending::Refused(Refusal::WrongAgent),
        ),
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
    follow_through(&mut supervisor, at, &mut actions);
    assert!(actions.contains(&Action::SignalMain(15)), "{actions:?}");
    actions.clear();
    supervisor.handle(command.clone(), at, &mut actions);
    assert!(!actions.iter().any(|a| matches!(a, Action::SignalMain(_))), "still under way");
    supervisor.handle(Event::MainExited(exit(ExitHow::Signal(15)), Vec::new()), at, &mut actions);
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
        let mut actions = Vec::new();
        supervisor.handle(Event::Command(command), at, &mut actions);
        follow_through(&mut supervisor, at, &mut actions);
        assert_eq!(supervisor.memory.ledger.used(), used);
    }
}

#[test]
fn who_moves_on_while_evidence_is_gathered_is_left_alone() {
    let mut supervisor = supervisor(State::Running(process()));
    let Event::Command(mut command) = command(&supervisor, CommandKind::Restart) else {
        unreachable!("it makes a command")
    };
    command.requested_by = Requester::Engine(Cause::Silent);
    command.precondition = Precondition::NoBeat { beats: 0 };
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(Event::Command(command), at, &mut actions);
    supervisor.handle(Event::Intended(Ok(())), at, &mut actions);
    assert!(matches!(supervisor.state, State::Preparing { .. }), "{:?}", supervisor.state);
    let beat = lubdub_shared::line::parse(b"WATCHDOG=1").expect("a beat");
    supervisor.say(beat, at, &mut actions);
    supervisor.handle(Event::Gathered(Box::new(gathered())), at, &mut actions);
    assert_eq!(supervisor.state, State::Running(process()));
    assert!(!actions.iter().any(|a| matches!(a, Action::SignalMain(_))), "{actions:?}");
    let words: Vec<String> = actions.iter().filter_map(action_word).collect();
    assert_eq!(words, ["gather", "emit note", "refused precondition_failed"]);
    assert_eq!(supervisor.memory.ledger.used(), 0, "nothing was carried out");
}

#[test]
fn a_checkpoint_comes_between_evidence_and_signal() {
    let mut supervisor = supervisor(State::Running(process()));
    supervisor.local.checkpoint = Some(Duration::from_secs(3));
    let stop = command(&supervisor, CommandKind::Stop);
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(stop, at, &mut actions);
    follow_through(&mut supervisor, at, &mut actions);
    assert!(actions.contains(&Action::Checkpoint), "{actions:?}");
    assert!(!actions.contains(&Action::SignalMain(15)), "not yet");
    supervisor.handle(Event::Checkpointed(Err("no".to_owned())), at, &mut actions);
    assert!(actions.contains(&Action::SignalMain(15)), "a checkpoint that fails stops nothing");
    let intent = supervisor.memory.intent.as_ref().expect("under way");
    assert!(intent.outcome.detail.ends_with("checkpoint failed"), "{}", intent.outcome.detail);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    for (kind, ending) in [
        (CommandKind::Restart, Ending::Refused(Refusal::SickDisk)),
        (CommandKind::Apoptosis, Ending::Refused(Refusal::SickDisk)),
    ] {
        let mut supervisor = supervisor(State::Running(process()));
        let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
        supervisor.handle(command(&supervisor, kind), at, &mut actions);
        assert!(actions.contains(&Action::Intend));
        assert!(matches!(supervisor.state, State::Running(_)), "nothing before it is on disk");
        actions.clear();
        supervisor.handle(Event::Intended(Err("full".to_owned())), at, &mut actions);
        assert_eq!(endings(&actions), [ending]);
        assert!(matches!(supervisor.state, State::Running(_)));
    }
    // What ends nothing is done from memory.
    let mut supervisor = supervisor(State::Held(hold(Lifecycle::Stopped)));
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(command(&supervisor, CommandKind::Start), at, &mut actions);
    supervisor.handle(Event::Intended(Err("full".to_owned())), at, &mut actions);
    assert!(actions.iter().any(|action| matches!(action, Action::Start(_))));
}

#[test]
fn an_agent_that_moves_while_the_intent_is_written_is_saved() {
    let mut supervisor = supervisor(State::Running(process()));
    let Event::Command(mut command) = command(&supervisor, CommandKind::Restart) else {
        unreachable!("it makes a command")
    };
    command.precondition = Precondition::NoBeat { beats: 0 };
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(Event::Command(command), at, &mut actions);
    let beat = lubdub_shared::line::parse(b"WATCHDOG=1").expect("a beat");
    supervisor.say(beat, at, &mut actions);
    actions.clear();
    supervisor.handle(Event::Intended(Ok(())), at, &mut actions);
    assert_eq!(endings(&actions), [Ending::Refused(Refusal::PreconditionFailed)]);
    assert!(matches!(supervisor.state, State::Running(_)));
}

#[test]
fn a_command_that_waited_too_long_for_the_disk_expires() {
    let mut supervisor = supervisor(State::Running(process()));
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(command(&supervisor, CommandKind::Stop), at, &mut actions);
    actions.clear();
    let late = now(Duration::from_secs(31));
    supervisor.handle(Event::Intended(Ok(())), late, &mut actions);
    assert_eq!(endings(&actions), [Ending::Expired]);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let mut supervisor = supervisor(State::Running(process()));
    let Event::Command(mut command) = command(&supervisor, CommandKind::Restart) else {
        unreachable!("it makes a command")
    };
    command.dry_run = true;
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    supervisor.handle(Event::Command(command), at, &mut actions);
    assert!(!actions.contains(&Action::Intend));
    let said = actions.iter().find_map(|action| {
        let Action::Emit(_, Happening::Outcome(outcome)) = action else { return None };
        Some(outcome.detail.as_str())
    });
    let would = "would send signal 15 to the main process, and kill the whole tree after 10.0 s, \
                 then start anew after 0 ms";
    assert_eq!(said, Some(would));
    assert!(matches!(supervisor.state, State::Running(_)));
}

/// A sidecar is killed with a command under way; the next one has only what was on disk.
#[test]
fn what_a_crash_left_half_done_is_finished() {
    for (kind, expected) in [
        (CommandKind::Restart, "emit started, Done"),
        (CommandKind::Stop, "emit held, Done"),
        (CommandKind::Apoptosis, "tombstone true, emit held, Done"),
    ] {
        for begun in [false, true] {
            let expected = if begun { expected } else { "Expired, emit started" };
            let mut killed = supervisor(State::Running(process()));
            let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
            killed.handle(command(&killed, kind), at, &mut actions);
            if begun {
                killed.handle(Event::Intended(Ok(())), at, &mut actions);
            }
            let left = serde_json::from_slice(&killed.memory().render()).expect("whole");
            let mut next = Supervisor::new(left, Local::default(), 2, at.mono);
            actions.clear();
            next.finish_what_was_begun(&mut actions);
            next.handle(Event::Tick, now(Duration::from_secs(1)), &mut actions);
            for tick in 2..30 {
                next.handle(Event::Tick, now(Duration::from_millis(tick * 500)), &mut actions);
                if actions.iter().any(|action| matches!(action, Action::Start(_))) {
                    let at = now(Duration::from_secs(15));
                    next.handle(Event::Started(process()), at, &mut actions);
                    break;
                }
            }
            let words: Vec<String> = actions.iter().filter_map(action_word).collect();
            let words = words.into_iter().filter(|word| word != "START").collect::<Vec<_>>();
            assert_eq!(words.join(", "), expected, "{kind}, begun: {begun}");
            assert_eq!(next.memory().intent, None);
        }
    }
}

/// A sidecar is killed when the restart is done, and before that is written down.
#[test]
fn a_restart_that_was_done_is_not_done_again() {
    let mut killed = supervisor(State::Running(process()));
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    killed.handle(command(&killed, CommandKind::Restart), at, &mut actions);
    killed.handle(Event::Intended(Ok(())), at, &mut actions);
    let mut left = killed.memory().clone();
    assert!(left.intent.is_some(), "{left:?}");
    // The next life's start was written down, and its process runs.
    let id = LifeId::random(&mut fastrand::Rng::with_seed(77));
    left.life = Some(Life { id, ordinal: 2.try_into().expect("not 0") });
    let mut next = Supervisor::new(left, Local::default(), 2, at.mono);
    next.adopt(process(), Duration::from_secs(1), None, at, &mut actions);
    actions.clear();
    next.finish_what_was_begun(&mut actions);
    next.handle(Event::Tick, now(Duration::from_secs(30)), &mut actions);
    let words: Vec<String> = actions.iter().filter_map(action_word).collect();
    assert_eq!(words, ["Done"]);
    assert_eq!(next.memory().intent, None);
}

#[test]
fn another_store_voids_what_the_old_one_asked_for() {
    let mut supervisor = supervisor(State::Running(process()));
    let (at, mut actions) = (now(Duration::from_millis(250)), Vec::new());
    let stop = command(&supervisor, CommandKind::Stop);
    supervisor.handle(stop.clone(), at, &mut actions);
    actions.clear();
    let welcome = Welcome {
        session: 2,
        store: StoreId::random(&mut fastrand::Rng::with_seed(55)),
        epoch: 1,
        interval: LATER,
        policy: Policy::default(),
        acked: 0,
        degraded: String::new(),
        policy_mark: 1,
        spool: None,
        pending: Vec::new(),
    };
    supervisor.handle(Event::Welcome(Box::new(welcome), "x".to_owned()), at, &mut actions);
    let words: Vec<String> = actions.iter().filter_map(action_word).collect();
    assert_eq!(words, ["emit note", "refused fenced"]);
    actions.clear();
    let Event::Command(mut late) = stop else { unreachable!("it is one") };
    late.id = CommandId::random(&mut fastrand::Rng::with_seed(10));
    supervisor.handle(Event::Command(late), at, &mut actions);
    assert_eq!(endings(&actions), [Ending::Refused(Refusal::Fenced)]);
}

fn endings(actions: &[Action]) -> Vec<Ending> {
    let outcome = |action: &Action| {
        let Action::Emit(_, Happening::Outcome(outcome)) = action else { return None };
        Some(outcome.ending.clone())
    };
    actions.iter().filter_map(outcome).collect()
}

fn outcomes(actions: &[Action]) -> Vec<Outcome> {
    let outcome = |action: &Action| {
        let Action::Emit(_, Happening::Outcome(outcome)) = action else { return None };
        Some(outcome.clone())
    };
    actions.iter().filter_map(outcome).collect()
}
