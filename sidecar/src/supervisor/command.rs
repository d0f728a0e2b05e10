//! PURE: commands, and the sidecar's last word on them.
//!
//! In order: a repeated command is answered, not repeated; then agent, store, epoch, age, life,
//! lifecycle, schedule, and last the precondition against the sample that was taken right before.
//! What passes is written down as an intent; when that is on disk everything is checked once more,
//! and then it is done. An intent that a crash left behind is finished by the next sidecar.

use std::num::NonZeroU32;
use std::time::Duration;

use lubdub_shared::command::{
    Command, CommandKind, Ending, Outcome, Precondition, Refusal, Requester,
};
use lubdub_shared::id::Life;
use lubdub_shared::schedule::Next;
use lubdub_shared::session::{Happening, Hold};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, words};

use super::{Action, OUTCOMES_MAX, Purpose, State, Supervisor, Then};
use crate::state::Intent;

/// Commands that may join the one under way; as many people as ask at one time.
const JOINED_MAX: usize = 64;

type Refused = (Ending, String);

fn refuse<T>(refusal: Refusal, why: impl Into<String>) -> Result<T, Refused> {
    Err((Ending::Refused(refusal), why.into()))
}

impl Supervisor {
    pub(super) fn command(&mut self, command: Command, now: Mono, out: &mut Vec<Action>) {
        let known = self.memory.outcomes.iter().find(|known| known.command == command.id);
        if let Some(before) = known {
            let again = Happening::Outcome(before.clone());
            return out.push(Action::Emit(self.memory.life, again));
        }
        if self.memory.intent.as_ref().is_some_and(|intent| intent.command.id == command.id)
            || self.memory.joined.iter().any(|(joined, _)| *joined == command.id)
            || self.is_nudging(command.id)
            || self.capturing.as_ref().is_some_and(|asked| asked.command == command.id)
        {
            return;
        }
        if self.joins(&command, now) {
            return out.push(Action::Persist);
        }
        let mut outcome = Outcome {
            command: command.id,
            ending: Ending::Done,
            detail: format!("{} by {}", command.kind, command.requested_by),
            previous: self.lifecycle(),
            task_cancelled: false,
            survivors: Vec::new(),
            to: None,
            evidence: None,
        };
        let destructive = command.kind.is_destructive();
        let planned = self.check(&command, Duration::ZERO, now).and_then(|()| self.plan(&command));
        match planned {
            Err((ending, detail)) => self.finish(Outcome { ending, detail, ..outcome }, out),
            Ok(_) if command.dry_run && destructive && !self.health.sick_disk.is_empty() => {
                let ending = Ending::Refused(Refusal::SickDisk);
                let detail = self.health.sick_disk.clone();
                self.finish(Outcome { ending, detail, ..outcome }, out);
            }
            Ok(plan) if command.dry_run => {
                outcome.detail = format!("would {}", plan.words(&self.policy().restart));
                self.finish(outcome, out);
            }
            // It ends nothing, so it needs no intent on disk.
            Ok(Plan::Nudge) => self.nudge(&command, outcome, out),
            Ok(Plan::Capture) => {
                self.gather(Purpose::Asked(command.id), &command.reason, out);
                self.capturing = Some(outcome);
            }
            Ok(_) => {
                if let Some(older) = self.memory.intent.take() {
                    self.fail(older, "a person's command came before it was done", out);
                }
                self.arrived = now;
                self.memory.intent =
                    Some(Intent { command, outcome, begun: false, signalled: false });
                out.push(Action::Persist);
                out.push(Action::Intend);
            }
        }
    }

    /// The same wish as the one under way: a person's, for the same. It is not done twice; it gets
    /// the same answer.
    fn joins(&mut self, command: &Command, now: Mono) -> bool {
        let Some(under_way) = self.memory.intent.as_ref().map(|intent| &intent.command) else {
            return false;
        };
        let same = under_way.kind == command.kind && !command.dry_run;
        // The engine's own may yet be withdrawn by a beat.
        let asked = |command: &Command| matches!(command.requested_by, Requester::Person(_));
        let person = asked(command) && asked(under_way);
        let room = self.memory.joined.len() < JOINED_MAX;
        let joins = same && person && room && self.check(command, Duration::ZERO, now).is_ok();
        let to = under_way.id;
        if joins {
            self.memory.joined.push((command.id, to));
        }
        joins
    }

    /// The intent is on disk, or cannot be: the agent may have moved on meanwhile.
    pub(super) fn intended(
        &mut self,
        written: Result<(), String>,
        now: Mono,
        out: &mut Vec<Action>,
    ) {
        let Some(intent) = self.memory.intent.take_if(|intent| !intent.begun) else {
            return self.end_condemned(written.is_ok(), out);
        };
        let Intent { command, mut outcome, .. } = intent;
        let waited = now.since(self.arrived);
        let planned = match written {
            // What ends a living tree is not done without a record of it.
            Err(why) if command.kind.is_destructive() => refuse(Refusal::SickDisk, why),
            Ok(()) | Err(_) => self.check(&command, waited, now).and_then(|()| self.plan(&command)),
        };
        match planned {
            Err((ending, detail)) => self.finish(Outcome { ending, detail, ..outcome }, out),
            Ok(plan) => {
                let runs = matches!(self.state, State::Running(_));
                outcome.task_cancelled = runs && self.clocks.work.tasks.any_open();
                let (kind, why) = (command.kind, command.reason.clone());
                self.memory.intent =
                    Some(Intent { command, outcome, begun: true, signalled: false });
                self.tell_of_the_end(kind, why, out);
                self.carry_out(plan, out);
            }
        }
    }

    /// What an earlier sidecar had begun when it was killed. Where its agent's life is over, what
    /// the command wanted in its place comes now; where it goes on, it is ended now. What was not
    /// begun is too old.
    pub fn finish_what_was_begun(&mut self, out: &mut Vec<Action>) {
        if let Some(intent) = self.memory.intent.take_if(|intent| !intent.begun) {
            let detail = "the sidecar was killed before it was begun".to_owned();
            let ending = Ending::Expired;
            return self.finish(Outcome { ending, detail, ..intent.outcome }, out);
        }
        let Some(intent) = &mut self.memory.intent else { return };
        intent.outcome.detail.push_str(", finished after a crash of the sidecar");
        let (hold, signalled) = (hold_of(&intent.command), intent.signalled);
        let runs = matches!(self.state, State::Running(_));
        match intent.command.kind {
            // It was done, and only that was not written down.
            CommandKind::Restart if runs && is_over(&intent.command, self.memory.life) => {
                if let Some(intent) = self.memory.intent.take() {
                    self.finish(Outcome { to: self.memory.life, ..intent.outcome }, out);
                }
            }
            // What the engine's reason rested on, the clocks of another sidecar, is gone. It looks
            // again.
            CommandKind::Restart | CommandKind::Stop | CommandKind::Apoptosis
                if runs && matches!(intent.command.requested_by, Requester::Engine(_)) =>
            {
                if let Some(intent) = self.memory.intent.take() {
                    let ending = Ending::Refused(Refusal::PreconditionFailed);
                    let detail = "a new sidecar took the agent over meanwhile".to_owned();
                    self.finish(Outcome { ending, detail, ..intent.outcome }, out);
                }
            }
            // A person's does not count.
            CommandKind::Restart if runs => {
                let then = Then::Start { after: Duration::ZERO };
                self.go_on_stopping(then, signalled, out);
            }
            CommandKind::Stop | CommandKind::Apoptosis if runs => {
                self.go_on_stopping(Then::Hold(hold), signalled, out);
            }
            CommandKind::Start | CommandKind::Revive if runs => {
                if let Some(intent) = self.memory.intent.take() {
                    self.finish(Outcome { to: self.memory.life, ..intent.outcome }, out);
                }
            }
            CommandKind::Restart if matches!(self.state, State::Held(_)) => {
                if let Some(intent) = self.memory.intent.take() {
                    self.fail(intent, "the agent is held down", out);
                }
            }
            // The start that comes anyway ends it.
            CommandKind::Restart => {}
            CommandKind::Start | CommandKind::Revive => {
                if matches!(self.state, State::Held(_)) {
                    self.resume(out);
                }
            }
            CommandKind::Stop | CommandKind::Apoptosis => self.hold(hold, out),
            // Never an intent.
            CommandKind::Nudge | CommandKind::Capture | CommandKind::Other => {}
        }
    }

    /// Another store is the agent's home now: what the old one asked for is not begun any more.
    pub(super) fn void_intent(&mut self, out: &mut Vec<Action>) {
        if let Some(intent) = self.memory.intent.take_if(|intent| !intent.begun) {
            let (ending, detail) =
                (Ending::Refused(Refusal::Fenced), "its store is not this agent's".to_owned());
            self.finish(Outcome { ending, detail, ..intent.outcome }, out);
        }
    }

    /// What has nothing to do with where the process is. The command waited here for some time.
    fn check(&self, command: &Command, waited: Duration, now: Mono) -> Result<(), Refused> {
        if command.kind == CommandKind::Other || command.precondition == Precondition::Other {
            let why = "this sidecar does not know its kind, or what must still be true";
            return refuse(Refusal::Unsupported, why);
        }
        if command.agent != self.memory.agent {
            let why = format!("it is meant for {}", command.agent);
            return refuse(Refusal::WrongAgent, why);
        }
        if self.memory.home.as_ref().is_none_or(|home| home.store != command.store) {
            return refuse(Refusal::Fenced, "its store is not this agent's");
        }
        let seen = self.memory.epochs.get(&command.store).copied().unwrap_or_default();
        if command.epoch < seen {
            let why = format!("epoch {} of the store, {seen} was seen", command.epoch);
            return refuse(Refusal::Fenced, why);
        }
        // What the verdict rests on is as old as the report, by this sidecar's own record.
        let sent = self.sent.iter().find(|(number, _)| *number == command.report);
        let rests_on = match (command.report, sent) {
            (0, _) => Duration::ZERO,
            (_, Some((_, at))) => now.since(*at),
            (_, None) => Duration::MAX,
        };
        let age = command.age.saturating_add(waited).max(rests_on);
        if age > command.ttl {
            let why = match age {
                Duration::MAX => "it rests on a report that is long gone".to_owned(),
                age => format!("it is {} old, its ttl is {}", words(age), words(command.ttl)),
            };
            return Err((Ending::Expired, why));
        }
        let life = self.memory.life;
        // Asked when there was no life yet: a person means the one that was about to begin.
        let first = command.life.is_none()
            && matches!(command.requested_by, Requester::Person(_))
            && life.is_some_and(|life| life.ordinal == NonZeroU32::MIN);
        let same = command.life == life.map(|life| life.id);
        if command.kind.is_for_a_life() && !same && !first {
            return refuse(Refusal::WrongLife, "that life is over");
        }
        Ok(())
    }

    /// What the command does where the process is now.
    fn plan(&self, command: &Command) -> Result<Plan, Refused> {
        let person = matches!(command.requested_by, Requester::Person(_));
        // Between two lives a person has the last word on what comes next.
        let resting = matches!(self.state, State::Resting { .. });
        if self.is_intending() || self.memory.intent.is_some() && !(person && resting) {
            return refuse(Refusal::Busy, "another command is under way");
        }
        match (&self.state, command.kind) {
            (State::Running(_), CommandKind::Restart) => {
                let after = self.afford_restart(person)?;
                self.still_true(command)?;
                Ok(Plan::Restart { after, counts: !person })
            }
            (State::Running(_), CommandKind::Nudge) if !self.listens => {
                let why = "no long poll of /v1/commands, and no [hooks] nudge";
                refuse(Refusal::NobodyListens, why)
            }
            (State::Running(_), CommandKind::Nudge) if self.nudging.is_some() => {
                refuse(Refusal::Busy, "another nudge waits to be taken")
            }
            (State::Running(_), CommandKind::Nudge) => Ok(Plan::Nudge),
            (State::Running(_), CommandKind::Capture) if self.capturing.is_some() => {
                refuse(Refusal::Busy, "another capture is under way")
            }
            (State::Running(_), CommandKind::Capture) => Ok(Plan::Capture),
            (State::Running(_), CommandKind::Stop | CommandKind::Apoptosis) => {
                self.still_true(command)?;
                Ok(Plan::Stop(hold_of(command)))
            }
            (State::Resting { .. }, CommandKind::Restart) if person => Ok(Plan::StartNow),
            (
                State::Resting { .. } | State::Unborn { .. },
                CommandKind::Stop | CommandKind::Apoptosis,
            ) => Ok(Plan::Hold(hold_of(command))),
            (State::Held(held), CommandKind::Apoptosis)
                if held.lifecycle != Lifecycle::Terminated =>
            {
                Ok(Plan::Hold(hold_of(command)))
            }
            (State::Held(held), CommandKind::Start) if held.lifecycle != Lifecycle::Terminated => {
                Ok(Plan::Resume)
            }
            (State::Held(held), CommandKind::Revive) if held.lifecycle == Lifecycle::Terminated => {
                Ok(Plan::Resume)
            }
            (
                State::Preparing { .. }
                | State::Stopping { .. }
                | State::Sweeping { .. }
                | State::Starting { .. },
                _,
            ) => refuse(Refusal::Busy, format!("the agent is {}", self.lifecycle())),
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

    fn afford_restart(&self, person: bool) -> Result<Duration, Refused> {
        if person {
            return Ok(Duration::ZERO);
        }
        match self.memory.ledger.next(&self.policy().restart) {
            Next::After(delay) => Ok(delay),
            Next::Spent(why) => refuse(Refusal::OverBudget, why),
        }
    }

    pub(super) fn still_true(&self, command: &Command) -> Result<(), Refused> {
        let fresh = self.ages();
        match command.precondition.check(&fresh) {
            Ok(()) => Ok(()),
            Err(why) => refuse(Refusal::PreconditionFailed, why),
        }
    }

    fn carry_out(&mut self, plan: Plan, out: &mut Vec<Action>) {
        let (then, counts) = match plan {
            Plan::Restart { after, counts } => (Then::Start { after: self.spread(after) }, counts),
            Plan::Stop(hold) => (Then::Hold(hold), false),
            Plan::StartNow => return self.start(out),
            Plan::Hold(hold) => return self.hold(hold, out),
            Plan::Resume => return self.resume(out),
            Plan::Nudge | Plan::Capture => return,
        };
        out.push(Action::Persist);
        let asked = self.memory.intent.as_ref().map(|intent| &intent.command);
        let reason = asked.map_or_else(String::new, |command| {
            format!("{} by {}: {}", command.kind, command.requested_by, command.reason)
        });
        self.prepare(&reason, then, counts, out);
    }

    /// A person started it anew: the schedule begins again with it.
    fn resume(&mut self, out: &mut Vec<Action>) {
        self.memory.ledger.clear();
        if self.memory.hold.take().is_some_and(|hold| hold.lifecycle == Lifecycle::Terminated) {
            out.push(Action::Tombstone(None));
        }
        self.start(out);
    }

    /// A command under way will not be done.
    pub(super) fn fail(&mut self, intent: Intent, why: &str, out: &mut Vec<Action>) {
        let detail = why.to_owned();
        self.finish(Outcome { ending: Ending::Failed, detail, ..intent.outcome }, out);
    }

    /// A command has ended: it is remembered, and the collector is told.
    pub(super) fn finish(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        let joined = std::mem::take(&mut self.memory.joined).into_iter();
        let (ended, left): (Vec<_>, Vec<_>) = joined.partition(|(_, to)| *to == outcome.command);
        self.memory.joined = left;
        for (command, to) in ended {
            let detail = format!("{}, together with {to}", outcome.detail);
            self.answer(Outcome { command, detail, ..outcome.clone() }, out);
        }
        self.answer(outcome, out);
    }

    fn answer(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        if self.memory.outcomes.len() == OUTCOMES_MAX {
            self.memory.outcomes.pop_front();
        }
        self.memory.outcomes.push_back(outcome.clone());
        out.push(Action::Persist);
        out.push(Action::Emit(self.memory.life, Happening::Outcome(outcome)));
        out.push(Action::Report);
    }
}

/// The life that a command was meant for is over; where it names none, that was the first.
fn is_over(command: &Command, life: Option<Life>) -> bool {
    let Some(life) = life else { return false };
    command.life.map_or(life.ordinal != NonZeroU32::MIN, |meant| meant != life.id)
}

/// How the agent is held down by a command that asks for it.
pub(super) fn hold_of(command: &Command) -> Hold {
    let lifecycle = match (command.kind, &command.requested_by) {
        (CommandKind::Apoptosis, _) => Lifecycle::Terminated,
        (_, Requester::Person(_)) => Lifecycle::Stopped,
        (_, Requester::Engine(_)) => Lifecycle::Quarantined,
    };
    let (reason, requested_by) = (command.reason.clone(), command.requested_by.to_string());
    Hold { lifecycle, reason, requested_by, crash_loop: false }
}

/// What is done.
enum Plan {
    Restart { after: Duration, counts: bool },
    Stop(Hold),
    StartNow,
    Hold(Hold),
    Resume,
    Nudge,
    Capture,
}

impl Plan {
    /// For a dry run.
    fn words(&self, restart: &lubdub_shared::policy::RestartPolicy) -> String {
        let stop = format!(
            "send signal {} to the main process, and kill the whole tree after {}",
            restart.stop_signal,
            words(restart.term_grace)
        );
        match self {
            Self::Restart { after, .. } => {
                format!("{stop}, then start anew after {}", words(*after))
            }
            Self::Stop(hold) => format!("{stop}, then hold it {}", hold.lifecycle),
            Self::StartNow | Self::Resume => "start it now".to_owned(),
            Self::Hold(hold) => format!("hold it {}", hold.lifecycle),
            Self::Nudge => "tell the agent itself".to_owned(),
            Self::Capture => "gather evidence".to_owned(),
        }
    }
}
