//! What fuzzing feeds, one function a door: any bytes, and no panic, no message that does not fit,
//! no text that misleads. The targets of `tests/fuzz` and the test of its seeds call these.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lubdub_collector::config::Policies;
use lubdub_engine::trace::{Header, Line, Replay};
use lubdub_engine::{
    AgentIndex, AgentInput, Detached, Effect, Fleet, Identity, Input, explain, words,
};
use lubdub_shared::id::{AgentId, LifeId, ProcessId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{FromSidecar, ToSidecar, Welcome};
use lubdub_shared::text::{LEN_MAX, is_clean};
use lubdub_shared::time::{Mono, Now, Wall};
use lubdub_shared::{line, pb};
use lubdub_sidecar::supervisor::{self, Supervisor};
use prost::Message as _;

/// Takes any bytes.
pub type Feed = fn(&[u8]);

/// The doors, by the names of their targets.
pub const DOORS: [(&str, Feed); 6] = [
    ("datagram", datagram),
    ("http", http),
    ("stream", stream),
    ("policy", policy),
    ("sidecar_file", sidecar_file),
    ("trace", trace),
];

fn start() -> Now {
    let wall = Wall::parse("2026-11-22T00:00:00Z").expect("a time");
    Now { mono: Mono(3_600_000_000_000), wall }
}

fn identity() -> Identity {
    let store = StoreId::random(&mut fastrand::Rng::with_seed(1));
    Identity { store, epoch: 1, interval: Duration::from_secs(5), reports_per_second: 1000 }
}

/// Datagrams of an agent, each between two NUL bytes, and a second between them.
pub fn datagram(bytes: &[u8]) {
    let mut now = start();
    let rng = &mut fastrand::Rng::with_seed(1);
    let agent: AgentId = "fuzz".parse().expect("an id");
    let memory = lubdub_sidecar::state::Memory::empty(agent, String::new());
    let local = supervisor::Local::default();
    let mut supervisor = Supervisor::new(memory, local, 1, now.mono);
    let mut actions = Vec::new();
    let welcome = Welcome {
        session: 1,
        store: identity().store,
        epoch: 1,
        interval: Duration::from_secs(5),
        policy: Policy::default(),
        acked: 0,
        degraded: String::new(),
        pending: Vec::new(),
        policy_mark: 1,
        spool: None,
    };
    let address = "fuzz".to_owned();
    let welcome = supervisor::Event::Welcome(Box::new(welcome), address);
    supervisor.handle(welcome, now, &mut actions);
    let process = ProcessId { pid: std::num::NonZeroU32::MIN, start_time: rng.u64(..) };
    supervisor.handle(supervisor::Event::Started(process), now, &mut actions);
    for datagram in bytes.split(|byte| *byte == 0).take(64) {
        now.mono = now.mono.after(Duration::from_secs(1));
        now.wall = now.wall.after(Duration::from_secs(1));
        if let Ok(message) = line::parse(datagram) {
            supervisor.say(message, now, &mut actions);
        }
        supervisor.handle(supervisor::Event::Tick, now, &mut actions);
        // Whole milliseconds travel; what has travelled travels on unchanged.
        let report = round_trip(supervisor.report(now.mono));
        assert_eq!(round_trip(report.clone()), report, "a report survives the wire");
        drop(supervisor.heartbeat(now));
        actions.clear();
    }
}

fn round_trip(report: lubdub_shared::beat::Report) -> lubdub_shared::beat::Report {
    let message = FromSidecar::Report(Arc::new(report));
    let bytes = pb::FromSidecar::from(message).encode_to_vec();
    let message = pb::FromSidecar::decode(&bytes[..]).expect("what was encoded");
    let Ok(FromSidecar::Report(report)) = FromSidecar::try_from(message) else {
        panic!("it was a report")
    };
    Arc::unwrap_or_clone(report)
}

/// A request: a line with method and path, and what follows is its body.
pub fn http(bytes: &[u8]) {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    let Ok(head) = std::str::from_utf8(head) else { return };
    let Some((method, path)) = head.split_once(' ') else { return };
    let body = body.get(1..).unwrap_or_default().to_vec();
    let code = runtime.block_on(lubdub_sidecar::http_answer(method, path, body));
    assert_ne!(code, Some(500));
}

/// Messages of a sidecar, each with its length before it; and the same bytes as a collector's.
pub fn stream(bytes: &[u8]) {
    if let Ok(message) = pb::ToSidecar::decode(bytes)
        && let Ok(message) = ToSidecar::try_from(message)
    {
        let again = pb::ToSidecar::from(message.clone());
        assert_eq!(ToSidecar::try_from(again), Ok(message), "what came in goes out the same");
    }
    let mut now = start();
    let mut fleet = Fleet::new(identity(), 1, now.mono);
    let mut agent: Option<AgentIndex> = None;
    let mut effects = Vec::new();
    let mut rest = bytes;
    while let Ok(message) = pb::FromSidecar::decode_length_delimited(&mut rest) {
        let Ok(message) = FromSidecar::try_from(message) else { return };
        let again = pb::FromSidecar::from(message.clone());
        assert_eq!(FromSidecar::try_from(again), Ok(message.clone()));
        now.mono = now.mono.after(Duration::from_secs(1));
        now.wall = now.wall.after(Duration::from_secs(1));
        apply(&mut fleet, &mut agent, message, now, &mut effects);
        crate::fleet::apply(&mut fleet, Input::Tick, now, &mut effects);
        effects.clear();
        if let Some(index) = agent {
            let agent = fleet.agent(index);
            drop(explain::next_rung(agent, fleet.surroundings(), now));
            drop(explain::deadlines(agent));
            drop(explain::configured(agent));
            drop(explain::what_if(agent));
            drop(explain::shorter(agent));
            let mut texts =
                agent.seen.findings.iter().map(|standing| words::detail(&standing.finding));
            let unclean = texts.find(|text| !is_clean(text));
            assert_eq!(unclean, None);
            assert!(agent.who.host.len() <= LEN_MAX);
        }
        if rest.is_empty() {
            return;
        }
    }
}

fn apply(
    fleet: &mut Fleet,
    agent: &mut Option<AgentIndex>,
    message: FromSidecar,
    now: Now,
    effects: &mut Vec<(AgentIndex, Effect)>,
) {
    match (message, *agent) {
        (FromSidecar::Hello(hello), _) => {
            // The strictest policy there is: every multiple of every number is computed.
            let policy =
                Policy { failures_before_critical: std::num::NonZeroU32::MAX, ..Policy::default() };
            let policy = policy.into();
            if let Ok(admitted) = crate::fleet::attach(fleet, *hello, &policy, 1, now, effects) {
                *agent = Some(admitted.agent);
            }
        }
        (FromSidecar::Report(report), Some(index)) => {
            give(fleet, index, AgentInput::Report(report), now, effects);
        }
        (FromSidecar::Events { spool, events }, Some(index)) => {
            for event in events {
                give(fleet, index, AgentInput::Event(spool, Box::new(event)), now, effects);
            }
        }
        (FromSidecar::Goodbye { reason, back_within }, Some(index)) => {
            let how = Detached::Goodbye { reason, back_within };
            give(fleet, index, AgentInput::Detached(how), now, effects);
        }
        (_, None) | (FromSidecar::Other, _) => {}
    }
}

fn give(
    fleet: &mut Fleet,
    index: AgentIndex,
    input: AgentInput,
    now: Now,
    effects: &mut Vec<(AgentIndex, Effect)>,
) {
    crate::fleet::apply(fleet, Input::Agent(index, input), now, effects);
}

/// A policy file.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(policies) = Policies::parse("fuzz", text) else { return };
    for policy in policies.all() {
        let sent = pb::Policy::from((**policy).clone());
        let taken = Policy::try_from(sent).expect("what a file may say travels");
        let limits = |policy: &Policy| policy.restart.clone();
        assert_eq!(limits(&taken).attempts, limits(policy).attempts);
        drop(lubdub_shared::schedule::describe(&taken.restart));
        let life = lubdub_shared::id::Life {
            id: LifeId::random(&mut fastrand::Rng::with_seed(1)),
            ordinal: std::num::NonZeroU32::MIN,
        };
        let report = crate::sample::report(life, 1);
        drop(explain::says(&report, &taken, start().wall));
    }
    drop(policies.assigned());
    drop(policies.of(&"a1".parse().expect("an id"), &BTreeMap::new()));
}

/// A sidecar's file.
pub fn sidecar_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = lubdub_sidecar::config::File::parse("fuzz", text) else { return };
    let agent = "fuzz".parse().expect("an id");
    let state = std::path::Path::new("/state");
    drop(lubdub_sidecar::Config::new(agent, vec!["true".into()], state, file));
}

/// Lines of a recording.
pub fn trace(bytes: &[u8]) {
    let header = Header {
        trace: lubdub_engine::trace::VERSION,
        version: String::new(),
        wall: 0,
        identity: identity().into(),
    };
    let mut replay = Replay::new(&header, None);
    for line in bytes.split(|byte| *byte == b'\n').take(200) {
        if serde_json::from_slice::<Header>(line).is_ok() {
            replay = Replay::new(&header, None);
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        // A line out of time is refused, and nothing of it is applied.
        let (Ok(()) | Err(_)) = replay.apply(line);
    }
    drop(replay.changes());
}
