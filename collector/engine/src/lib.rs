//! The engine decides: reports in, verdicts, incidents and commands out.
//!
//! ```text
//!           Input                                            Effect
//!  driver  ──────▶ Fleet::apply ─▶ Agent ─▶ detect ─▶ policy ──────▶ driver
//!  trace                             │      findings   ladder, gate
//!                                    └─▶ incident
//! ```
//!
//! **Invariant:** it never acts, never waits, never reads a clock, never logs, and draws its ids
//! from the seed that it was given. Its Cargo.toml proves the half of that.
//!
//! An agent's clocks are the ages in its newest report, stamped by its sidecar. What the engine
//! times by itself is only its own business: links, commands under way, verifications, warm-up.

use std::time::Duration;

use lubdub_shared::command::{Command, CommandKind, Origin, Outcome};
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::{ActionOutcome, Cause, Incident, Transition};
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session;
use lubdub_shared::time::Wall;

pub mod agent;
mod asks;
mod deadlines;
mod detect;
pub mod explain;
mod finding;
mod flaps;
mod fleet;
mod gate;
mod incident;
mod index;
mod input;
mod policy;
mod restraint;
mod slots;
mod surroundings;
pub mod trace;
mod treatment;
pub mod words;

pub use agent::{Agent, AgentRecord, Stream, Treated, Unanswered};
pub use asks::{Asks, Deferred, InFlight, LastAct, Progress};
pub use finding::{ActiveFinding, Finding};
pub use fleet::Fleet;
pub use index::AgentIndex;
pub use input::{ActRequest, AgentInput, Detached, Input, Refused, StoredAgent};
pub use restraint::Restraint;
pub use surroundings::{Identity, Surroundings};
pub use treatment::{Treatment, Verification};

/// What a stream that is welcome begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Whose stream it is.
    pub agent: AgentIndex,
    /// Between its reports.
    pub interval: Duration,
    /// Commands that waited for it.
    pub pending: Vec<Command>,
    /// What was heard of its spool.
    pub spool: session::SpoolSeen,
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
        /// Its id.
        command: CommandId,
        /// What was asked, and by whom; `None` where that is not known any more.
        of: Option<(CommandKind, Origin)>,
        /// How.
        outcome: ActionOutcome,
        /// In words.
        detail: String,
        /// The sidecar's own answer, when there is one.
        full: Option<Box<Outcome>>,
    },
    /// Something that a person should be able to read later.
    Note(String),
    /// Another policy for its sidecar.
    Policy(VersionedPolicy),
    /// The agent is not known any more.
    Forget,
    /// A life began after another.
    Restarted {
        /// What was wrong; `None` where nothing was.
        cause: Option<Cause>,
        /// Who began it.
        origin: Origin,
    },
    /// Mode `shadow`: what would have been done.
    WouldHave {
        /// The act.
        kind: CommandKind,
        /// What it would have treated.
        cause: Cause,
        /// Why.
        reason: String,
    },
}
