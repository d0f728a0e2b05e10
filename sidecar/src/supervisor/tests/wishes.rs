//! Who wishes the same, who insists, and what withdraws an end that was begun.

use lubdub_shared::beat::Phase;
use lubdub_shared::line::Message;
use lubdub_shared::policy::RestartPolicy;

use super::*;

const JOINED: u64 = 5;

#[test]
fn the_same_wish_gets_the_same_answer() {
    let mut supervisor = supervisor(State::Running(process()));
    let at = now(Duration::from_millis(250));
    let mut actions = Vec::new();
    let first = command(&supervisor, CommandKind::Restart);
    let Event::Command(asked) = &first else { unreachable!("it makes a command") };
    let mut ids = vec![asked.id];
    supervisor.handle(first.clone(), at, &mut actions);
    for seed in 0..JOINED {
        let mut again = asked.clone();
        again.id = CommandId::random(&mut fastrand::Rng::with_seed(100 + seed));
        again.requested_by = Requester::Person(format!("p{seed}"));
        ids.push(again.id);
        supervisor.handle(Event::Command(again.clone()), at, &mut actions);
        // Told twice by a link, it has joined once.
        supervisor.handle(Event::Command(again), at, &mut actions);
    }
    // Another wish is refused, with the reason.
    let mut other = asked.clone();
    (other.id, other.kind) =
        (CommandId::random(&mut fastrand::Rng::with_seed(7)), CommandKind::Stop);
    let before = outcomes(&actions).len();
    supervisor.handle(Event::Command(other), at, &mut actions);
    let refused = outcomes(&actions)[before].clone();
    assert_eq!(refused.ending, Ending::Refused(Refusal::Busy), "{refused:?}");
    follow_through(&mut supervisor, at, &mut actions);
    supervisor.handle(Event::MainExited(exit(ExitHow::Signal(15)), Vec::new()), at, &mut actions);
    supervisor.handle(Event::TreeGone(Vec::new()), at, &mut actions);
    supervisor.handle(Event::Tick, now(LATER), &mut actions);
    supervisor.handle(Event::Started(process()), now(LATER), &mut actions);
    let done: Vec<Outcome> =
        outcomes(&actions).into_iter().filter(|outcome| outcome.ending == Ending::Done).collect();
    let mut answered: Vec<CommandId> = done.iter().map(|outcome| outcome.command).collect();
    answered.sort_unstable();
    ids.sort_unstable();
    assert_eq!(answered, ids, "each once");
    let starts = actions.iter().filter(|action| matches!(action, Action::Start(_))).count();
    assert_eq!(starts, 1, "one restart");
    assert!(done.iter().all(|outcome| outcome.to == supervisor.memory.life));
}

/// The engine's own is withdrawn by a beat; a person's is not.
#[test]
fn a_person_does_not_join_the_engine() {
    let mut supervisor = supervisor(State::Running(process()));
    let at = now(Duration::from_millis(250));
    let mut actions = Vec::new();
    let Event::Command(mut engines) = command(&supervisor, CommandKind::Restart) else {
        unreachable!("it makes a command")
    };
    engines.requested_by = Requester::Engine(Cause::Silent);
    let mut persons = engines.clone();
    persons.id = CommandId::random(&mut fastrand::Rng::with_seed(7));
    persons.requested_by = Requester::Person("ana".to_owned());
    supervisor.handle(Event::Command(engines), at, &mut actions);
    supervisor.handle(Event::Command(persons), at, &mut actions);
    assert!(supervisor.memory.joined.is_empty(), "{:?}", supervisor.memory.joined);
    let [answer] = &outcomes(&actions)[..] else { unreachable!("one: {actions:?}") };
    assert_eq!(answer.ending, Ending::Refused(Refusal::Busy), "{answer:?}");
}

/// The tree still ends by itself: a second Ctrl-C does not wait for it.
#[test]
fn who_insists_by_ctrl_c_waits_for_nobody() {
    let mut supervisor = supervisor(State::Running(process()));
    let at = now(Duration::from_millis(250));
    let mut actions = Vec::new();
    supervisor.handle(Event::Shutdown(2), at, &mut actions);
    supervisor.handle(Event::MainExited(exit(ExitHow::Signal(2)), Vec::new()), at, &mut actions);
    assert!(!actions.contains(&Action::KillTree), "{actions:?}");
    supervisor.handle(Event::Shutdown(15), at, &mut actions);
    assert!(!actions.contains(&Action::KillTree), "TERM again is the same wish: {actions:?}");
    supervisor.handle(Event::Shutdown(2), at, &mut actions);
    assert!(actions.contains(&Action::KillTree), "{actions:?}");
}

#[test]
fn an_agent_that_goes_on_after_all_is_not_stopped() {
    let say = |supervisor: &mut Supervisor, phase, at: Duration, actions: &mut Vec<Action>| {
        let message = Message { beat: true, phase: Some(phase), ..Message::default() };
        supervisor.say(message, now(at), actions);
    };
    for (goes_on, reached) in [(true, false), (false, true)] {
        let mut supervisor = supervisor(State::Running(process()));
        let mut actions = Vec::new();
        say(&mut supervisor, Phase::Stopping, Duration::from_secs(1), &mut actions);
        let over = Duration::from_secs(1) + supervisor.policy().restart.stopping_max;
        // In steps: a gap of the sidecar's own ages nobody.
        let mut at = Duration::from_secs(1);
        while at < over + Duration::from_secs(1) && !actions.contains(&Action::Intend) {
            at += Duration::from_millis(250);
            supervisor.handle(Event::Tick, now(at), &mut actions);
        }
        assert!(actions.contains(&Action::Intend), "its time is over: {actions:?}");
        supervisor.handle(Event::Intended(Ok(())), now(at), &mut actions);
        assert!(matches!(supervisor.state, State::Preparing { .. }), "{:?}", supervisor.state);
        if goes_on {
            say(&mut supervisor, Phase::Working, at, &mut actions);
        }
        supervisor.handle(Event::Gathered(Box::new(gathered())), now(at), &mut actions);
        let stops = matches!(supervisor.state, State::Stopping { .. });
        assert_eq!(stops, reached, "{:?}", supervisor.state);
        assert_eq!(supervisor.memory.ledger.used() > 0, reached, "counted when it is done");
    }
}

/// Who ends takes its time, and proves nothing by it.
#[test]
fn an_announced_stop_is_no_stability() {
    let mut supervisor = supervisor(State::Running(process()));
    let restart =
        RestartPolicy { stable_after: Duration::from_secs(3), ..RestartPolicy::default() };
    supervisor.memory.policy = Some(Policy { restart, ..Policy::default() });
    supervisor.memory.ledger.record();
    let mut actions = Vec::new();
    for (phase, refilled) in [(Phase::Stopping, false), (Phase::Working, true)] {
        let message = Message { beat: true, phase: Some(phase), ..Message::default() };
        let from = if refilled { 40 } else { 1 };
        for tick in from..from + 20 {
            let at = now(Duration::from_millis(250 * tick));
            supervisor.say(message.clone(), at, &mut actions);
            supervisor.handle(Event::Tick, at, &mut actions);
        }
        assert_eq!(supervisor.memory.ledger.used() == 0, refilled, "{phase}");
    }
}
