//! What the driver is told, and what it answers.

use std::time::Duration;

use lubdub_engine::AgentIndex;
use lubdub_shared::command::CommandKind;
use lubdub_shared::id::{AgentId, CommandId};
use lubdub_shared::session::{FromSidecar, Hello, ToSidecar};
use lubdub_shared::strict_toml::Refused;
use tokio::sync::{mpsc, oneshot};

use crate::config::Policies;
use crate::views::Unknown;
use crate::waiters::Acting;

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum ToDriver {
    /// A stream begins. The reply is its agent, or why it is refused.
    Hello {
        session: u64,
        hello: Box<Hello>,
        outbound: mpsc::Sender<ToSidecar>,
        reply: oneshot::Sender<Result<AgentIndex, NotAdmitted>>,
    },
    /// A message of a stream that stands.
    Message { session: u64, agent: AgentIndex, message: FromSidecar },
    /// A stream ended without a word.
    Lost { session: u64, agent: AgentIndex },
    /// An agent is to be forgotten.
    Forget { agent: AgentId, asked: Forgetting, reply: oneshot::Sender<Result<Forgot, Unknown>> },
    /// Another policy for the fleet.
    Policy { new: NewPolicy, reply: oneshot::Sender<Result<Applied, NotApplied>> },
    /// Nothing but an answer is wanted: when the driver has come to it.
    Ping { reply: oneshot::Sender<()> },
    /// A person asks for an act.
    Act { agent: AgentId, asked: Asked, reply: oneshot::Sender<Result<Acting, Unknown>> },
}

/// What a person asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) kind: CommandKind,
    pub(crate) reason: String,
    pub(crate) requested_by: String,
    pub(crate) command: Option<CommandId>,
    pub(crate) dry_run: bool,
    pub(crate) expires: Duration,
}

/// Policies that are to hold from now on.
#[derive(Debug)]
pub(crate) enum NewPolicy {
    /// Read again from the file.
    File(Policies),
    /// Pushed by a person.
    Pushed { text: String, by: String, dry_run: bool },
}

/// They hold.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Agents whose policy is another one now, or would be.
    pub(crate) changed: usize,
}

/// Why they do not.
#[derive(Debug)]
pub(crate) enum NotApplied {
    /// The text holds a mistake.
    Mistake(Refused),
    /// It could not be written down.
    Unrecorded(String),
}

/// Who wants an agent to be forgotten, and why.
#[derive(Debug)]
pub(crate) struct Forgetting {
    pub(crate) reason: String,
    pub(crate) requested_by: String,
}

pub(crate) type Forgot = Result<(), NotForgotten>;

/// Why an agent is not forgotten.
#[derive(Debug)]
pub(crate) enum NotForgotten {
    /// Its sidecar is connected.
    StillConnected,
    /// It could not be written down; why.
    Unrecorded(String),
}

/// Why a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// Another sidecar instance is heard for this agent.
    OtherInstance,
    /// The store's epoch has to be raised first.
    Behind,
    /// There are as many agents as there may be.
    Full,
}
