//! Ways to be stuck. Each script says when its agent must be found, in the numbers of the default
//! policy: beats 3 min (15 in a model call), progress 10 min, inactivity 30 min.

use fastrand::Rng;
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::{Due, Expected};

use super::script::{
    Doing, Heap, Kind, Script, Steps, at_work, default, hours, minutes, quiet, seconds,
};

/// Ways to be stuck.
pub(super) const KINDS: &[Kind] = &[
    ends("deadlock: no beat, no CPU", &[Cause::Silent], deadlock),
    ends("deadlock behind a beating thread", &[Cause::NoProgress], behind_a_beating_thread),
    ends("dead TCP wait in a declared model call", &[Cause::Silent], dead_call),
    ends("dead TCP wait, undeclared (pair of the quiet call)", &[Cause::Silent], dead_wait),
    told("livelock: spins, no beat", &[Cause::BusySilent], spins),
    told("livelock: spins and beats, nothing done", &[Cause::NoProgress], spins_and_beats),
    told("hung, an exporter thread answers probes", &[Cause::BusySilent], exporter),
    told("hung, beats through the exporter, prints", &[Cause::NoProgress], prints_and_beats),
    ends("loop: same action, same result", &[Cause::Looping], loop_of_results),
    ends("loop: same action, same error", &[Cause::Looping], loop_of_errors),
    ends("loop: two steps that take turns", &[Cause::Looping], loop_in_turns),
    ends("loop: talks to itself", &[Cause::Looping], monologue),
    told("call outlives its lease", &[Cause::LeaseExpired], outlives_its_lease),
    told("renews its lease for ever", &[Cause::LeaseExpired], renews_for_ever),
    ends("breaks its own watchdog contract", &[Cause::Silent], breaks_its_contract),
    told("never says a word, does nothing", &[Cause::Inactive], mute),
    told("stopped by a signal", &[Cause::Paused], stopped),
    ends("says itself that it failed", &[Cause::ReportedFailure], says_so),
    told("hangs on its first step", &[Cause::NoProgress], first_step),
    told("burns tokens, no progress", &[Cause::BurnWithoutProgress, Cause::NoProgress], burns),
    told("memory grows to its limit", &[Cause::MemoryHigh, Cause::MemoryLeak], leaks),
    Kind {
        policy: tasks_end,
        ..told("a task that never ends", &[Cause::TaskOverdue], endless_task)
    },
    Kind { policy: backs_up, ..told("a backup that does not come", &[Cause::Missed], no_backup) },
];

type Make = fn(&mut Rng) -> Script;

/// A person must be told of it.
const fn told(name: &'static str, found_as: &'static [Cause], script: Make) -> Kind {
    Kind { name, found_as, ends: false, policy: default, script }
}

/// It must be restarted, too.
const fn ends(name: &'static str, found_as: &'static [Cause], script: Make) -> Kind {
    Kind { name, found_as, ends: true, policy: default, script }
}

fn tasks_end(policy: &mut lubdub_shared::policy::Policy) {
    policy.task_timeout = Some(minutes(5));
}

fn backs_up(policy: &mut lubdub_shared::policy::Policy) {
    let expected = Expected { due: Due::Every(hours(1)), grace: minutes(10) };
    policy.limits.check.insert("backup".to_owned(), expected);
}

/// Its last beat is the moment in which it hangs.
fn last_beat(doing: Doing) -> Doing {
    Doing { says: vec!["WATCHDOG=1".to_owned()], ..doing }
}

/// Its last step of progress is the moment in which it hangs.
fn last_step(doing: Doing) -> Doing {
    Doing { says: vec![r#"{"phase":"working","progress":1000000}"#.to_owned()], ..doing }
}

fn deadlock(rng: &mut Rng) -> Script {
    Script::healthy(rng).hangs(minutes(3), last_beat(quiet(minutes(1))))
}

fn behind_a_beating_thread(rng: &mut Rng) -> Script {
    let beats = Some(seconds(rng.u64(2..30)));
    Script::healthy(rng).hangs(minutes(10), Doing { beats, ..last_step(quiet(minutes(1))) })
}

fn dead_call(rng: &mut Rng) -> Script {
    let says = vec![r#"{"phase":"llm"}"#.to_owned()];
    Script::healthy(rng).hangs(minutes(15), Doing { says, ..quiet(minutes(1)) })
}

fn dead_wait(rng: &mut Rng) -> Script {
    // The port answers: a thread of its own listens.
    Script::healthy(rng).hangs(minutes(3), last_beat(quiet(minutes(1))))
}

fn spins(rng: &mut Rng) -> Script {
    let spinning = Doing { cpu: 1.0, answers: false, ..quiet(minutes(1)) };
    Script::healthy(rng).hangs(minutes(3), last_beat(spinning))
}

fn spins_and_beats(rng: &mut Rng) -> Script {
    let beats = Some(seconds(rng.u64(2..30)));
    let spinning = Doing { cpu: 1.0, beats, ..quiet(minutes(1)) };
    Script::healthy(rng).hangs(minutes(10), last_step(spinning))
}

fn exporter(rng: &mut Rng) -> Script {
    let woken = Doing { prints: Some(seconds(15)), cpu: 0.004, ..quiet(minutes(1)) };
    Script::healthy(rng).hangs(minutes(3), last_beat(woken))
}

fn prints_and_beats(rng: &mut Rng) -> Script {
    let beats = Some(seconds(10));
    let woken = Doing { beats, prints: Some(seconds(15)), cpu: 0.004, ..quiet(minutes(1)) };
    Script::healthy(rng).hangs(minutes(10), last_step(woken))
}

/// Tells steps each so many seconds, and must be found with the last of so many.
fn repeats(rng: &mut Rng, steps: Steps, many: u64) -> Script {
    let every = rng.u64(5..60);
    let busy = at_work(rng, minutes(1));
    let says = vec![r#"{"phase":"working","progress":1000000}"#.to_owned()];
    let looping = Doing { says, works: None, steps: Some((seconds(every), steps)), ..busy };
    Script::healthy(rng).hangs(seconds(every * many), looping)
}

fn loop_of_results(rng: &mut Rng) -> Script {
    repeats(rng, Steps::Same, 4)
}

fn loop_of_errors(rng: &mut Rng) -> Script {
    repeats(rng, Steps::SameError, 3)
}

fn loop_in_turns(rng: &mut Rng) -> Script {
    repeats(rng, Steps::Turns, 6)
}

fn monologue(rng: &mut Rng) -> Script {
    let mut script = repeats(rng, Steps::Alone, 3);
    // It told results before.
    script.doings[0].steps = Some((seconds(30), Steps::Pages));
    script
}

fn outlives_its_lease(rng: &mut Rng) -> Script {
    let lease = rng.u64(60..1200);
    let says = vec![format!(r#"{{"phase":"llm","lease_s":{lease}}}"#)];
    let slack = (seconds(lease) / 10).max(seconds(5));
    Script::healthy(rng).hangs(seconds(lease) + slack, Doing { says, ..quiet(minutes(1)) })
}

fn renews_for_ever(rng: &mut Rng) -> Script {
    // Half an hour of lease each time; the second ends a minute after it hangs, and its slack of
    // three minutes with it. More than an hour is never leased without progress.
    let ask = r#"{"phase":"tool","lease_s":1800,"progress":1000000}"#.to_owned();
    let renew = r#"{"phase":"tool","lease_s":1800,"progress":1000000}"#.to_owned();
    let call = |says| Doing { says: vec![says], ..quiet(minutes(29)) };
    let first = Doing { truth: super::script::Truth::Waits, ..call(ask) };
    let again = Doing { truth: super::script::Truth::Waits, ..call(renew) };
    let beats = Some(seconds(60));
    let says = vec![r#"{"phase":"tool","lease_s":1800,"progress":1000000}"#.to_owned()];
    let rest = Doing { beats, says, ..quiet(minutes(1)) };
    Script::healthy(rng).then(first).then(again).hangs(minutes(4), rest)
}

fn breaks_its_contract(rng: &mut Rng) -> Script {
    let contract = rng.u64(5..60);
    let mut script = Script::healthy(rng);
    script.doings[0].says.push(format!("WATCHDOG_USEC={}", contract * 1_000_000));
    script.doings[0].beats = Some(seconds(contract / 3 + 1));
    script.hangs(seconds(contract), last_beat(quiet(minutes(1))))
}

fn mute(_: &mut Rng) -> Script {
    Script::default().hangs(minutes(30), quiet(minutes(1)))
}

fn stopped(rng: &mut Rng) -> Script {
    // Seen with the next look, which comes each second.
    let stopped = Doing { paused: true, answers: false, ..quiet(minutes(1)) };
    Script::healthy(rng).hangs(seconds(1), stopped)
}

fn first_step(_: &mut Rng) -> Script {
    // It says how far it is, and never gets any further.
    let says = vec!["READY=1".to_owned(), r#"{"phase":"working","progress":5}"#.to_owned()];
    let beats = Some(seconds(10));
    Script::default().hangs(minutes(10), Doing { says, beats, ..quiet(minutes(1)) })
}

fn says_so(rng: &mut Rng) -> Script {
    let says = vec!["WATCHDOG=trigger".to_owned()];
    Script::healthy(rng).hangs(seconds(0), Doing { says, ..quiet(minutes(1)) })
}

fn burns(rng: &mut Rng) -> Script {
    let every = rng.u64(5..20);
    let busy = at_work(rng, minutes(1));
    let says = vec![r#"{"phase":"working","progress":1000000}"#.to_owned()];
    let (beats, works, tokens) = (Some(seconds(every)), None, 50_000);
    let burning = Doing { says, beats, works, tokens, ..busy };
    // Twenty beats of 50,000 are a million; frozen progress may be found before that. A trend is
    // looked at with each report, which comes each five seconds.
    let due = seconds(20 * every + 5).min(minutes(10));
    Script::healthy(rng).hangs(due, burning)
}

fn leaks(rng: &mut Rng) -> Script {
    let mib = 2.0 + rng.f64() * 8.0;
    let busy = at_work(rng, minutes(1));
    let leaking = Doing { heap: Heap::Grows(300.0, mib), ..busy };
    // At 85 % of 1,000 MiB at the latest; a trend is looked at with each report.
    let due = std::time::Duration::from_secs_f64(550.0 / mib * 60.0) + seconds(5);
    let mut script = Script::healthy(rng).hangs(due, leaking);
    script.doings.last_mut().expect("it hangs").span = due + minutes(5);
    script.memory_limit = Some(1000.0);
    script
}

fn endless_task(rng: &mut Rng) -> Script {
    let mut busy = at_work(rng, minutes(1));
    busy.says.push(r#"{"task":{"id":"t1","event":"start"}}"#.to_owned());
    Script::healthy(rng).hangs(minutes(5), busy)
}

fn no_backup(rng: &mut Rng) -> Script {
    let mut busy = at_work(rng, minutes(1));
    busy.says.push(r#"{"check":{"name":"backup","ok":true}}"#.to_owned());
    Script::healthy(rng).hangs(minutes(70), busy)
}
