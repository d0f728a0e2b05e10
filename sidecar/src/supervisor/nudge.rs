//! PURE: what the agent itself is told: a nudge, and that it will be stopped.
//!
//! A nudge is done when somebody took it: the agent's long poll acknowledged it, or the local hook
//! ended well. It never signals anything.

use std::time::Duration;

use lubdub_shared::command::{Command, CommandKind, Ending, Outcome, Requester};
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::Cause;
use lubdub_shared::time::Mono;

use super::{Action, State, Supervisor};

/// How long a nudge waits for somebody to take it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the agent is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Of the command that it comes from; its own where there is none.
    pub id: CommandId,
    /// A nudge, or how it will be ended.
    pub kind: CommandKind,
    /// What was found, where the engine asked.
    pub cause: Option<Cause>,
    /// Why, in words.
    pub reason: String,
    /// Until it is killed; `None` for a nudge.
    pub grace: Option<Duration>,
}

/// A nudge under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Nudging {
    outcome: Outcome,
    until: Mono,
}

impl Supervisor {
    /// Whether anybody takes nudges now.
    pub fn set_listens(&mut self, listens: bool) {
        self.listens = listens;
    }

    /// This command waits to be taken.
    pub(super) fn is_nudging(&self, command: CommandId) -> bool {
        self.nudging.as_ref().is_some_and(|nudging| nudging.outcome.command == command)
    }

    /// Passes a nudge on. A second one, while one waits, is refused where it is planned.
    pub(super) fn nudge(&mut self, command: &Command, outcome: Outcome, out: &mut Vec<Action>) {
        self.nudging = Some(Nudging { outcome, until: self.ticks.after(PATIENCE) });
        let (id, reason) = (command.id, command.reason.clone());
        let cause = match command.requested_by {
            Requester::Engine(cause) => Some(cause),
            Requester::Person(_) => None,
        };
        let notice = Notice { id, kind: CommandKind::Nudge, cause, reason, grace: None };
        out.push(Action::Tell(notice));
    }

    /// A cooperative agent hears why it is stopped, and how long it has.
    pub(super) fn tell_of_the_end(
        &mut self,
        kind: CommandKind,
        reason: String,
        out: &mut Vec<Action>,
    ) {
        if !self.listens || !matches!(self.state, State::Running(_)) {
            return;
        }
        let grace = Some(self.policy().restart.term_grace);
        let id = CommandId::random(&mut self.rng);
        out.push(Action::Tell(Notice { id, kind, cause: None, reason, grace }));
    }

    /// Somebody took it, or could not.
    pub(super) fn noticed(
        &mut self,
        command: CommandId,
        taken: Result<String, String>,
        out: &mut Vec<Action>,
    ) {
        let ours = |nudging: &mut Nudging| nudging.outcome.command == command;
        let Some(nudging) = self.nudging.take_if(ours) else { return };
        // Whoever took it, nobody else is to.
        out.push(Action::Untell(command));
        let (ending, detail) = match taken {
            Ok(how) => (Ending::Done, how),
            Err(why) => (Ending::Failed, why),
        };
        self.finish(Outcome { ending, detail, ..nudging.outcome }, out);
    }

    /// Nobody took it in time, or the life that it was meant for is over.
    pub(super) fn expire_nudge(&mut self, out: &mut Vec<Action>) {
        let runs = matches!(self.state, State::Running(_));
        let ticks = self.ticks;
        if self.nudging.as_ref().is_some_and(|nudging| !runs || ticks >= nudging.until) {
            let over = "the life that it was for is over";
            self.end_nudge(if runs { "nobody took it in 30s" } else { over }, out);
        }
    }

    /// Nobody will take it any more.
    pub(super) fn end_nudge(&mut self, why: &str, out: &mut Vec<Action>) {
        let Some(nudging) = self.nudging.take() else { return };
        out.push(Action::Untell(nudging.outcome.command));
        let (ending, detail) = (Ending::Failed, why.to_owned());
        self.finish(Outcome { ending, detail, ..nudging.outcome }, out);
    }
}
