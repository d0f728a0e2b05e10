//! PURE: commands, and the sidecar's last word on them.
//!
//! In order: a repeated command is answered, not repeated; then epoch, age, life, lifecycle,
//! schedule, and last the precondition against the sample that was taken right before.

use std::time::Duration;

use lubdub_shared::command::{Command, CommandKind, Ending, Outcome, Refusal, Requester};
use lubdub_shared::schedule::Next;
use lubdub_shared::session::Happening;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, words};

use super::{Action, OUTCOMES_MAX, Pending, State, Supervisor, Then};
use crate::state::Hold;

type Refused = (Ending, String);

fn refuse<T>(refusal: Refusal, why: impl Into<String>) -> Result<T, Refused> {
    Err((Ending::Refused(refusal), why.into()))
}

impl Supervisor {
    pub(super) fn command(&mut self, command: Command, now: Mono, out: &mut Vec<Action>) {
        if let Some(before) = self.outcomes.iter().find(|known| known.command == command.id) {
            let again = Happening::Outcome(before.clone());
            return out.push(Action::Emit(self.memory.life, again));
        }
        if self.pending.as_ref().is_some_and(|pending| pending.outcome.command == command.id) {
            return;
        }
        let mut outcome = Outcome {
            command: command.id,
            ending: Ending::Done,
            detail: String::new(),
            previous: self.lifecycle(),
            task_cancelled: false,
            survivors: Vec::new(),
            to: None,
        };
        let checked = self.check(&command, now).and_then(|()| self.plan(&command));
        match checked {
            Err((ending, why)) => {
                outcome.ending = ending;
                outcome.detail = why;
                self.finish(outcome, out);
            }
            Ok(plan) => {
                let runs = matches!(self.state, State::Running(_));
                outcome.task_cancelled = runs && self.clocks.tasks.any_open();
                outcome.detail = format!("{} by {}", command.kind, command.requested_by);
                self.carry_out(plan, outcome, out);
            }
        }
    }

    /// What has nothing to do with where the process is.
    fn check(&self, command: &Command, now: Mono) -> Result<(), Refused> {
        match self.memory.epochs.get(&command.store) {
            Some(seen) if command.epoch >= *seen => {}
            Some(seen) => {
                let why = format!("epoch {} of the store, {seen} was seen", command.epoch);
                return refuse(Refusal::Fenced, why);
            }
            None => return refuse(Refusal::Fenced, "an unknown store"),
        }
        // What the verdict rests on is as old as the report, by this sidecar's own record.
        let sent = self.sent.iter().find(|(number, _)| *number == command.report);
        let rests_on = match (command.report, sent) {
            (0, _) => Duration::ZERO,
            (_, Some((_, at))) => now.since(*at),
            (_, None) => Duration::MAX,
        };
        let age = command.age.max(rests_on);
        if age > command.ttl {
            let why = match age {
                Duration::MAX => "it rests on a report that is long gone".to_owned(),
                age => format!("it is {} old, its ttl is {}", words(age), words(command.ttl)),
            };
            return Err((Ending::Expired, why));
        }
        let life = self.memory.life.map(|life| life.id);
        if command.kind.is_destructive() && command.life != life {
            return refuse(Refusal::WrongLife, "that life is over");
        }
        Ok(())
    }

    /// What the command does where the process is now.
    fn plan(&mut self, command: &Command) -> Result<Plan, Refused> {
        let person = matches!(command.requested_by, Requester::Person(_));
        let hold = |lifecycle| Hold {
            lifecycle,
            reason: command.reason.clone(),
            requested_by: command.requested_by.to_string(),
        };
        let down = if person { Lifecycle::Stopped } else { Lifecycle::Quarantined };
        match (&self.state, command.kind) {
            (State::Running(_), CommandKind::Restart) => {
                let after = self.afford_restart(person)?;
                self.still_true(command)?;
                Ok(Plan::Stop { then: Then::Start { after }, counts: !person })
            }
            (State::Running(_), CommandKind::Stop) => {
                self.still_true(command)?;
                let then = Then::Hold { hold: hold(down), crash_loop: false };
                Ok(Plan::Stop { then, counts: false })
            }
            (State::Running(_), CommandKind::Apoptosis) => {
                self.still_true(command)?;
                let hold = hold(Lifecycle::Terminated);
                Ok(Plan::Stop { then: Then::Hold { hold, crash_loop: false }, counts: false })
            }
            (State::Resting { .. }, CommandKind::Restart) if person => Ok(Plan::StartNow),
            (State::Resting { .. } | State::Unborn { .. }, CommandKind::Stop) => {
                Ok(Plan::Hold(hold(down)))
            }
            (State::Resting { .. } | State::Unborn { .. }, CommandKind::Apoptosis) => {
                Ok(Plan::Hold(hold(Lifecycle::Terminated)))
            }
            (State::Held(held), CommandKind::Apoptosis)
                if held.lifecycle != Lifecycle::Terminated =>
            {
                Ok(Plan::Hold(hold(Lifecycle::Terminated)))
            }
            (State::Held(held), CommandKind::Start) if held.lifecycle != Lifecycle::Terminated => {
                Ok(Plan::Resume)
            }
            (State::Held(held), CommandKind::Revive) if held.lifecycle == Lifecycle::Terminated => {
                Ok(Plan::Resume)
            }
            (State::Stopping { .. } | State::Sweeping { .. } | State::Starting { .. }, _) => {
                refuse(Refusal::Busy, format!("the agent is {}", self.lifecycle()))
            }
            (
                State::Running(_)
                | State::Resting { .. }
                | State::Unborn { .. }
                | State::Held(_)
                | State::Ended(_),
                kind,
            ) => {
                let hint = match (&self.state, kind) {
                    (State::Held(held), _) if held.lifecycle == Lifecycle::Terminated => {
                        "; revive ends that"
                    }
                    (State::Held(_), _) => "; start ends that",
                    _ => "",
                };
                let why = format!("{kind} while the agent is {}{hint}", self.lifecycle());
                refuse(Refusal::WrongState, why)
            }
        }
    }

    fn afford_restart(&mut self, person: bool) -> Result<Duration, Refused> {
        if person {
            return Ok(Duration::ZERO);
        }
        match self.memory.ledger.next(&self.policy().restart) {
            Next::After(delay) => Ok(self.spread(delay)),
            Next::Spent(why) => refuse(Refusal::OverBudget, why),
        }
    }

    fn still_true(&self, command: &Command) -> Result<(), Refused> {
        let fresh = self.clocks.ages(self.ticks, self.policy(), &self.memory.gaps);
        match command.precondition.check(&fresh) {
            Ok(()) => Ok(()),
            Err(why) => refuse(Refusal::PreconditionFailed, why),
        }
    }

    fn carry_out(&mut self, plan: Plan, outcome: Outcome, out: &mut Vec<Action>) {
        if let Some(before) = self.pending.replace(Pending { outcome }) {
            self.fail(before, "another command came before it was done", out);
        }
        match plan {
            Plan::Stop { then, counts } => {
                let State::Running(process) = self.state else { return };
                if counts {
                    self.memory.ledger.record();
                }
                let restart = &self.policy().restart;
                let (signal, kill_at) = (restart.stop_signal, self.ticks.after(restart.term_grace));
                self.state = State::Stopping { process, kill_at, then };
                out.push(Action::Persist);
                out.push(Action::SignalMain(signal));
            }
            Plan::StartNow => self.start(out),
            Plan::Hold(hold) => self.hold(hold, false, out),
            Plan::Resume => {
                // A person started it anew: the schedule begins again with it.
                self.memory.ledger.clear();
                if self.memory.hold.take().is_some_and(|h| h.lifecycle == Lifecycle::Terminated) {
                    out.push(Action::Tombstone(None));
                }
                self.start(out);
            }
        }
    }

    /// A command under way will not be done.
    pub(super) fn fail(&mut self, pending: Pending, why: &str, out: &mut Vec<Action>) {
        let detail = why.to_owned();
        self.finish(Outcome { ending: Ending::Failed, detail, ..pending.outcome }, out);
    }

    /// A command has ended: it is remembered, and the collector is told.
    pub(super) fn finish(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        if self.outcomes.len() == OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(outcome.clone());
        out.push(Action::Emit(self.memory.life, Happening::Outcome(outcome)));
        out.push(Action::Report);
    }
}

/// What is done.
enum Plan {
    Stop { then: Then, counts: bool },
    StartNow,
    Hold(Hold),
    Resume,
}
