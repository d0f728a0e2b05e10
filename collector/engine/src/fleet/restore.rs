//! An agent that the store knows, taken up after a restart of the collector: ladder, verification
//! and commands go on where they were.

use std::sync::Arc;

use lubdub_shared::command::Command;
use lubdub_shared::incident::ActionOutcome;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Now;

use super::request::{ASKED_MAX, answer_patience};
use super::{Fleet, WARM_UP};
use crate::agent::{Agent, Treated, Unanswered};
use crate::asks::asked_by;
use crate::asks::{Deferred, InFlight};
use crate::finding::{ActiveFinding, Finding};
use crate::index::AgentIndex;
use crate::treatment::{Change, Treatment};
use crate::{Effect, StoredAgent, incident, words};

impl Fleet {
    /// Takes up an agent. The engine is warming up then: whoever does not come back is not missed
    /// before.
    pub(super) fn restore(
        &mut self,
        stored: StoredAgent,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) {
        let StoredAgent { record, policy, incidents, unanswered } = stored;
        self.around.warm_at = self.around.looked.after(WARM_UP);
        let (treating, verifying) = (record.treating.clone(), record.verifying);
        let index = self.intern(record, policy, now.mono);
        let agent = self.agent_mut(index);
        agent.incidents = Arc::new(incidents);
        let trouble = treating.map(|treated| Box::new(standing(treated, now)));
        let unproven = agent.seen.life.filter(|_| verifying);
        let proof = unproven.map(|life| agent.verification(life, now.mono));
        if proof.is_some() {
            agent.seen.lifecycle = Lifecycle::Verifying;
        }
        agent.treatment = Treatment::restored(trouble, proof);
        for command in unanswered {
            self.take_up(index, command, now, out);
        }
        // What stands is seen at once, though its sidecar may never come back.
        self.judged(index, now, out, |judge| judge.look());
    }

    fn take_up(
        &mut self,
        index: AgentIndex,
        unanswered: Unanswered,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) {
        let Unanswered { command, decided, expires } = unanswered;
        let agent = self.agent_mut(index);
        if let Some(expires) = expires {
            let until = now.mono.after(now.wall.until(expires));
            let deferred = Deferred { command: Box::new(command), until };
            if let Some(older) = agent.asks.deferred.replace(deferred) {
                let replaced = "another command took its place".to_owned();
                give_up(agent, index, &older.command, replaced, now, out);
            }
            return;
        }
        let due = now.mono.after(answer_patience(&command, agent));
        let decided = Now { mono: now.mono.before(decided.until(now.wall)), wall: decided };
        if command.dry_run {
            let unknown = "not answered before the collector restarted".to_owned();
            return give_up(agent, index, &command, unknown, now, out);
        }
        let act = InFlight { command: Box::new(command), decided, due, deliver_until: None };
        let slot = act.cause().filter(|_| act.is_act()).map(|_| act.command.id);
        match agent.treatment.trouble() {
            Some(trouble) if slot.is_some() => {
                let (trouble, act) = (Box::new(trouble.clone()), Box::new(act));
                agent.treat(Change::Ordered { trouble, act });
            }
            Some(_) | None => agent.asks.sent.push(act),
        }
        if agent.asks.sent.len() > ASKED_MAX {
            let oldest = agent.asks.sent.remove(0);
            let forgotten = "not answered before the collector restarted".to_owned();
            give_up(agent, index, &oldest.command, forgotten, now, out);
        }
        if let Some(command) = slot {
            self.around.slots.take(index, command, now.mono, due);
        }
    }
}

pub(super) fn give_up(
    agent: &mut Agent,
    index: AgentIndex,
    command: &Command,
    detail: String,
    now: Now,
    out: &mut Vec<(AgentIndex, Effect)>,
) {
    let outcome = ActionOutcome::Expired;
    let told = incident::Told { outcome, detail: &detail, evidence: None };
    if let Some(incident) = incident::end_action(agent, command.id, told, now.wall) {
        out.push((index, Effect::Incident(Box::new(incident))));
    }
    out.push((
        index,
        Effect::Answered {
            command: command.id,
            of: Some(asked_by(command)),
            outcome,
            detail,
            full: None,
        },
    ));
}

fn standing(treated: Treated, now: Now) -> ActiveFinding {
    let age = treated.since.until(now.wall);
    let facts = [(words::TOLD, treated.detail.into())];
    let since = Now { mono: now.mono.before(age), wall: treated.since };
    ActiveFinding::treated(Finding::new(treated.cause, treated.level, facts), since)
}
