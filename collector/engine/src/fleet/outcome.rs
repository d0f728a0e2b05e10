//! How acts and lives end: exits, outcomes, and commands that nobody answered.

use std::time::Duration;

use lubdub_shared::beat::Exit;
use lubdub_shared::command::{CommandKind, Ending, Outcome, Refusal};
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::{Action, ActionOutcome, Cause};
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Now;

use super::judge::Judge;
use crate::agent::{Agent, InFlight, Standing, Waiting, cause_of};
use crate::detect::Draft;
use crate::{Effect, incident};

/// After a refusal that is no save, nothing automatic for this long: what was refused for a
/// reason of the sidecar's is refused again.
const REST_AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// After the first save of a life; twice as long after each further one.
const REST_AFTER_SAVE: Duration = Duration::from_secs(5);

/// After a nudge that nobody took; twice as long after each further one.
const REST_AFTER_NUDGE: Duration = Duration::from_secs(60);

/// The longest of such rests.
const REST_MAX: Duration = Duration::from_secs(60 * 60);

/// Twice as long with each time.
fn backoff(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(REST_MAX)
}

/// How long nobody is nudged again, after so many that nobody took.
pub(super) fn rest_after_nudge(untaken: u32) -> Duration {
    untaken.checked_sub(1).map_or(Duration::ZERO, |times| backoff(REST_AFTER_NUDGE, times))
}

/// Answers that are remembered, so that one that is told again is not told to people again.
const ANSWERED_MAX: usize = 16;

impl Judge<'_> {
    pub(super) fn exited(&mut self, exit: &Exit, clean: bool, next: Lifecycle) {
        self.slots.free_agent(self.index);
        self.agent.verify = None;
        self.agent.lifecycle = next;
        if !clean {
            self.agent.treating = Some(crashed(self.agent, exit, self.now));
        }
    }

    pub(super) fn ended(&mut self, ended: Outcome) {
        self.slots.free_command(ended.command);
        if self.agent.answered.contains(&ended.command) {
            // Told again, because nobody had acked it, or because it was asked again.
            return;
        }
        let act = self.agent.act.take_if(|act| act.command.id == ended.command);
        let nudge = |asked: &InFlight| {
            asked.command.id == ended.command && asked.command.kind == CommandKind::Nudge
        };
        if self.agent.asked.iter().any(nudge) {
            self.nudge_ended(ended.ending == Ending::Done);
        }
        self.agent.asked.retain(|asked| asked.command.id != ended.command);
        let outcome = match &ended.ending {
            Ending::Done => ActionOutcome::Done,
            Ending::Refused(_) => ActionOutcome::Refused,
            Ending::Expired => ActionOutcome::Expired,
            Ending::Failed => ActionOutcome::Failed,
            Ending::Other => ActionOutcome::Other,
        };
        if ended.ending != Ending::Done {
            // Nothing was done, so nothing is being treated: the next report judges afresh. What
            // was tried and failed stays in sight.
            let tried = ended.ending == Ending::Failed;
            let own = act.as_ref().is_some_and(|act| act.cause().is_some());
            if own && !tried && self.agent.verify.is_none() {
                self.agent.treating = None;
            }
            let save = ended.ending == Ending::Refused(Refusal::PreconditionFailed);
            if let Some(verify) = self.agent.verify.as_mut().filter(|_| save) {
                // The new life moves: it gets its time once more.
                verify.due = self.now.mono.after(self.agent.policy.startup_grace);
            }
            if act.is_some() {
                let rest = if save { self.rest_after_save() } else { REST_AFTER_REFUSAL };
                self.agent.rest_until = self.now.mono.after(rest);
            }
        } else if act.is_some_and(|act| act.cause().is_none() && ends(act.command.kind)) {
            // A person ended it: what was wrong before is no trouble any more.
            self.agent.treating = None;
        }
        let detail = match &ended.ending {
            Ending::Refused(refusal) => format!("{refusal}: {}", ended.detail),
            Ending::Done | Ending::Expired | Ending::Failed | Ending::Other => ended.detail.clone(),
        };
        self.answered(ended.command, outcome, detail, Some(Box::new(ended)));
    }

    /// A save is a new beginning for the agent; many of them are a disagreement between engine
    /// and sidecar, which no haste settles.
    fn rest_after_save(&mut self) -> Duration {
        let rest = backoff(REST_AFTER_SAVE, self.agent.saves);
        self.agent.saves = self.agent.saves.saturating_add(1);
        rest
    }

    /// What nobody took is told again, later and later.
    pub(super) fn nudge_ended(&mut self, taken: bool) {
        if taken {
            self.agent.untaken = 0;
            return;
        }
        self.agent.untaken = self.agent.untaken.saturating_add(1);
        for standing in &mut self.agent.findings {
            standing.nudged = false;
        }
    }

    /// Nobody answered in time. The agent is judged afresh; a late answer is still recorded.
    pub(super) fn unanswered(&mut self, act: &InFlight) {
        if let Some(until) = act.wish.filter(|until| *until > self.now.mono) {
            // It never arrived: it waits again.
            self.agent.act = None;
            self.agent.waiting = Some(Waiting { command: act.command.clone(), until });
            return;
        }
        self.slots.free_agent(self.index);
        self.agent.act = None;
        if self.agent.verify.is_none() && self.agent.lifecycle == Lifecycle::Running {
            self.agent.treating = None;
        }
        let detail = "the sidecar did not answer in time".to_owned();
        self.answer(act.command.id, ActionOutcome::Expired, detail);
    }

    /// The engine answers a command itself.
    pub(super) fn answer(&mut self, command: CommandId, outcome: ActionOutcome, detail: String) {
        self.answered(command, outcome, detail, None);
    }

    fn answered(
        &mut self,
        command: CommandId,
        outcome: ActionOutcome,
        detail: String,
        full: Option<Box<Outcome>>,
    ) {
        if self.agent.answered.len() == ANSWERED_MAX {
            self.agent.answered.pop_front();
        }
        self.agent.answered.push_back(command);
        let wall = self.now.wall;
        let changed = incident::end_action(self.agent, command, outcome, &detail, wall);
        if let Some(incident) = changed {
            self.emit(Effect::Incident(Box::new(incident)));
        }
        if let Some((at, last, said)) = &mut self.agent.last_act
            && *last == command
        {
            *at = wall;
            *said = format!("{said}; {outcome}");
        }
        self.emit(Effect::Answered { command, outcome, detail, full });
    }

    /// What the sidecar did by its own schedule is written into the incident like any act.
    pub(super) fn by_schedule(&mut self, kind: CommandKind) {
        let Some(cause) = self.agent.treating.as_ref().map(|treated| treated.finding.cause) else {
            return;
        };
        let action = Action {
            command: CommandId::ordered(self.now.wall, self.rng),
            kind,
            outcome: ActionOutcome::Done,
            detail: "by the sidecar's schedule".to_owned(),
            at: self.now.wall,
        };
        if let Some(incident) = incident::add_action(self.agent, cause, action, None) {
            self.emit(Effect::Incident(Box::new(incident)));
        }
    }
}

/// The process is down for good after it.
fn ends(kind: CommandKind) -> bool {
    matches!(kind, CommandKind::Stop | CommandKind::Apoptosis)
}

fn crashed(agent: &Agent, exit: &Exit, now: Now) -> Standing {
    let finding = Draft {
        cause: cause_of(exit),
        level: Status::Critical,
        detail: format!("ended with {exit}"),
        evidence: [("exit", exit.to_string()), ("restarts", agent.ledger.share())],
        rule: "an exit that is no success (restart.success_exit) and that nobody asked for",
        cancelled_by: "a new life that shows what earlier lives showed",
    };
    Standing { finding: finding.into(), since: now, treated: true, nudged: false }
}

/// A life that a person's command began has not shown what it owes. Nobody acts on it alone.
pub(super) fn unproven(missing: &str, now: Now) -> Standing {
    let finding = Draft {
        cause: Cause::NeverSeen,
        level: Status::Warning,
        detail: format!("the new life did not show {missing}"),
        evidence: [("missing", missing.to_owned())],
        rule: "a new life shows what earlier lives showed, within startup_grace",
        cancelled_by: "the evidence that is missing",
    };
    Standing { finding: finding.into(), since: now, treated: true, nudged: false }
}

pub(super) fn crash_loop(agent: &Agent, reason: &str, now: Now) -> Standing {
    let last = agent.treating.as_ref().map(|last| last.finding.detail.as_str());
    let at_last = last.map(|last| format!("at last it {last}"));
    let at_last = at_last.unwrap_or_else(|| "how it ended last is not known".to_owned());
    let last = last.unwrap_or("not known");
    let finding = Draft {
        cause: Cause::CrashLoop,
        level: Status::Critical,
        detail: format!("failed again and again ({reason}); {at_last}"),
        evidence: [("restarts", agent.ledger.share()), ("last", last.to_owned())],
        rule: "the restart schedule was spent on failed exits (restart.attempts, per_day_max)",
        cancelled_by: "a person: lubdub start, or lubdub revive after an apoptosis",
    };
    Standing { finding: finding.into(), since: now, treated: true, nudged: false }
}
