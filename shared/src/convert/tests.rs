//! Whatever goes out comes back the same; whatever is missing is named.

use std::sync::Arc;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::*;
use crate::beat::{
    ActivityKind, Ages, Deadline, Evidence, Exit, ExitHow, FailedCheck, Health, LastActivity,
    Lease, Phase, Progress, Report, ResponseTime, Vitals,
};
use crate::command::{
    Command, CommandKind, Ending, Outcome, Precondition, Refusal, Requester, Survivor,
};
use crate::id::Life;
use crate::incident::Cause;
use crate::policy::{
    Act, Due, Exhausted, ExpectBeats, Expected, Mode, Policy, QuietHours, RestartOn, UnknownExit,
};
use crate::schedule::LedgerView;
use crate::session::{
    Event, FromSidecar, GoodbyeReason, Happening, Hello, Hold, ToSidecar, Welcome,
};
use crate::status::Lifecycle;
use crate::trend::{Burn, CheckAge, GapStats, MemoryTrend, RecentTasks, Repeats, ResponseTrend};

fn life(rng: &mut fastrand::Rng) -> Life {
    Life { id: LifeId::random(rng), ordinal: NonZeroU32::MIN }
}

/// Everything ails.
fn health() -> Health {
    Health {
        datagrams_dropped: 1,
        writes_failed: 2,
        events_dropped: 3,
        sick_disk: "full".to_owned(),
        unkillable: "7 (x) in state D".to_owned(),
        sick: "no descriptors".to_owned(),
        sick_for: Duration::from_secs(1),
        unheard: "the door is gone".to_owned(),
    }
}

fn report(rng: &mut fastrand::Rng) -> Report {
    let second = Duration::from_secs(1);
    Report {
        number: 7,
        life: Some(life(rng)),
        lifecycle: Lifecycle::Running,
        pid: Some(42),
        ages: Ages {
            up: 9 * second,
            phase: Some(Phase::Llm),
            beats: 3,
            beat: Some(second),
            silence: second,
            armed: true,
            deadline: Some(Deadline { after: 3 * second, explicit: true }),
            activity: Some(LastActivity { age: second, kind: ActivityKind::Io }),
            progress: Progress {
                counter: 4,
                frozen: Some(second),
                still: Some(second),
                owed: true,
                window: second,
            },
            lease: Some(Lease { number: 2, left: second, over: None }),
            paused: Some(second),
            failed: vec![FailedCheck {
                name: "db".to_owned(),
                count: 2,
                trigger: false,
                message: "no".to_owned(),
            }],
            repeats: Repeats { same_result: 4, period_three: 6, ..Repeats::default() },
            oldest_task: Some(second),
            checks: vec![CheckAge { name: "backup".to_owned(), age: second, came: true }],
            spent: true,
            resting: true,
            unheard: true,
            waited: second,
            beat_gaps: GapStats { count: 9, longest: second, p999: second },
            progress_gaps: GapStats { count: 3, longest: second, p999: second },
            ..Ages::default()
        },
        vitals: Vitals {
            energy: Some(0.5),
            memory_bytes: Some(1 << 20),
            response: Some(ResponseTime { p50: 1, p95: 2, max: 3 }),
            text: "busy".to_owned(),
            burn: Burn {
                per_hour: Some(0.25),
                empty_in: Some(second),
                tokens: 7,
                cost_usd: 0.5,
                usual_tokens: Some(3),
            },
            memory_trend: MemoryTrend { limit: Some(9), slopes: Some([1.0, 2.0, 3.0]) },
            response_trend: ResponseTrend { z: Some(7.5), usual_ms: 12 },
            recent_tasks: RecentTasks { ended: 20, failed: 2 },
            ..Vitals::default()
        },
        ledger: LedgerView { used: 1, limit: 3, next_delay: Some(second), spent: String::new() },
        health: health(),
        starts_in: Some(second),
        policy: 99,
    }
}

fn outcome(rng: &mut fastrand::Rng) -> Outcome {
    Outcome {
        command: CommandId::random(rng),
        ending: Ending::Refused(Refusal::PreconditionFailed),
        detail: "1 newer beat(s) arrived".to_owned(),
        previous: Lifecycle::Running,
        task_cancelled: true,
        survivors: Vec::new(),
        to: Some(life(rng)),
        evidence: Some("a-1-7".to_owned()),
    }
}

fn up(message: &FromSidecar) {
    let wire = pb::FromSidecar::from(message.clone());
    assert_eq!(FromSidecar::try_from(wire).as_ref(), Ok(message));
}

fn down(message: &ToSidecar) {
    let wire = pb::ToSidecar::from(message.clone());
    assert_eq!(ToSidecar::try_from(wire).as_ref(), Ok(message));
}

#[test]
fn what_goes_up_comes_back() {
    let rng = &mut fastrand::Rng::with_seed(1);
    let store = StoreId::random(rng);
    up(&FromSidecar::Hello(Box::new(Hello {
        agent: "a1".parse().expect("an id"),
        instance: InstanceId::random(rng),
        version: "0.1.0".to_owned(),
        host: "h".to_owned(),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        spool: SpoolId::random(rng),
        last_event: 9,
        at: None,
        report: report(rng),
        epochs: BTreeMap::from([(store, 4)]),
        shown: Evidence { beats: true, progress: false, ready: true },
        held: Some(Hold {
            lifecycle: Lifecycle::Terminated,
            reason: "y".to_owned(),
            requested_by: "q".to_owned(),
            crash_loop: false,
        }),
    })));
    up(&FromSidecar::Report(Arc::new(report(rng))));
    up(&FromSidecar::Goodbye { reason: GoodbyeReason::AgentEnded, back_within: None });
    let exit = Exit { by_us: true, oom: true, ..Exit::of(ExitHow::Signal(9)) };
    let pid = NonZeroU32::MIN;
    let gone = Survivor { pid: 9, comm: "x".to_owned(), start_time: 5 };
    let whats = [
        Happening::Started { process: ProcessId { pid, start_time: 5 }, used: 2 },
        Happening::Exited {
            exit,
            clean: false,
            next: Lifecycle::Restarting,
            survivors: vec![],
            left: vec![gone],
        },
        Happening::Outcome(outcome(rng)),
        Happening::Held(Hold {
            lifecycle: Lifecycle::Quarantined,
            reason: "x".to_owned(),
            requested_by: "p".to_owned(),
            crash_loop: true,
        }),
        Happening::Note { text: "n".to_owned() },
    ];
    let at = Wall::from_unix_ms(1_795_305_600_123);
    let event = |(number, what)| Event { number, at, life: None, what };
    let events = (1..).zip(whats).map(event).collect();
    up(&FromSidecar::Events { spool: SpoolId::random(rng), events });
}

#[test]
fn what_goes_down_comes_back() {
    let rng = &mut fastrand::Rng::with_seed(2);
    let mut policy = Policy::default();
    policy.act.insert(Cause::BusySilent, Act::Restart);
    policy.task_timeout = Some(Duration::from_secs(9));
    policy.limits.looping.exempt.push("poll".to_owned());
    policy.limits.memory.limit = Some(1 << 30);
    policy.limits.quiet_hours = vec![QuietHours::parse("22:00-06:00 UTC").expect("hours")];
    for due in [Due::Every(Duration::from_secs(60)), Due::Cron("0 3 * * * UTC".to_owned())] {
        let name = due.to_string();
        policy.limits.check.insert(name, Expected { due, grace: Duration::from_secs(5) });
    }
    down(&ToSidecar::Welcome(Box::new(Welcome {
        session: 1,
        store: StoreId::random(rng),
        epoch: 2,
        interval: Duration::from_secs(5),
        policy: policy.clone(),
        acked: 3,
        degraded: String::new(),
        pending: Vec::new(),
        policy_mark: 77,
        spool: None,
    })));
    down(&ToSidecar::Policy { policy: Box::new(policy), mark: 78 });
    down(&ToSidecar::Ack { spool: SpoolId::random(rng), number: 3 });
    let retry_after = Duration::from_secs(1);
    down(&ToSidecar::GoAway { reason: "drain".to_owned(), retry_after });
    let preconditions = [
        Precondition::LifeOnly,
        Precondition::Silent { beats: 3, quiet: Duration::from_secs(3) },
        Precondition::NoBeat { beats: 3 },
        Precondition::Frozen { progress: 3, quiet: Duration::from_secs(3) },
        Precondition::SameLease { number: 3 },
        Precondition::StillFailed { check: "db".to_owned() },
        Precondition::StillPaused,
        Precondition::StillInactive { quiet: Duration::from_secs(3) },
        Precondition::StillOverdue { over: Duration::from_secs(3) },
        Precondition::StillSpent,
    ];
    for precondition in preconditions {
        down(&ToSidecar::Command(Box::new(Command {
            id: CommandId::random(rng),
            kind: CommandKind::Restart,
            life: Some(LifeId::random(rng)),
            store: StoreId::random(rng),
            epoch: 2,
            precondition,
            report: 7,
            ttl: Duration::from_secs(30),
            age: Duration::from_millis(3),
            requested_by: Requester::Engine(Cause::Silent),
            reason: "why".to_owned(),
            dry_run: true,
            agent: "a1".parse().expect("an id"),
        })));
    }
}

#[test]
fn what_is_missing_is_named() {
    let rng = &mut fastrand::Rng::with_seed(3);
    let wire = pb::Report::from(report(rng));
    let no_ages = pb::Report { ages: None, ..wire.clone() };
    assert_eq!(Report::try_from(no_ages), Err(Invalid::missing("report.ages")));
    let unsaid = pb::Report { lifecycle: 0, ..wire.clone() };
    assert_eq!(Report::try_from(unsaid).map_err(|e| e.field), Err("report.lifecycle"));
    let short = pb::Report { life: Some(pb::Life { id: vec![1], ordinal: 1 }), ..wire };
    assert_eq!(Report::try_from(short).map_err(|e| e.field), Err("life.id"));
    let error = pb::Policy { mode: 0, ..Policy::default().into() };
    assert_eq!(Policy::try_from(error).map_err(|e| e.field), Err("policy.mode"));
}

/// A number that no enum has.
const NEWER: i32 = 99;

#[test]
fn a_word_of_a_newer_peer_is_carried_and_ends_nothing() {
    let rng = &mut fastrand::Rng::with_seed(4);
    let wire = pb::Report { lifecycle: NEWER, ..report(rng).into() };
    let mut ages = wire.ages.clone().expect("ages");
    (ages.phase, ages.activity_kind) = (NEWER, NEWER);
    let heard = Report::try_from(pb::Report { ages: Some(ages), ..wire }).expect("a report");
    assert_eq!((heard.lifecycle, heard.ages.phase), (Lifecycle::Other, Some(Phase::Other)));
    let activity = heard.ages.activity.expect("activity").kind;
    assert_eq!(activity, ActivityKind::Other);
    // It goes on to whoever asks, and comes back as what it is.
    let again = Report::try_from(pb::Report::from(heard.clone()));
    assert_eq!(again, Ok(heard));
    up(&FromSidecar::Other);
    down(&ToSidecar::Other);
    let other = Event { number: 1, at: Wall(0), life: None, what: Happening::Other };
    up(&FromSidecar::Events { spool: SpoolId::random(rng), events: vec![other] });
    let wire = pb::Outcome { kind: NEWER, previous: NEWER, ..outcome(rng).into() };
    let heard = Outcome::try_from(wire).expect("an outcome");
    assert_eq!((heard.ending, heard.previous), (Ending::Other, Lifecycle::Other));
    let wire = pb::Outcome { refusal: NEWER, ..outcome(rng).into() };
    let heard = Outcome::try_from(wire).expect("an outcome");
    assert_eq!(heard.ending, Ending::Refused(Refusal::Other));
}

#[test]
fn what_a_policy_says_in_words_that_are_not_known_is_the_mildest() {
    let mut wire = pb::Policy::from(Policy::default());
    (wire.mode, wire.expect_beats) = (NEWER, NEWER);
    let known = wire.acts.len();
    wire.acts.push(pb::CauseAct { cause: NEWER, act: pb::Act::Restart.into() });
    wire.acts.push(pb::CauseAct { cause: pb::Cause::Silent.into(), act: NEWER });
    wire.phases.push(pb::PhaseDeadline { phase: NEWER, deadline_ms: Some(5) });
    let restart = wire.restart.as_mut().expect("restarts");
    (restart.on, restart.exhausted, restart.unknown_exit) = (NEWER, NEWER, NEWER);
    let limits = wire.limits.as_mut().expect("limits");
    limits.checks.push(pb::ExpectedCheck { name: "c".to_owned(), grace_ms: 1, due: None });
    let policy = Policy::try_from(wire).expect("a policy");
    assert_eq!((policy.mode, policy.expect_beats), (Mode::Observe, ExpectBeats::Auto));
    assert_eq!(policy.act.len(), known + 1);
    assert_eq!(policy.act(Cause::Silent), Act::Notify);
    assert_eq!(policy.phase, Policy::default().phase);
    assert!(policy.limits.check.is_empty());
    let restart = policy.restart;
    assert_eq!((restart.on, restart.exhausted), (RestartOn::Failure, Exhausted::Quarantine));
    assert_eq!(restart.unknown_exit, UnknownExit::Failure);
}

#[test]
fn a_command_that_is_not_known_comes_through_to_be_refused() {
    let rng = &mut fastrand::Rng::with_seed(5);
    let command = Command {
        id: CommandId::random(rng),
        kind: CommandKind::Restart,
        life: None,
        store: StoreId::random(rng),
        epoch: 2,
        precondition: Precondition::LifeOnly,
        report: 7,
        ttl: Duration::from_secs(30),
        age: Duration::ZERO,
        requested_by: Requester::Engine(Cause::Silent),
        reason: "why".to_owned(),
        dry_run: false,
        agent: "a1".parse().expect("an id"),
    };
    let wire = pb::Command { kind: NEWER, cause: Some(NEWER), ..command.clone().into() };
    let heard = Command::try_from(wire).expect("a command");
    assert_eq!(heard.kind, CommandKind::Other);
    assert_eq!(heard.requested_by, Requester::Engine(Cause::Other));
    let precondition = Some(pb::Precondition { of: None });
    let heard = Command::try_from(pb::Command { precondition, ..command.into() });
    assert_eq!(heard.expect("a command").precondition, Precondition::Other);
}
