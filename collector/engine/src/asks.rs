//! Commands whose answers are waited for, besides the act of a treatment: what people asked, what
//! the agent itself was told, and acts whose life has begun before they were answered.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use lubdub_shared::command::{Command, CommandKind, Origin, Requester};
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::{ActionOutcome, Cause};
use lubdub_shared::time::{Mono, Now, Wall};

/// Answers that are remembered, so that one that is told again is not told to people again.
const ANSWERED_MAX: usize = 16;

/// Time for an answer beyond what the act itself takes.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_secs(15);

/// What is said of a command that was sent.
pub(crate) const NO_ANSWER: &str = "the sidecar did not answer in time";

/// What a command asks, and whose will it is.
pub(crate) fn asked_by(command: &Command) -> (CommandKind, Origin) {
    (command.kind, command.requested_by.origin())
}

/// A command that was sent and not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The command.
    pub command: Box<Command>,
    /// When it was decided.
    pub decided: Now,
    /// When nobody waits for its answer any more.
    pub due: Mono,
    /// Until when it may be delivered again, where its sidecar never got it.
    pub deliver_until: Option<Mono>,
}

impl InFlight {
    /// The cause that it treats; `None` when a person asked.
    pub fn cause(&self) -> Option<Cause> {
        match self.command.requested_by {
            Requester::Engine(cause) => Some(cause),
            Requester::Person(_) => None,
        }
    }

    /// It changes what the process does, so that nothing else may begin beside it.
    pub fn is_act(&self) -> bool {
        !self.command.dry_run && !self.command.kind.is_gentle()
    }
}

/// A command that waits for a sidecar that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// The command.
    pub command: Box<Command>,
    /// When nobody waits for that any more.
    pub until: Mono,
}

/// How far the newest command got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits for its sidecar.
    Deferred,
    /// It was sent.
    Sent,
    /// It was answered; `deferred`: it had waited for its sidecar before that.
    Ended {
        /// How it ended.
        outcome: ActionOutcome,
        /// It had waited for its sidecar.
        deferred: bool,
    },
}

/// The newest command that an agent was sent, for people to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAct {
    /// When it was asked for, or answered.
    pub at: Wall,
    /// Its id.
    pub command: CommandId,
    /// What it asks for.
    pub kind: CommandKind,
    /// Who asked.
    pub by: Requester,
    /// Why.
    pub reason: String,
    /// How far it got.
    pub progress: Progress,
}

impl fmt::Display for LastAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.kind, self.by, self.reason)?;
        match self.progress {
            Progress::Sent => Ok(()),
            Progress::Deferred => f.write_str("; pending"),
            Progress::Ended { outcome, deferred: true } => write!(f, "; pending; {outcome}"),
            Progress::Ended { outcome, deferred: false } => write!(f, "; {outcome}"),
        }
    }
}

/// What is asked of an agent's sidecar.
#[derive(Debug, Clone, Default)]
pub struct Asks {
    /// Sent, and not answered; oldest first.
    pub(crate) sent: Vec<InFlight>,
    /// Waits for the sidecar.
    pub(crate) deferred: Option<Deferred>,
    /// Answered last: the same answers may come again.
    answered: VecDeque<CommandId>,
    /// For people.
    pub last: Option<LastAct>,
}

impl Asks {
    /// The newest command that changes what the process does.
    pub fn act(&self) -> Option<&InFlight> {
        self.sent.iter().rev().find(|sent| sent.is_act())
    }

    /// The command was asked for, and is not answered yet.
    pub(crate) fn holds(&self, command: CommandId) -> bool {
        let deferred = self.deferred.iter().map(|deferred| &deferred.command);
        let sent = self.sent.iter().map(|sent| &sent.command);
        deferred.chain(sent).any(|known| known.id == command)
    }

    /// Takes a command that was answered.
    pub(crate) fn take(&mut self, command: CommandId) -> Option<InFlight> {
        let at = self.sent.iter().position(|sent| sent.command.id == command)?;
        Some(self.sent.remove(at))
    }

    /// Takes the commands that nobody waits for any more.
    pub(crate) fn take_overdue(&mut self, now: Mono) -> Vec<InFlight> {
        self.sent.extract_if(.., |sent| sent.due <= now).collect()
    }

    /// The command was answered lately.
    pub(crate) fn was_answered(&self, command: CommandId) -> bool {
        self.answered.contains(&command)
    }

    /// Remembers an answer.
    pub(crate) fn note_answer(&mut self, command: CommandId, outcome: ActionOutcome, at: Wall) {
        if self.answered.len() == ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back(command);
        if let Some(last) = self.last.as_mut().filter(|last| last.command == command) {
            let deferred = match last.progress {
                Progress::Sent => false,
                Progress::Deferred => true,
                Progress::Ended { deferred, .. } => deferred,
            };
            (last.at, last.progress) = (at, Progress::Ended { outcome, deferred });
        }
    }

    /// Remembers the newest command, for people.
    pub(crate) fn note(&mut self, command: &Command, progress: Progress, at: Wall) {
        if command.dry_run {
            return;
        }
        self.last = Some(LastAct {
            at,
            command: command.id,
            kind: command.kind,
            by: command.requested_by.clone(),
            reason: command.reason.clone(),
            progress,
        });
    }

    /// When the next command is given up.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        let sent = self.sent.iter().map(|sent| sent.due);
        sent.chain(self.deferred.as_ref().map(|deferred| deferred.until)).min()
    }
}
