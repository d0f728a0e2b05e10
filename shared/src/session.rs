//! What travels on the stream between a sidecar and a collector. The contract stands on the
//! service in `proto/lubdub/v1/session.proto`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::beat::{Evidence, Exit, Report};
use crate::command::{Command, Outcome, Survivor};
use crate::id::{AgentId, CommandId, InstanceId, Life, ProcessId, SpoolId, StoreId};
use crate::policy::Policy;
use crate::status::{Lifecycle, words};
use crate::time::Wall;

/// Most events that one batch carries: bursts of small frames kill HTTP/2 connections.
pub const EVENT_BATCH_MAX: usize = 256;

/// Largest message that a collector accepts from a sidecar, bytes.
pub const UP_LEN_MAX: usize = 256 * 1024;

/// Largest message that a sidecar or the command line accepts from a collector, bytes.
pub const DOWN_LEN_MAX: usize = 4 * 1024 * 1024;

/// First message of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Whose stream it is.
    pub agent: AgentId,
    /// Which sidecar process.
    pub instance: InstanceId,
    /// Version of the sidecar.
    pub version: String,
    /// Host name.
    pub host: String,
    /// For `[[assign]]` and for people.
    pub labels: BTreeMap<String, String>,
    /// Which spool its events are numbered in.
    pub spool: SpoolId,
    /// Newest event; 0 when there is none.
    pub last_event: u64,
    /// What the sidecar holds now.
    pub report: Report,
    /// Highest epoch seen of each store.
    pub epochs: BTreeMap<StoreId, u64>,
    /// Evidence that earlier lives showed.
    pub shown: Evidence,
    /// Held down; `None` while it is not.
    pub held: Option<Hold>,
    /// The sidecar's wall clock when it said this; `None` from an older one.
    #[serde(default)]
    pub at: Option<Wall>,
}

/// Answer to [`Hello`].
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// Of this stream.
    pub session: u64,
    /// The collector's store.
    pub store: StoreId,
    /// Grows at each start of the collector.
    pub epoch: u64,
    /// Between reports when nothing happens.
    pub interval: Duration,
    /// For this agent.
    pub policy: Policy,
    /// Events up to this number are durable already.
    pub acked: u64,
    /// Why this collector does not act by itself now; empty when it does.
    pub degraded: String,
    /// Commands that waited for this sidecar: they come before a first start.
    pub pending: Vec<Command>,
    /// Mark of the policy, which reports made under it repeat.
    pub policy_mark: u64,
    /// What is known of the spool that Hello named; `None` from an older collector.
    pub spool: Option<SpoolSeen>,
}

/// What a collector has heard of a spool, on whatever stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolSeen {
    /// The newest event that was heard; 0: none.
    pub newest: u64,
    /// It is another agent's.
    pub foreign: bool,
    /// Events that were acked and are lost.
    pub lost: Vec<RangeInclusive<u64>>,
}

/// Stretches of lost events that one Welcome names.
pub const LOST_MAX: usize = 64;

words! {
    /// Why a sidecar leaves.
    open GoodbyeReason {
        /// The agent ended by itself.
        AgentEnded = "agent_ended",
        /// The sidecar was told to end, and took the agent along.
        Shutdown = "shutdown",
    }
}

/// What a sidecar sends.
#[derive(Debug, Clone, PartialEq)]
pub enum FromSidecar {
    /// First.
    Hello(Box<Hello>),
    /// Soft: the newest wins.
    Report(Arc<Report>),
    /// Hard: numbered, kept until acked.
    Events {
        /// Which spool.
        spool: SpoolId,
        /// In order, without gaps.
        events: Vec<Event>,
    },
    /// Last.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// When it means to be back.
        back_within: Option<Duration>,
    },
    /// What a newer sidecar says, and this version does not know: passed over.
    Other,
}

/// What a collector sends.
#[derive(Debug, Clone, PartialEq)]
pub enum ToSidecar {
    /// First.
    Welcome(Box<Welcome>),
    /// Events up to this number of the spool are durable.
    Ack {
        /// Which spool.
        spool: SpoolId,
        /// The newest durable one.
        number: u64,
    },
    /// Asks for an act.
    Command(Box<Command>),
    /// Another policy from now on.
    Policy {
        /// For this agent.
        policy: Box<Policy>,
        /// Which reports made under it repeat.
        mark: u64,
    },
    /// The collector leaves.
    GoAway {
        /// Why.
        reason: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// What a newer collector says, and this version does not know: passed over.
    Other,
}

/// Held down: how, why and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Stopped, quarantined or terminated.
    pub lifecycle: Lifecycle,
    /// Why.
    pub reason: String,
    /// A person's name, the engine with its cause, or the schedule.
    pub requested_by: String,
    /// The schedule was spent on failed exits.
    pub crash_loop: bool,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}: {}", self.lifecycle, self.requested_by, self.reason)
    }
}

/// One hard fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// From 1, within the spool.
    pub number: u64,
    /// The sidecar's wall clock.
    pub at: Wall,
    /// The life it belongs to.
    pub life: Option<Life>,
    /// What happened.
    pub what: Happening,
}

words! {
    /// What is recorded of a fleet.
    open EventKind {
        /// A life began.
        Started = "started",
        /// A life ended.
        Exited = "exited",
        /// A sidecar's answer to a command.
        Outcome = "outcome",
        /// An agent is held down.
        Held = "held",
        /// One line of a daemon's.
        Note = "note",
        /// A sidecar gathered what it could of an agent in trouble.
        Evidence = "evidence",
        /// A status or a lifecycle changed.
        Status = "status",
        /// A command was decided on, or asked for.
        Command = "command",
        /// How a command ended.
        Answer = "answer",
    }
}

/// Compressed bytes of a bundle that one event carries at most: a batch must fit a message.
pub const BUNDLE_LEN_MAX: usize = 128 * 1024;

/// A bundle of evidence: compressed JSON, kept on the agent's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Its name, unique on its host.
    pub id: String,
    /// What it was gathered for.
    pub reason: String,
    /// Where it lies on the agent's host.
    pub path: String,
    /// Its size there.
    pub bytes: u64,
    /// The command that it was gathered for; `None`: none asked for it, or its sidecar is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// The file itself, where the policy says that it is sent and it is not too large.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "as_base64")]
    pub sent: Vec<u8>,
}

mod as_base64 {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// What a hard fact says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A life began.
    Started {
        /// The main process.
        process: ProcessId,
        /// Restarts used since the last refill.
        used: u32,
    },
    /// A life ended, and its tree was swept.
    Exited {
        /// How.
        exit: Exit,
        /// Asked for, or a code of success.
        clean: bool,
        /// What comes next by the sidecar's own schedule.
        next: Lifecycle,
        /// What of the tree could not be ended.
        survivors: Vec<Survivor>,
        /// Who of it still ran when the main process had ended by itself: ended with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<Survivor>,
    },
    /// A command ended.
    Outcome(Outcome),
    /// The sidecar holds the agent down.
    Held(Hold),
    /// What was gathered of an agent in trouble.
    Evidence(Bundle),
    /// Something a person should be able to read later.
    Note {
        /// One line.
        text: String,
    },
    /// What a newer sidecar tells, and this version does not know.
    Other,
}

impl Happening {
    /// Its kind, as events are listed and stored.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Started { .. } => EventKind::Started,
            Self::Exited { .. } => EventKind::Exited,
            Self::Outcome(_) => EventKind::Outcome,
            Self::Held(_) => EventKind::Held,
            Self::Evidence(_) => EventKind::Evidence,
            Self::Note { .. } => EventKind::Note,
            Self::Other => EventKind::Other,
        }
    }
}
