//! One event on one agent: state, then findings, then incidents, then the ladder.

use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::cause::Cause;
use lubdub_shared::command::{AUTOMATIC_TTL, Command, CommandKind, Precondition, Requester};
use lubdub_shared::id::{CommandId, SpoolId};
use lubdub_shared::incident::{Incident, Transition};
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::{self, Happening};
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Now;

use super::trouble;
use crate::agent::{Agent, Stream};
use crate::asks::ANSWER_MARGIN;
use crate::detect::{self, View};
use crate::finding::{ActiveFinding, Finding};
use crate::flaps::Flaps;
use crate::gate::{self, Gate, Permit, Proposal, Shut};
use crate::index::AgentIndex;
use crate::policy::ladder::{self, Step};
use crate::policy::verify::{self, Proof};
use crate::surroundings::Surroundings;
use crate::treatment::Change;
use crate::{Detached, Effect, incident, words};

/// The parts of the fleet that one event may touch.
pub(crate) struct Judge<'f> {
    pub(crate) agent: &'f mut Agent,
    pub(crate) around: &'f mut Surroundings,
    pub(crate) rng: &'f mut fastrand::Rng,
    /// What the gate held back, and why.
    pub(crate) held: Vec<(Proposal, Shut)>,
    pub(crate) now: Now,
    pub(crate) out: &'f mut Vec<(AgentIndex, Effect)>,
}

impl Judge<'_> {
    pub(super) fn emit(&mut self, effect: Effect) {
        self.out.push((self.agent.index, effect));
    }

    /// A report: the only event that may lead to an automatic act.
    pub(crate) fn report(&mut self, report: Arc<Report>) {
        let before = self.agent.seen.lifecycle;
        self.agent.link.heard = self.now.mono;
        if report.life.is_some() && report.life != self.agent.seen.life {
            // The event that began this life is still on its way, or was lost with its spool.
            self.agent.seen.life = report.life;
            self.agent.treat(Change::AnotherLife);
        }
        if let Some(life) = report.life
            && report.lifecycle == Lifecycle::Running
            && self.agent.asks.act().is_none()
        {
            // Where the collector was away when this life began it is proven from here on.
            let proof = self.agent.verification(life, self.now.mono);
            self.agent.treat(Change::Running(proof));
        }
        if !matches!(report.lifecycle, Lifecycle::Running | Lifecycle::Verifying) {
            self.around.slots.note_heard(self.agent.index);
        }
        let proving =
            self.agent.treatment.proof().is_some() && report.lifecycle == Lifecycle::Running;
        self.agent.seen.lifecycle = if proving { Lifecycle::Verifying } else { report.lifecycle };
        self.agent.seen.shown = self.agent.seen.shown.union(report.ages.evidence());
        self.agent.seen.pid = report.pid;
        self.agent.seen.report = Some(report);
        self.agent.seen.reported = self.now.wall;
        let proof = self.prove();
        if let Proof::Failed { missing, .. } = &proof {
            let unproven = trouble::unproven(missing, self.now);
            self.agent.treat(Change::NotShown(Box::new(unproven)));
        }
        self.reconcile(before);
        self.note_status();
        self.nudge();
        self.escalate(&proof);
    }

    /// Another policy: the sidecar hears of it, and what came and went under the one before does
    /// not count.
    pub(super) fn set_policy(&mut self, policy: VersionedPolicy) {
        if self.agent.policy == policy {
            return;
        }
        self.agent.policy = policy.clone();
        self.agent.seen.flaps = Flaps::default();
        self.emit(Effect::Policy(policy));
        self.look();
    }

    /// How its status comes and goes; that it flaps is no change of it.
    fn note_status(&mut self) {
        let own = |standing: &&ActiveFinding| standing.finding.cause != Cause::Flapping;
        let worst = self.agent.seen.findings.iter().find(own);
        let status = worst.map_or(Status::Ok, |standing| standing.finding.level);
        let limits = &self.agent.policy.limits.flapping;
        self.agent.seen.flaps.note(status, self.now.mono, limits);
    }

    /// A hard fact. The same one twice is applied once.
    pub(super) fn happened(&mut self, spool: SpoolId, event: session::Event) {
        let before = self.agent.seen.lifecycle;
        self.agent.link.heard = self.now.mono;
        if !self.agent.link.apply(spool, event.number) {
            return;
        }
        match event.what {
            Happening::Started { process, .. } => {
                if let Some(life) = event.life {
                    self.agent.seen.pid = Some(process.pid.get());
                    self.note_restart(life);
                    if self.agent.act().is_none() {
                        self.by_schedule(CommandKind::Restart);
                    }
                    if self.agent.seen.down.take().is_some() {
                        // A person let it begin anew.
                        self.agent.seen.flaps = Flaps::default();
                    }
                    self.agent.begin_life(life, event.at, self.now.mono);
                }
            }
            Happening::Exited { exit, clean, next, .. } => {
                self.exited(&exit, clean, next);
            }
            Happening::Held(hold) => {
                self.agent.seen.lifecycle = hold.lifecycle;
                self.agent.seen.down = Some(hold.to_string());
                if hold.crash_loop {
                    let trouble = trouble::crash_loop(self.agent, &hold.reason, self.now);
                    self.agent.treat(Change::CrashLoop(Box::new(trouble)));
                    let ended = hold.lifecycle == Lifecycle::Terminated;
                    let kind = if ended { CommandKind::Apoptosis } else { CommandKind::Stop };
                    self.by_schedule(kind);
                }
            }
            Happening::Outcome(ended) => self.ended(ended),
            Happening::Evidence(_) | Happening::Note { .. } | Happening::Other => {}
        }
        self.reconcile(before);
    }

    pub(super) fn detached(&mut self, how: Detached) {
        let before = self.agent.seen.lifecycle;
        self.agent.link.stream = match how {
            Detached::Lost => Stream::Lost,
            Detached::Goodbye { reason, back_within } => {
                Stream::left(reason, back_within, self.now.mono)
            }
        };
        self.reconcile(before);
    }

    /// The time that the engine itself set is over.
    pub(super) fn look(&mut self) {
        let before = self.agent.seen.lifecycle;
        let act = self.agent.treatment.act().filter(|act| act.due <= self.now.mono);
        if let Some(command) = act.map(|act| act.command.clone()) {
            self.unanswered(&command);
        }
        self.expire_asked();
        self.expire_deferred();
        self.reconcile(before);
    }

    fn prove(&mut self) -> Proof {
        let proof = verify::proof(self.agent, self.now.mono);
        if let Proof::Proven(_) = proof {
            self.agent.treat(Change::Proven);
            self.agent.seen.lifecycle = Lifecycle::Running;
        }
        proof
    }

    /// Findings, status, incidents.
    fn reconcile(&mut self, lifecycle_before: Lifecycle) {
        let found = detect::findings(self.agent, self.view());
        let before = std::mem::take(&mut self.agent.seen.findings);
        let now = self.now;
        let seen = found.into_iter().map(|finding| {
            let same = before.iter().find(|standing| standing.finding.cause == finding.cause);
            let since = same.map_or(now, |standing| standing.since);
            let nudged = same.is_some_and(|standing| standing.nudged);
            ActiveFinding { finding, since, treated: false, nudged }
        });
        self.agent.seen.findings = seen.collect();
        self.keep_treated();
        self.agent.seen.findings.sort_by_key(|s| std::cmp::Reverse(s.finding.level.severity()));
        let worst = self.agent.seen.findings.first().map(|standing| &standing.finding);
        let heard =
            self.agent.seen.report.is_some() || !matches!(self.agent.link.stream, Stream::Lost);
        let status = match worst {
            Some(finding) => finding.level,
            None if heard => Status::Ok,
            None => Status::Unknown,
        };
        let from = std::mem::replace(&mut self.agent.seen.status, status);
        let incidents = incident::sync(self.agent, now, self.rng);
        if from != status || lifecycle_before != self.agent.seen.lifecycle {
            let worst = self.agent.seen.findings.first().map(|standing| &standing.finding);
            let told = |worst: &Finding| {
                let begins = |i: &&Incident| i.resolved.is_none() && i.cause == worst.cause;
                // What has just been said is not said anew.
                let said = incidents.iter().find(begins).map(|i| i.summary.clone());
                format!("{}: {}", worst.cause, said.unwrap_or_else(|| words::detail(worst)))
            };
            let (cause, why) = (worst.map(|f| f.cause), worst.map(told).unwrap_or_default());
            let lifecycle = self.agent.seen.lifecycle;
            self.emit(Effect::Transition(Transition { from, to: status, lifecycle, cause, why }));
        }
        for incident in incidents {
            self.emit(Effect::Incident(Box::new(incident)));
        }
    }

    /// A trouble under treatment stands until the treatment is proven, unless nothing is known.
    fn keep_treated(&mut self) {
        let findings = &mut self.agent.seen.findings;
        let unknown =
            |s: &ActiveFinding| matches!(s.finding.cause, Cause::Unreachable | Cause::Missing);
        if let Some(treated) = self.agent.treatment.trouble()
            && !findings.iter().any(|s| s.finding.cause == treated.finding.cause || unknown(s))
        {
            findings.push(ActiveFinding { treated: true, ..treated.clone() });
        }
    }

    /// The agent itself is told once, where the policy asks for it. That ends nothing.
    fn nudge(&mut self) {
        let Some((at, reason)) = ladder::nudge(self.agent) else { return };
        let (kind, cause) = (CommandKind::Nudge, self.agent.seen.findings[at].finding.cause);
        match self.passes(Proposal { kind, cause }) {
            None => return,
            Some(Permit::Tell) => self.emit(Effect::WouldHave { kind, cause, reason }),
            Some(Permit::Send) => {
                let precondition = Precondition::LifeOnly;
                let command = self.issue(Step { kind, cause, precondition, reason });
                self.send(command);
                self.agent.restraint.nudged = Some(self.now.mono);
            }
        }
        self.agent.seen.findings[at].nudged = true;
    }

    /// The next rung, if one is due and may be taken; otherwise the next report asks again.
    fn escalate(&mut self, proof: &Proof) {
        let Some(step) = ladder::step(self.agent, proof, self.now.mono) else { return };
        match self.passes(Proposal { kind: step.kind, cause: step.cause }) {
            None => {}
            Some(Permit::Tell) => {
                self.agent.restraint.shadowed = Some(step.cause);
                let Step { kind, cause, reason, .. } = step;
                self.emit(Effect::WouldHave { kind, cause, reason });
            }
            Some(Permit::Send) => self.act(step, proof),
        }
    }

    /// What the gate says; what it holds back is kept for `explain`.
    fn passes(&mut self, proposal: Proposal) -> Option<Permit> {
        match gate::ask(self.agent, self.around, self.now.mono, proposal) {
            Gate::Open(permit) => Some(permit),
            Gate::Shut(shut) => {
                self.held.push((proposal, shut));
                None
            }
        }
    }

    fn view(&self) -> View {
        View { now: self.now.mono, warming: self.now.mono < self.around.warm_at }
    }

    fn act(&mut self, step: Step, proof: &Proof) {
        let treats = self.agent.seen.findings.iter().find(|s| s.finding.cause == step.cause);
        let Some(trouble) = treats.or_else(|| self.agent.treatment.trouble()) else { return };
        let mut trouble = Box::new(trouble.clone());
        if let Proof::Failed { .. } = proof {
            trouble.finding.then.push(step.reason.clone());
        }
        let command = self.issue(step);
        let ends_by = command.ttl + self.agent.policy.restart.term_grace + ANSWER_MARGIN;
        let due = self.now.mono.after(ends_by);
        self.around.slots.take(self.agent.index, command.id, self.now.mono, due);
        let act = Box::new(self.announce(command));
        self.agent.treat(Change::Ordered { trouble, act });
    }

    /// The command for a step of the ladder.
    fn issue(&mut self, step: Step) -> Command {
        Command {
            id: CommandId::ordered(self.now.wall, self.rng),
            kind: step.kind,
            life: self.agent.seen.life.map(|life| life.id),
            store: self.around.identity.store,
            epoch: self.around.identity.epoch,
            precondition: step.precondition,
            report: self.agent.seen.report.as_ref().map_or(0, |report| report.number),
            ttl: AUTOMATIC_TTL,
            age: Duration::ZERO,
            requested_by: Requester::Engine(step.cause),
            reason: step.reason,
            dry_run: false,
            agent: self.agent.who.id.clone(),
        }
    }
}
