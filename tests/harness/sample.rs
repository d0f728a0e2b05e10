//! A healthy agent as the wire and the engine see it, for benchmarks.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use lubdub_shared::beat::{
    ActivityKind, Ages, Deadline, Evidence, Health, LastActivity, Report, Vitals,
};
use lubdub_shared::id::{InstanceId, Life, LifeId, SpoolId};
use lubdub_shared::schedule::LedgerView;
use lubdub_shared::session::{Bundle, Hello};
use lubdub_shared::status::Lifecycle;
use lubdub_sidecar::supervisor::{Gather, Gathered};

/// A report of an agent that beat a second ago.
pub fn report(life: Life, number: u64) -> Report {
    let seconds = Duration::from_secs;
    Report {
        number,
        life: Some(life),
        lifecycle: Lifecycle::Running,
        pid: Some(1),
        ages: Ages {
            up: seconds(600),
            beats: number,
            beat: Some(seconds(1)),
            silence: seconds(1),
            armed: true,
            deadline: Some(Deadline { after: seconds(180), explicit: false }),
            activity: Some(LastActivity { age: seconds(1), kind: ActivityKind::Cpu }),
            quiet: seconds(1),
            ..Ages::default()
        },
        vitals: Vitals { energy: Some(0.5), memory_bytes: Some(1 << 27), ..Vitals::default() },
        ledger: LedgerView { limit: 3, next_delay: Some(seconds(10)), ..LedgerView::default() },
        health: Health::default(),
        starts_in: None,
        policy: 0,
    }
}

/// The Hello of one of many such agents, and its life.
pub fn hello(number: usize, rng: &mut fastrand::Rng) -> (Hello, Life) {
    let life = Life { id: LifeId::random(rng), ordinal: NonZeroU32::MIN };
    let hello = Hello {
        agent: format!("agent-{number}").parse().expect("an id"),
        instance: InstanceId::random(rng),
        version: "0".to_owned(),
        host: "host".to_owned(),
        labels: BTreeMap::new(),
        spool: SpoolId::random(rng),
        last_event: 0,
        at: None,
        report: report(life, 1),
        epochs: BTreeMap::new(),
        shown: Evidence::default(),
        held: None,
    };
    (hello, life)
}

/// Evidence that was gathered at once.
pub fn gathered(order: &Gather) -> Gathered {
    let bundle = Bundle {
        id: "e".to_owned(),
        reason: order.reason.clone(),
        path: String::new(),
        bytes: 1,
        command: None,
        sent: Vec::new(),
    };
    Gathered { purpose: order.purpose, life: order.life, bundle: Ok(bundle) }
}
