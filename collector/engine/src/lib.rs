//! The engine decides: reports in, verdicts, incidents and commands out.
//!
//! ```text
//!           Event                                            Effect
//!  session ──────▶ Fleet::handle ─▶ Agent ─▶ detect ─▶ policy ──────▶ dispatch
//!  driver  ──────▶ Fleet::tick        │      findings   ladder, verify
//!                                     └─▶ incident
//! ```
//!
//! **Invariant:** it never acts, never waits, never reads a clock, never logs, and draws its ids
//! from the seed that it was given. Its Cargo.toml proves the half of that.
//!
//! An agent's clocks are the ages in its newest report, stamped by its sidecar. What the engine
//! times by itself is only its own business: links, commands under way, verifications, warm-up.

use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::command::{Command, CommandKind, Outcome};
use lubdub_shared::id::{CommandId, SpoolId};
use lubdub_shared::incident::{ActionOutcome, Incident, Transition};
use lubdub_shared::policy::Policy;
use lubdub_shared::session;
use lubdub_shared::time::Wall;
use serde::{Deserialize, Serialize};

pub mod agent;
mod asks;
mod deadlines;
mod detect;
pub mod explain;
mod fleet;
mod gate;
mod incident;
mod policy;
mod restraint;
mod slots;
pub mod trace;
mod treatment;

pub use agent::{Agent, AgentRecord, Stream, Treated, Unanswered};
pub use asks::{Asks, Deferred, InFlight, LastAct, Progress};
pub use fleet::{AgentIndex, Attached, Fleet, Identity, Known, StillConnected};
pub use restraint::Restraint;
pub use treatment::{Treatment, Verification};

/// What the engine is told of one agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stream began; what its Hello said was applied by [`Fleet::attach`].
    Report(Box<lubdub_shared::beat::Report>),
    /// A hard fact of a spool, in order, once.
    Happened(SpoolId, Box<session::Event>),
    /// The stream ended.
    Detached(Detached),
    /// A person asks for an act.
    Asked(Request),
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detached {
    /// Without a word: nothing is known of the agent.
    Lost,
    /// The sidecar said goodbye.
    Goodbye {
        /// Why.
        reason: session::GoodbyeReason,
        /// When it means to be back.
        back_within: Option<Duration>,
    },
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The id that the command will carry.
    pub command: CommandId,
    /// What.
    pub kind: CommandKind,
    /// Why.
    pub reason: String,
    /// Who.
    pub requested_by: String,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// How long it may wait for a sidecar that is not there.
    pub expires: Duration,
}

/// What the engine wants done. Nothing here can fail in a way that changes a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write it down, sync, then send it to the agent's sidecar.
    Send(Box<Command>),
    /// Write it down, sync: it waits for a sidecar that is not there, until then.
    Defer(Box<Command>, Wall),
    /// The agent's status or lifecycle changed.
    Transition(Transition),
    /// The new content of an incident.
    Incident(Box<Incident>),
    /// What must be known of the agent after a restart of the collector.
    Remember(Box<AgentRecord>),
    /// A command ended: for whoever waits for it, and for the record.
    Answered {
        /// Which.
        command: CommandId,
        /// How.
        outcome: ActionOutcome,
        /// In words.
        detail: String,
        /// The sidecar's own answer, when there is one.
        full: Option<Box<Outcome>>,
    },
    /// Something that a person should be able to read later.
    Note(String),
    /// Another policy for its sidecar, and its mark.
    Policy(Arc<Policy>, u64),
    /// The agent is not known any more.
    Forget,
    /// Mode `shadow`: what would have been done.
    WouldHave {
        /// The act.
        kind: CommandKind,
        /// Why.
        reason: String,
    },
}
