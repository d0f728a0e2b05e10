//! How acts and lives end: exits, outcomes, and commands that nobody answered.

use lubdub_shared::beat::Exit;
use lubdub_shared::command::{Command, CommandKind, Ending, Origin, Outcome, Refusal};
use lubdub_shared::id::{CommandId, Life};
use lubdub_shared::incident::{Action, ActionOutcome};
use lubdub_shared::status::Lifecycle;

use super::judge::Judge;
use super::trouble::crashed;
use crate::asks::{InFlight, NO_ANSWER, asked_by};
use crate::treatment::{Answer, Change};
use crate::{Effect, incident};

impl Judge<'_> {
    pub(super) fn exited(&mut self, exit: &Exit, clean: bool, next: Lifecycle) {
        self.around.slots.free_agent(self.agent.index);
        let ended = match clean {
            true => Change::EndedWell,
            false => Change::Failed(Box::new(crashed(self.agent, exit, self.now))),
        };
        self.agent.treat(ended);
        (self.agent.seen.lifecycle, self.agent.seen.pid) = (next, None);
    }

    pub(super) fn ended(&mut self, ended: Outcome) {
        self.around.slots.free_command(ended.command);
        if self.agent.asks.was_answered(ended.command) {
            // Told again, because nobody had acked it, or because it was asked again.
            return;
        }
        let own = self.agent.treatment.act().is_some_and(|act| act.command.id == ended.command);
        let asked = self.agent.asks.take(ended.command);
        if asked.as_ref().is_some_and(|asked| asked.command.kind == CommandKind::Nudge) {
            self.nudge_ended(ended.ending == Ending::Done);
        }
        let command = self.agent.treatment.act().filter(|_| own).or(asked.as_ref());
        let of = command.map(|sent| asked_by(&sent.command));
        let is_act = own || asked.as_ref().is_some_and(InFlight::is_act);
        let outcome = match &ended.ending {
            Ending::Done => ActionOutcome::Done,
            Ending::Refused(_) => ActionOutcome::Refused,
            Ending::Expired => ActionOutcome::Expired,
            Ending::Failed => ActionOutcome::Failed,
            Ending::Other => ActionOutcome::Other,
        };
        if own {
            self.agent.treat(Change::Answered(match ended.ending {
                Ending::Done => Answer::Done,
                Ending::Failed => Answer::Failed,
                Ending::Refused(_) | Ending::Expired | Ending::Other => Answer::Undone,
            }));
        }
        if ended.ending != Ending::Done {
            let save = ended.ending == Ending::Refused(Refusal::PreconditionFailed);
            if save {
                let due = self.now.mono.after(self.agent.policy.startup_grace);
                self.agent.treat(Change::Saved { due });
            }
            if is_act {
                self.agent.restraint.note_refusal(save, self.now.mono);
            }
        } else if asked.is_some_and(|asked| asked.cause().is_none() && ends(asked.command.kind)) {
            self.agent.treat(Change::EndedByPerson);
        }
        let detail = match &ended.ending {
            Ending::Refused(refusal) => format!("{refusal}: {}", ended.detail),
            Ending::Done | Ending::Expired | Ending::Failed | Ending::Other => ended.detail.clone(),
        };
        self.answered(ended.command, of, outcome, detail, Some(Box::new(ended)));
    }

    /// What nobody took is told again, later and later.
    pub(super) fn nudge_ended(&mut self, taken: bool) {
        self.agent.restraint.note_nudge(taken);
        if taken {
            return;
        }
        for standing in &mut self.agent.seen.findings {
            standing.nudged = false;
        }
    }

    /// Nobody answered in time. The agent is judged afresh; a late answer is still recorded.
    pub(super) fn unanswered(&mut self, act: &Command) {
        self.around.slots.free_agent(self.agent.index);
        let running = self.agent.seen.lifecycle == Lifecycle::Running;
        self.agent.treat(Change::Answered(Answer::Silence { running }));
        self.answer(act, ActionOutcome::Expired, NO_ANSWER.to_owned());
    }

    /// The engine answers a command itself.
    pub(super) fn answer(&mut self, command: &Command, outcome: ActionOutcome, detail: String) {
        self.answered(command.id, Some(asked_by(command)), outcome, detail, None);
    }

    fn answered(
        &mut self,
        command: CommandId,
        of: Option<(CommandKind, Origin)>,
        outcome: ActionOutcome,
        detail: String,
        full: Option<Box<Outcome>>,
    ) {
        let wall = self.now.wall;
        self.agent.asks.note_answer(command, outcome, wall);
        let told = incident::Told {
            outcome,
            detail: &detail,
            evidence: full.as_deref().and_then(|full| full.evidence.clone()),
        };
        let changed = incident::end_action(self.agent, command, told, wall);
        if let Some(incident) = changed {
            self.emit(Effect::Incident(Box::new(incident)));
        }
        self.emit(Effect::Answered { command, of, outcome, detail, full });
    }

    /// A life begins: whose will that is, and what was wrong before it. The first one is nobody's.
    pub(super) fn note_restart(&mut self, life: Life) {
        if life.ordinal.get() == 1 {
            return;
        }
        let act = self.agent.act().map(|act| act.command.requested_by.origin());
        let cause = self.agent.treatment.trouble().map(|trouble| trouble.finding.cause);
        self.emit(Effect::Restarted { cause, origin: act.unwrap_or(Origin::Schedule) });
    }

    /// What the sidecar did by its own schedule is written into the incident like any act.
    pub(super) fn by_schedule(&mut self, kind: CommandKind) {
        let Some(cause) = self.agent.treatment.trouble().map(|trouble| trouble.finding.cause)
        else {
            return;
        };
        let action = Action {
            command: CommandId::ordered(self.now.wall, self.rng),
            kind,
            outcome: ActionOutcome::Done,
            detail: "by the sidecar's schedule".to_owned(),
            at: self.now.wall,
            evidence: None,
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
