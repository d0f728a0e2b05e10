//! An agent that the store knows, taken up after a restart of the collector: ladder, verification
//! and commands go on where they were.

use std::sync::Arc;

use lubdub_shared::id::CommandId;
use lubdub_shared::incident::{ActionOutcome, Finding, Incident};
use lubdub_shared::policy::Policy;
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::Now;

use super::request::{ASKED_MAX, answer_patience};
use super::{AgentIndex, Fleet, WARM_UP};
use crate::agent::{
    Agent, AgentRecord, InFlight, Standing, Treated, Unanswered, Verification, Waiting,
};
use crate::{Effect, incident};

/// What a store knows of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Itself.
    pub record: AgentRecord,
    /// As its labels resolve now.
    pub policy: Arc<Policy>,
    /// Open ones, and those resolved last.
    pub incidents: Vec<Incident>,
    /// Commands without an answer, oldest first.
    pub unanswered: Vec<Unanswered>,
}

impl Fleet {
    /// Takes up an agent. The engine is warming up then: whoever does not come back is not missed
    /// before.
    pub fn restore(&mut self, known: Known, now: Now, out: &mut Vec<(AgentIndex, Effect)>) {
        let Known { record, policy, incidents, unanswered } = known;
        self.warm_at = self.looked.after(WARM_UP);
        let (treating, verifying) = (record.treating.clone(), record.verifying);
        let index = self.intern(record, policy, now.mono);
        let agent = self.agent_mut(index);
        agent.incidents = incidents;
        agent.treating = treating.map(|treated| standing(treated, now));
        if let Some(life) = agent.life.filter(|_| verifying) {
            let due = now.mono.after(agent.policy.startup_grace);
            agent.verify = Some(Verification { life, due });
            agent.lifecycle = Lifecycle::Verifying;
        }
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
            let waiting = Waiting { command: Box::new(command), until };
            if let Some(older) = agent.waiting.replace(waiting) {
                let replaced = "another command took its place".to_owned();
                give_up(agent, index, older.command.id, replaced, now, out);
            }
            return;
        }
        let due = now.mono.after(answer_patience(&command, agent));
        let decided = Now { mono: now.mono.before(decided.until(now.wall)), wall: decided };
        if command.dry_run {
            let unknown = "not answered before the collector restarted".to_owned();
            return give_up(agent, index, command.id, unknown, now, out);
        }
        let act = InFlight { command: Box::new(command), decided, due, wish: None };
        if act.command.kind.is_gentle() && agent.asked.len() < ASKED_MAX {
            // It ends nothing, so nothing waits for it.
            return agent.asked.push(act);
        }
        let slot = act.cause().map(|_| act.command.id);
        match agent.act.replace(act) {
            Some(older) if agent.asked.len() < ASKED_MAX => agent.asked.push(older),
            Some(older) => {
                let forgotten = "not answered before the collector restarted".to_owned();
                give_up(agent, index, older.command.id, forgotten, now, out);
            }
            None => {}
        }
        if let Some(command) = slot {
            self.slots.take(index, command, now.mono, due);
        }
    }
}

pub(super) fn give_up(
    agent: &mut Agent,
    index: AgentIndex,
    command: CommandId,
    detail: String,
    now: Now,
    out: &mut Vec<(AgentIndex, Effect)>,
) {
    let outcome = ActionOutcome::Expired;
    if let Some(incident) = incident::end_action(agent, command, outcome, &detail, now.wall) {
        out.push((index, Effect::Incident(Box::new(incident))));
    }
    out.push((index, Effect::Answered { command, outcome, detail, full: None }));
}

fn standing(treated: Treated, now: Now) -> Standing {
    let age = treated.since.until(now.wall);
    let finding = Finding {
        cause: treated.cause,
        level: treated.level,
        detail: treated.detail,
        evidence: std::collections::BTreeMap::new(),
        rule: "found before the collector restarted, and under treatment since",
        cancelled_by: "a new life that shows what earlier lives showed",
    };
    let since = Now { mono: now.mono.before(age), wall: treated.since };
    Standing { finding, since, treated: true, nudged: false }
}
