//! How closely it looks, what it does alone, and what a service manager above is told.

use super::*;
use crate::vitals::activity::Counters;

/// Two looks tell what a connection carried, and another pair may be unlucky.
#[test]
fn costly_looks_fit_into_the_clock_that_runs_out_first() {
    let mut supervisor = supervisor(State::Running(process()));
    let seconds = Duration::from_secs;
    let table = [(1800, 180, 5000), (20, 180, 5000), (8, 180, 2000), (1800, 4, 1000), (3, 2, 500)];
    for (inactive_after, deadline, pace) in table {
        supervisor.memory.policy = Some(Policy {
            inactive_after: seconds(inactive_after),
            heartbeat_deadline: seconds(deadline),
            ..Policy::default()
        });
        let looks = supervisor.costly_looks_every();
        assert_eq!(looks, Some(Duration::from_millis(pace)), "{inactive_after}, {deadline}");
        let each_tick = inactive_after.min(deadline) <= 10;
        assert_eq!(supervisor.looks_at_each_tick(), each_tick, "{inactive_after}, {deadline}");
    }
    // Who shows activity is not asked.
    let mut actions = Vec::new();
    for written in 1..3 {
        let at = now(Duration::from_millis(250 * written)).mono;
        let counters = Counters { written, ..Counters::default() };
        let sample = TreeSample { counters, ..TreeSample::default() };
        supervisor.observe(sample, at, &mut actions);
    }
    assert_eq!(supervisor.costly_looks_every(), None);
}

/// A service manager above waits for a life that is to come up, and for no other.
#[test]
fn who_is_held_down_or_waits_is_ready() {
    for (name, state) in states() {
        let ready = ["resting", "stopped", "terminated", "ended"].contains(&name);
        assert_eq!(supervisor(state).standing().ready, ready, "{name}");
    }
}

#[test]
fn alone_only_the_file_lets_a_silent_agent_be_restarted() {
    for (restart_silent, restarted) in [(true, true), (false, false)] {
        let mut supervisor = supervisor(State::Running(process()));
        supervisor.local.restart_silent = restart_silent;
        let (mut at, mut actions) = (Duration::ZERO, Vec::new());
        let mut live = |supervisor: &mut Supervisor, beats: u32, quiet: u32| {
            for second in 0..beats + quiet {
                at += Duration::from_millis(500);
                if second < beats {
                    let beat = lubdub_shared::line::parse(b"WATCHDOG=1").expect("a beat");
                    supervisor.say(beat, now(at), &mut actions);
                }
                supervisor.observe(TreeSample::default(), now(at).mono, &mut actions);
                supervisor.handle(Event::Tick, now(at), &mut actions);
                if actions.contains(&Action::Intend) {
                    assert!(!actions.iter().any(|a| matches!(a, Action::SignalMain(_))));
                    actions.retain(|action| *action != Action::Intend);
                    supervisor.handle(Event::Intended(Ok(())), now(at), &mut actions);
                }
            }
            actions.iter().any(|action| matches!(action, Action::SignalMain(15)))
        };
        assert!(!live(&mut supervisor, 10, 1000), "two misses of three");
        assert_eq!(live(&mut supervisor, 0, 200), restarted);
        assert_eq!(supervisor.memory.ledger.used(), u32::from(restarted));
    }
}
