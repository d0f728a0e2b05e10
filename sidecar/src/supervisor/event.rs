//! What goes into the supervisor, and what comes out.

use lubdub_shared::beat::Exit;
use lubdub_shared::command::{Command, Survivor};
use lubdub_shared::id::{CommandId, Life, ProcessId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{Happening, Hold, Welcome};

use super::{Gather, Gathered, Notice};

/// What the driver tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A collector answered, at this address.
    Welcome(Box<Welcome>, String),
    /// Another policy from now on, and its mark.
    Policy(Box<Policy>, u64),
    /// The stream ended.
    LinkLost,
    /// No address of a collector can be reached now: a first start need not wait for one.
    Unreachable,
    /// The start that was ordered has a process.
    Started(ProcessId),
    /// It has none; shells' exit code for it (126, 127) and why.
    StartFailed(u8, String),
    /// Another process of the tree is the main process from now on.
    MainMoved(ProcessId),
    /// The main process ended, and who of its tree still runs.
    MainExited(Exit, Vec<Survivor>),
    /// The launcher ended well and left nobody who could be the main process; why.
    NobodyLaunched(String),
    /// Nothing of the tree is left but these.
    TreeGone(Vec<Survivor>),
    /// What was killed does not end; who is left, and in which state the first of them hangs.
    Unkillable(Vec<Survivor>, String),
    /// Evidence was gathered, or could not be. A fresh sample was taken after.
    Gathered(Box<Gathered>),
    /// The checkpoint hook ended, well or not; in words.
    Checkpointed(Result<String, String>),
    /// The collector or a person asks. A fresh sample was taken before.
    Command(Box<Command>),
    /// The intent that was to be written down is, or cannot be. A fresh sample was taken before.
    Intended(Result<(), String>),
    /// The agent took a notice, or its hook failed; in words.
    Noticed(CommandId, Result<String, String>),
    /// The sidecar itself is to end; the signal that said so.
    Shutdown(i32),
}

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start the command as this life.
    Start(Life),
    /// Tell the agent through its long poll, or the local hook.
    Tell(Notice),
    /// Take a notice away that nobody is to find any more.
    Untell(CommandId),
    /// Gather evidence. [`Event::Gathered`] follows.
    Gather(Gather),
    /// Run the checkpoint hook. [`Event::Checkpointed`] follows.
    Checkpoint,
    /// Run the local command that restarts the agent.
    RestartElsewhere,
    /// Signal the main process.
    SignalMain(i32),
    /// Signal every member of the tree.
    SignalTree(i32),
    /// Kill every member until none is left.
    KillTree,
    /// A hard fact for the collector.
    Emit(Option<Life>, Happening),
    /// Send a report now.
    Report,
    /// Write what must survive a crash.
    Persist,
    /// Tell when what was to be persisted so far is on disk: [`Event::Intended`].
    Intend,
    /// Write `tombstone.json`, or take it away.
    Tombstone(Option<Hold>),
    /// The sidecar ends with this code.
    End(u8),
}
