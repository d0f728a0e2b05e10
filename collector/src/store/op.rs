//! What goes into the store, and what comes back: writes, and what is to be done once they are
//! durable.

use std::sync::mpsc;

use lubdub_engine::{AgentIndex, AgentRecord};
use lubdub_shared::cause::Cause;
use lubdub_shared::command::{Command, CommandKind};
use lubdub_shared::id::{AgentId, CommandId, SpoolId};
use lubdub_shared::incident::{ActionOutcome, Incident};
use lubdub_shared::session::Event;
use lubdub_shared::time::{Mono, Wall};
use lubdub_shared::view::TransitionView;

use super::Pushed;

/// One thing to write.
#[derive(Debug)]
pub(crate) enum Op {
    /// What must be known of an agent.
    Agent(Box<AgentRecord>),
    /// An incident, whole; of the collector itself where no agent is named.
    Incident(Option<AgentId>, Box<Incident>),
    /// Hard facts of a sidecar.
    Events {
        /// Whose.
        agent: AgentId,
        /// Their spool.
        spool: SpoolId,
        /// In order.
        events: Vec<Event>,
    },
    /// A change of status.
    Transition(TransitionView),
    /// A command, before it is sent.
    Command {
        /// Whose.
        agent: AgentId,
        /// What.
        command: Box<Command>,
        /// When it was decided.
        at: Wall,
        /// It waits for its sidecar until then, and is not sent.
        expires: Option<Wall>,
    },
    /// One line for the record; of the collector itself where no agent is named.
    Note(Option<AgentId>, String, Wall),
    /// Mode `shadow`: what would have been done.
    WouldHave {
        /// To whom.
        agent: AgentId,
        /// The act.
        kind: CommandKind,
        /// What it would have treated.
        cause: Cause,
        /// Why.
        reason: String,
        /// When.
        at: Wall,
    },
    /// The agent is not known any more.
    Forget(AgentId),
    /// The store's epoch, which only grows.
    Epoch(u64),
    /// The policy that a person pushed; `None`: the file's holds again.
    Policy(Option<Pushed>),
    /// How a command ended.
    Answer {
        /// Which.
        command: CommandId,
        /// Whose.
        agent: AgentId,
        /// How.
        outcome: ActionOutcome,
        /// In words.
        detail: String,
        /// When.
        at: Wall,
    },
}

/// What is to be done once a write is durable: nothing of it is read here.
#[derive(Debug)]
pub(crate) enum Then {
    /// Events of a stream are acked, up to this number.
    Ack {
        /// Whose stream.
        agent: AgentIndex,
        /// The stream: a later one of the same agent gets no ack of it.
        session: u64,
        /// The spool.
        spool: SpoolId,
        /// The newest.
        number: u64,
    },
    /// A command is sent; when it was decided, on the clock that its ttl is measured by.
    Send(AgentIndex, Box<Command>, Mono),
    /// Whoever waits for a command hears that it waits for its sidecar.
    Waiting(CommandId),
    /// The policies that were written first hold from now on.
    Policy,
    /// The epoch of the store is this from now on.
    Epoch(u64),
    /// The agent is forgotten, and nothing goes by its number any more.
    Forgotten(AgentIndex),
}

/// What is written as one: all of it, or none.
#[derive(Debug, Default)]
pub(crate) struct Write {
    /// In order.
    pub(crate) ops: Vec<Op>,
    /// Handed back after the commit.
    pub(crate) then: Vec<Then>,
}

/// Where writes go.
pub(crate) trait Queue: std::fmt::Debug + Send {
    /// Queues a write.
    ///
    /// # Errors
    /// The queue is full; the write is given back.
    fn queue(&self, write: Write) -> Result<(), Write>;
}

/// What the store tells the driver.
#[derive(Debug)]
pub(crate) enum FromStore {
    /// Writes are durable: what is to be done now.
    Durable(Vec<Then>),
    /// The disk takes nothing now; why. What was queued waits.
    Sick(String),
    /// It takes everything again.
    Well,
    /// The store is broken; why.
    Broken(String),
}

impl Queue for mpsc::SyncSender<Write> {
    fn queue(&self, write: Write) -> Result<(), Write> {
        self.try_send(write).map_err(|error| match error {
            mpsc::TrySendError::Full(write) | mpsc::TrySendError::Disconnected(write) => write,
        })
    }
}
