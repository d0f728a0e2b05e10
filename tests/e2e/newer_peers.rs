//! Today's daemons beside peers of a newer version, whose protocol has a word, a kind and a field
//! more everywhere: the protos are generated from those of this tree.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use harness::{NewerProtocol, RawCollector, World, binary, eventually, sample};
use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::command::{Command, CommandKind, Ending, Outcome, Precondition, Requester};
use lubdub_shared::id::{CommandId, Life, LifeId, ProcessId, StoreId};
use lubdub_shared::incident::Cause;
use lubdub_shared::pb;
use lubdub_shared::policy::{Act, Policy};
use lubdub_shared::session::{
    Event, FromSidecar, GoodbyeReason, Happening, Hello, Hold, ToSidecar, Welcome,
};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Wall;

const UP: &str = "lubdub.v1.FromSidecar";
const DOWN: &str = "lubdub.v1.ToSidecar";
const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_newer_sidecar_is_served() {
    let world = World::new("");
    let newer = NewerProtocol::generate();
    let rng = &mut fastrand::Rng::with_seed(1);
    let (hello, life) = sample::hello(0, rng);
    let hello = Hello { agent: "n1".parse().expect("an id"), ..hello };
    let spool = hello.spool;
    let stream = harness::RawStream::attach(world.grpc());
    let say = |message: FromSidecar| {
        stream.say(newer.say(UP, &pb::FromSidecar::from(message), |_| true));
    };
    say(FromSidecar::Hello(Box::new(hello)));
    stream.hear("Welcome", |down: pb::ToSidecar| match down.message {
        Some(pb::to_sidecar::Message::Welcome(_)) => Some(()),
        _ => None,
    });
    stream.say(newer.unknown(UP));
    for number in 2..5 {
        say(FromSidecar::Report(Arc::new(sample::report(life, number))));
    }
    let event = |(number, what)| Event { number, at: Wall(0), life: Some(life), what };
    let events: Vec<Event> = (1..).zip(whats(rng)).map(event).collect();
    say(FromSidecar::Events { spool, events: events.clone() });
    let note = Event { number: 6, ..events[3].clone() };
    let batch = pb::EventBatch { spool: spool.as_bytes().to_vec(), events: vec![note.into()] };
    stream.say(newer.unknown_event(&batch, 0));
    stream.hear("an ack of all", |down: pb::ToSidecar| match down.message {
        Some(pb::to_sidecar::Message::Ack(ack)) if ack.number == 6 => Some(()),
        _ => None,
    });
    // It is shown, as what it is.
    eventually("a phase and a lifecycle that are not known", SOON, || {
        let agent = world.agent("n1");
        (agent["lifecycle"] == "other" && agent["link"] == "connected").then_some(())
    });
    let events = world.events(Some("n1"));
    assert!(events.iter().any(|event| event["kind"] == "other"), "{events:?}");
    for verb in [&["explain", "n1"][..], &["show", "n1"], &["incidents", "--all"], &["events"]] {
        let done = world.lubdub(verb);
        assert!(done.status.success(), "{verb:?}: {done:?}");
    }
    say(FromSidecar::Goodbye { reason: GoodbyeReason::Shutdown, back_within: None });
    eventually("a goodbye for a reason that is not known", SOON, || {
        (world.agent("n1")["link"] == "lost").then_some(())
    });
}

/// One of each kind of event.
fn whats(rng: &mut fastrand::Rng) -> [Happening; 5] {
    let pid = NonZeroU32::MIN;
    let exit = Exit::of(ExitHow::Code(0));
    [
        Happening::Started { process: ProcessId { pid, start_time: 5 }, used: 0 },
        Happening::Outcome(Outcome {
            command: CommandId::random(rng),
            ending: Ending::Done,
            detail: "d".to_owned(),
            previous: Lifecycle::Running,
            task_cancelled: false,
            survivors: Vec::new(),
            to: None,
            evidence: None,
        }),
        Happening::Held(Hold {
            lifecycle: Lifecycle::Quarantined,
            reason: "x".to_owned(),
            requested_by: "p".to_owned(),
            crash_loop: false,
        }),
        Happening::Note { text: "of a newer kind".to_owned() },
        Happening::Exited {
            exit,
            clean: true,
            next: Lifecycle::Stopped,
            survivors: vec![],
            left: vec![],
        },
    ]
}

#[test]
fn a_newer_collector_is_understood() {
    let directory = tempfile::tempdir().expect("a directory");
    let newer = NewerProtocol::generate();
    let collector = RawCollector::new();
    let mut sidecar = std::process::Command::new(binary("lubdub-sidecar"));
    sidecar
        .args(["run", "--id", "n2", "--collector", &format!("http://{}", collector.address())])
        .arg("--state-dir")
        .arg(directory.path())
        .args(["--", "sleep", "600"]);
    let _sidecar = harness::Daemon::start(directory.path(), "n2", &mut sidecar);
    let stream = collector.stream();
    let hello = stream.hear("Hello", |up: pb::FromSidecar| match up.message {
        Some(pb::from_sidecar::Message::Hello(hello)) => Some(hello),
        _ => None,
    });
    assert_eq!(hello.agent, "n2");
    let rng = &mut fastrand::Rng::with_seed(2);
    let store = StoreId::random(rng);
    let welcome = welcome(store);
    stream.say(newer.say(DOWN, &pb::ToSidecar::from(welcome), |_| true));
    stream.say(newer.unknown(DOWN));
    let life = stream.hear("a start", |up: pb::FromSidecar| match up.message {
        Some(pb::from_sidecar::Message::Events(batch)) => {
            let started = |e: &&pb::Event| matches!(e.what, Some(pb::event::What::Started(_)));
            batch.events.iter().find(started).and_then(|event| event.life.clone())
        }
        _ => None,
    });
    let life: Life = life.try_into().expect("a life");
    let mut ask = |more: &dyn Fn(&str) -> bool, of: bool| {
        let mut wire = pb::Command::from(restart(CommandId::random(rng), life.id, store));
        let id = wire.id.clone();
        if of {
            wire.precondition = Some(pb::Precondition { of: None });
        }
        let message = Some(pb::to_sidecar::Message::Command(Box::new(wire)));
        stream.say(newer.say(DOWN, &pb::ToSidecar { message }, more));
        stream.hear("an answer", |up: pb::FromSidecar| {
            let Some(pb::from_sidecar::Message::Events(batch)) = up.message else { return None };
            batch.events.into_iter().find_map(|event| match event.what {
                Some(pb::event::What::Outcome(outcome)) if outcome.command == id => {
                    Some((outcome.kind(), outcome.refusal()))
                }
                _ => None,
            })
        })
    };
    let unsupported = (pb::OutcomeKind::Refused, pb::Refusal::Unsupported);
    let kind = |name: &str| name.ends_with("Command.kind");
    assert_eq!(ask(&kind, false), unsupported, "a kind");
    assert_eq!(ask(&|_| false, true), unsupported, "a precondition");
    // A cause that is not known is no reason to refuse what is.
    let cause = |name: &str| name.ends_with("Command.cause");
    let done = ask(&cause, false);
    assert_eq!(done.0, pb::OutcomeKind::Done, "{done:?}");
}

/// Of a collector with this store.
fn welcome(store: StoreId) -> ToSidecar {
    let mut policy = Policy::default();
    policy.act.insert(Cause::Silent, Act::Restart);
    ToSidecar::Welcome(Box::new(Welcome {
        session: 1,
        store,
        epoch: 1,
        interval: Duration::from_secs(5),
        policy,
        acked: 0,
        degraded: String::new(),
        pending: Vec::new(),
        policy_mark: 7,
        spool: None,
    }))
}

/// The engine's order to restart a life, which rests on nothing but that.
fn restart(id: CommandId, life: LifeId, store: StoreId) -> Command {
    Command {
        id,
        kind: CommandKind::Restart,
        life: Some(life),
        store,
        epoch: 1,
        precondition: Precondition::LifeOnly,
        report: 0,
        ttl: Duration::from_secs(30),
        age: Duration::ZERO,
        requested_by: Requester::Engine(Cause::Silent),
        reason: "why".to_owned(),
        dry_run: false,
        agent: "n2".parse().expect("an id"),
    }
}
