//! Commands: of people and of the ladder, those that wait for a sidecar, those that are sent again.

use std::time::Duration;

use lubdub_shared::command::{AUTOMATIC_TTL, Command, CommandKind, Precondition, Requester};
use lubdub_shared::id::CommandId;
use lubdub_shared::incident::{Action, ActionOutcome};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Mono;

use super::judge::Judge;
use crate::agent::Agent;
use crate::asks::{ANSWER_MARGIN, Deferred, InFlight, NO_ANSWER, Progress};
use crate::gate::NUDGE_PATIENCE;
use crate::{ActRequest, Effect, incident};

/// Commands of people whose answers are waited for at one time; one more is refused. What is under
/// way is never given up for it: the sidecar may be carrying it out.
pub(super) const ASKED_MAX: usize = 32;

/// How long a hold that a sidecar has forgotten waits for it.
const HOLD_AGAIN_WITHIN: Duration = Duration::from_secs(3600);

/// How long an answer may take.
pub(super) fn answer_patience(command: &Command, agent: &Agent) -> Duration {
    let restart = &agent.policy.restart;
    let delay = match command.kind {
        // Twice for the jitter; what came over the wire is held to the policy's bound, and what did
        // not come yet is as long as it may be.
        CommandKind::Restart if agent.ledger().limit == 0 => restart.delay.max * 2,
        CommandKind::Restart => {
            agent.ledger().next_delay.unwrap_or_default().min(restart.delay.max) * 2
        }
        // The agent gets its time to take it.
        CommandKind::Nudge | CommandKind::Capture => NUDGE_PATIENCE,
        CommandKind::Stop
        | CommandKind::Start
        | CommandKind::Apoptosis
        | CommandKind::Revive
        | CommandKind::Other => Duration::ZERO,
    };
    command.ttl + restart.term_grace + delay + ANSWER_MARGIN
}

impl Judge<'_> {
    /// A person asks. Only the life must match when it is carried out.
    pub(super) fn asked(&mut self, request: ActRequest) {
        if self.agent.is_under_way(request.command) {
            // The same question once more: its first answer is on its way.
            return;
        }
        let life = self.agent.seen.life.map(|life| life.id);
        let command = Command {
            id: request.command,
            kind: request.kind,
            life: life.filter(|_| request.kind.is_for_a_life()),
            store: self.around.identity.store,
            epoch: self.around.identity.epoch,
            precondition: Precondition::LifeOnly,
            report: self.agent.seen.report.as_ref().map_or(0, |report| report.number),
            ttl: AUTOMATIC_TTL,
            age: Duration::ZERO,
            requested_by: Requester::Person(request.requested_by),
            reason: request.reason,
            dry_run: request.dry_run,
            agent: self.agent.who.id.clone(),
        };
        if self.agent.is_connected() && self.agent.asks.sent.len() >= ASKED_MAX {
            let first = self.agent.asks.sent.first();
            let first = first.map(|act| act.command.kind.as_str()).unwrap_or_default();
            let detail = format!(
                "{ASKED_MAX} commands for {} are under way already, a {first} first; ask again \
                 when they are answered",
                self.agent.who.id
            );
            self.answer(&command, ActionOutcome::Refused, detail);
        } else if self.agent.is_connected() {
            self.send(command);
        } else if !command.kind.may_wait() || command.dry_run {
            let waits = if command.kind.may_wait() { "would wait" } else { "does not wait" };
            let then = format!("{} {waits} for it", command.kind);
            let detail = format!(
                "the sidecar of {} is not connected; {then} ({} by {}: {})",
                self.agent.who.id, command.kind, command.requested_by, command.reason
            );
            self.answer(&command, ActionOutcome::Refused, detail);
        } else {
            self.defer(command, request.expires);
        }
    }

    /// What held the agent down is on record here, and its sidecar has lost its memory: it is told
    /// before it starts anything.
    pub(super) fn hold_again(&mut self, lifecycle: Lifecycle, held: String) {
        let terminated = lifecycle == Lifecycle::Terminated;
        let command = Command {
            id: CommandId::ordered(self.now.wall, self.rng),
            kind: if terminated { CommandKind::Apoptosis } else { CommandKind::Stop },
            life: self
                .agent
                .seen
                .report
                .as_ref()
                .and_then(|report| report.life)
                .map(|life| life.id),
            store: self.around.identity.store,
            epoch: self.around.identity.epoch,
            precondition: Precondition::LifeOnly,
            report: 0,
            ttl: AUTOMATIC_TTL,
            age: Duration::ZERO,
            requested_by: Requester::Person("the collector's record".to_owned()),
            reason: format!("its sidecar has lost its memory; it was {held}"),
            dry_run: false,
            agent: self.agent.who.id.clone(),
        };
        self.defer(command, HOLD_AGAIN_WITHIN);
    }

    /// The sidecar is not there: the command waits. A newer one takes its place.
    fn defer(&mut self, command: Command, expires: Duration) {
        let until = self.now.mono.after(expires);
        let command = Box::new(command);
        self.put_off(Deferred { command: command.clone(), until });
        self.agent.asks.note(&command, Progress::Deferred, self.now.wall);
        self.emit(Effect::Defer(command, self.now.wall.after(expires)));
    }

    /// One command waits for the sidecar: a newer one takes the place of an older.
    fn put_off(&mut self, deferred: Deferred) {
        let kind = deferred.command.kind;
        if let Some(older) = self.agent.asks.deferred.replace(deferred) {
            let detail = format!("a newer command took its place: {kind}");
            self.answer(&older.command, ActionOutcome::Expired, detail);
        }
    }

    /// The sidecar attached: what waited for it, and what a person asked on an earlier stream and
    /// nobody answered. Its freshness is that of the report in Hello; its ttl runs on.
    pub(super) fn due_again(&mut self, report: u64) -> Vec<Command> {
        let mut due = Vec::new();
        let (store, epoch) = (self.around.identity.store, self.around.identity.epoch);
        if let Some(deferred) = self.agent.asks.deferred.take() {
            // The newest command: what was asked before it would only be in its way.
            let command = Command { epoch, report, age: Duration::ZERO, ..*deferred.command };
            due.push(command.clone());
            let sent = self.in_flight(Box::new(command), Some(deferred.until));
            self.agent.asks.sent.push(sent);
            return due;
        }
        let now = self.now.mono;
        for act in self.agent.treatment.act_mut().into_iter().chain(&mut self.agent.asks.sent) {
            // What may wait may begin its time anew.
            if act.deliver_until.is_some_and(|until| until > now) {
                act.decided = self.now;
            }
            let age = now.since(act.decided.mono);
            (act.command.epoch, act.command.report, act.command.age) = (epoch, report, age);
            let again = act.cause().is_none() && !act.command.dry_run;
            if again && act.command.store == store && age < act.command.ttl {
                due.push((*act.command).clone());
            }
        }
        due
    }

    /// Sends a command that no treatment waits for.
    pub(super) fn send(&mut self, command: Command) {
        let sent = self.announce(command);
        self.agent.asks.sent.push(sent);
    }

    /// Sends a command, and writes it into its incident. What is sent is to be waited for.
    pub(super) fn announce(&mut self, command: Command) -> InFlight {
        let command = Box::new(command);
        self.agent.asks.note(&command, Progress::Sent, self.now.wall);
        if let Requester::Engine(cause) = command.requested_by {
            let action = Action {
                command: command.id,
                kind: command.kind,
                outcome: ActionOutcome::Accepted,
                detail: command.reason.clone(),
                at: self.now.wall,
                evidence: None,
            };
            let why = command.reason.as_str();
            if let Some(incident) = incident::add_action(self.agent, cause, action, Some(why)) {
                self.emit(Effect::Incident(Box::new(incident)));
            }
        }
        let sent = self.in_flight(command.clone(), None);
        self.emit(Effect::Send(command));
        sent
    }

    /// From now on the command's answer is waited for.
    fn in_flight(&self, command: Box<Command>, deliver_until: Option<Mono>) -> InFlight {
        let due = self.now.mono.after(answer_patience(&command, self.agent));
        InFlight { command, decided: self.now, due, deliver_until }
    }

    /// Commands whose answers came too late, if at all.
    pub(crate) fn expire_asked(&mut self) {
        let now = self.now.mono;
        for asked in self.agent.asks.take_overdue(now) {
            if let Some(until) = asked.deliver_until.filter(|until| *until > now) {
                // It never arrived: it waits again.
                self.put_off(Deferred { command: asked.command, until });
            } else if asked.is_act() && self.agent.treatment.act().is_none() {
                self.unanswered(&asked.command);
            } else {
                if asked.command.kind == CommandKind::Nudge {
                    self.nudge_ended(false);
                }
                self.answer(&asked.command, ActionOutcome::Expired, NO_ANSWER.to_owned());
            }
        }
    }

    /// A command that waited for its sidecar waits no more.
    pub(super) fn expire_deferred(&mut self) {
        let over = |deferred: &mut Deferred| deferred.until <= self.now.mono;
        if let Some(deferred) = self.agent.asks.deferred.take_if(over) {
            let detail = "its sidecar did not come back in time".to_owned();
            self.answer(&deferred.command, ActionOutcome::Expired, detail);
        }
    }
}
