//! Record and replay: every input of the engine as one line of JSON, and the same engine on such
//! lines in virtual time.
//!
//! # The format, version 1
//!
//! Newline-delimited JSON. The first line of each file is a header, each further one an input:
//!
//! ```text
//! {"trace":1,"version":"0.1.0","wall":1795305600000000000,"identity":{…}}
//! {"m":61000000000,"w":1795305661000000000,"a":"agent","in":{"report":{…}}}
//! ```
//!
//! `m` is the collector's monotonic clock and `w` the wall clock, both in nanoseconds; `a` is the
//! agent, absent where an input concerns the collector; `in` is one [`Input`], by name. A file
//! begins with one `standing` line for each agent that is known then, so that each file can be
//! replayed alone. Lines that could not be recorded are counted by a `dropped` line.
//!
//! # What a replay is
//!
//! The engine that judges live, with two differences. Nobody is acted on: each act is told as what
//! it would have been, once for a cause and a life, because the recorded agent goes on as it did.
//! And where another policy is given than the one of the recording, what followed from that
//! (deadlines, windows) is put anew from what was measured; checks, exempt tools and quiet hours
//! are those of the recording, for they decided what was measured at all.

use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::id::{AgentId, InstanceId, SpoolId, StoreId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{Event as HardFact, Hello};
use serde::{Deserialize, Serialize};

use crate::{Agent, AgentRecord, Detached, Identity, Request};

mod replay;

pub use replay::{Assign, Change, OutOfTime, Replay, Told, WouldAct};

/// The version that is written, and read.
pub const VERSION: u32 = 1;

/// First line of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub trace: u32,
    /// Of the collector that recorded it.
    pub version: String,
    /// When the file was begun, nanoseconds since 1970.
    pub wall: i64,
    /// Whose inputs these are.
    pub identity: IdentityJson,
}

/// [`Identity`] as it is written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct IdentityJson {
    /// The store.
    pub store: StoreId,
    /// Its epoch.
    pub epoch: u64,
    /// Between reports, as long as the fleet is small.
    pub interval: Duration,
    /// What the collector took.
    pub reports_per_second: u32,
}

impl From<Identity> for IdentityJson {
    fn from(identity: Identity) -> Self {
        let Identity { store, epoch, interval, reports_per_second } = identity;
        Self { store, epoch, interval, reports_per_second }
    }
}

impl From<IdentityJson> for Identity {
    fn from(identity: IdentityJson) -> Self {
        let IdentityJson { store, epoch, interval, reports_per_second } = identity;
        Self { store, epoch, interval, reports_per_second }
    }
}

/// One input with its moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Monotonic, nanoseconds.
    pub m: u64,
    /// Wall clock, nanoseconds since 1970.
    pub w: i64,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<AgentId>,
    /// What.
    #[serde(rename = "in")]
    pub input: Input,
}

/// An input of the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// An agent that was known when the file was begun.
    Standing(Box<Standing>),
    /// A stream began, under this policy.
    Hello(u64, Box<Hello>, Box<Policy>),
    /// A report.
    Report(Box<Report>),
    /// A hard fact.
    Happened(SpoolId, Box<HardFact>),
    /// A stream ended.
    Detached(Detached),
    /// A person asked.
    Asked(Box<Request>),
    /// An agent was forgotten.
    Forgotten,
    /// Another policy.
    Policy(Box<Policy>),
    /// The right to act was withheld (why), or given back.
    Authority(Option<String>),
    /// So many inputs before this line were not recorded.
    Dropped(u64),
}

/// An agent as it stood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    /// What a store would know of it.
    pub record: AgentRecord,
    /// Its policy.
    pub policy: Policy,
    /// Its stream and sidecar, while connected.
    pub link: Option<(u64, InstanceId)>,
    /// Its newest report.
    pub report: Option<Report>,
}

impl Standing {
    /// An agent as it stands now.
    pub fn of(agent: &Agent) -> Self {
        let link = match agent.link.stream {
            crate::Stream::Up { session, instance } => Some((session, instance)),
            crate::Stream::Lost | crate::Stream::Left { .. } => None,
        };
        Self {
            record: agent.record(),
            policy: (*agent.who.policy).clone(),
            link,
            report: agent.seen.report.as_deref().cloned(),
        }
    }
}
