//! Everything that may happen to a fleet. A recording is a list of these.

use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::command::CommandKind;
use lubdub_shared::id::{CommandId, SpoolId};
use lubdub_shared::incident::Incident;
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::{self, Event, Hello};
use serde::{Deserialize, Serialize};

use crate::agent::{AgentRecord, Unanswered};
use crate::index::AgentIndex;

/// One thing that happens to a fleet.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A stream begins. Only this names an agent by its id.
    Hello {
        /// Number of the stream.
        session: u64,
        /// What the sidecar says.
        hello: Box<Hello>,
        /// What holds for such an agent.
        policy: VersionedPolicy,
    },
    /// Something happens to one agent.
    Agent(AgentIndex, AgentInput),
    /// An agent that a store knows, after a start of the collector.
    Restored(Box<StoredAgent>),
    /// The right to act is withheld (why), or given back.
    Authority(Option<String>),
    /// The store's epoch has been raised: it was restored from a backup.
    Epoch(u64),
    /// That an agent was forgotten is on disk, and so is whatever still went by its number: that
    /// may be given to another.
    Released(AgentIndex),
    /// Time has passed. Must come at [`crate::Fleet::next_deadline`].
    Tick,
}

/// One thing that happens to one agent.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentInput {
    /// Its sidecar reports.
    Report(Arc<Report>),
    /// A hard fact of a spool, in order, once.
    Event(SpoolId, Box<Event>),
    /// Its stream ended.
    Detached(Detached),
    /// A person asks for an act.
    Asked(ActRequest),
    /// Another policy from now on. Its clocks begin anew at its sidecar, and nothing is concluded
    /// until a report comes that was made under it.
    Policy(VersionedPolicy),
    /// A person takes it out of sight.
    Forgotten,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detached {
    /// Without a word: nothing is known of the agent.
    Lost,
    /// The sidecar said goodbye.
    Goodbye {
        /// The reason it gave.
        reason: session::GoodbyeReason,
        /// When it means to be back.
        back_within: Option<Duration>,
    },
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActRequest {
    /// The id that the command will carry.
    pub command: CommandId,
    /// The act.
    pub kind: CommandKind,
    /// The reason that is recorded.
    pub reason: String,
    /// The person's name.
    pub requested_by: String,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// How long it may wait for a sidecar that is not there.
    pub expires: Duration,
}

/// What a store knows of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAgent {
    /// The agent itself.
    pub record: AgentRecord,
    /// As its labels resolve now.
    pub policy: VersionedPolicy,
    /// Open incidents, and those resolved last.
    pub incidents: Vec<Incident>,
    /// Commands without an answer, oldest first.
    pub unanswered: Vec<Unanswered>,
}

/// Why an input was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another sidecar instance is heard for the agent of this Hello.
    OtherInstance,
    /// The sidecar has seen this epoch of the store, which is higher than the engine's own.
    Behind {
        /// The highest that was seen.
        seen: u64,
    },
    /// The agent is connected: it would be back with its next report.
    StillConnected,
}
