//! A stream begins: whose it is, what waited for it, and whether another sidecar claims the agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use lubdub_shared::id::{InstanceId, Life};
use lubdub_shared::policy::VersionedPolicy;
use lubdub_shared::session::{Hello, SpoolSeen};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::{Mono, Now};

use super::{Fleet, trouble};
use crate::agent::{Agent, AgentRecord, CONFLICT_GONE, ConflictingInstance, Stream};
use crate::index::AgentIndex;
use crate::treatment::Change;
use crate::{Admitted, Effect, Refused};

impl Fleet {
    /// A stream begins.
    pub(super) fn attach(
        &mut self,
        session: u64,
        hello: Hello,
        policy: VersionedPolicy,
        now: Now,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> Result<Admitted, Refused> {
        let seen = hello.epochs.get(&self.around.identity.store).copied().unwrap_or_default();
        if seen > self.around.identity.epoch {
            return Err(Refused::Behind { seen });
        }
        let known = self.index.get(&hello.agent).copied();
        let index = known.unwrap_or_else(|| {
            let record = fresh(&hello);
            let index = self.intern(record, policy.clone(), now.mono);
            out.push((index, Effect::Remember(Box::new(self.agent(index).record()))));
            index
        });
        let interval = self.around.interval();
        let agent = self.agent_mut(index);
        if is_heard(agent, hello.instance, now.mono) {
            note_rival(agent, hello.instance, now.mono);
            self.judged(index, now, out, |judge| judge.look());
            return Err(Refused::OtherInstance);
        }
        let spool = self.seen_of(index, &hello, out);
        let agent = self.agent_mut(index);
        let lost = known.is_some() && lost_its_memory(agent, &hello);
        if lost {
            let text =
                "its sidecar remembers none of its lives: its state directory was lost or emptied";
            out.push((index, Effect::Note(text.to_owned())));
        }
        let forgot_hold = lost && hello.held.is_none() && agent.seen.lifecycle.is_down();
        let held_as = agent.seen.lifecycle;
        let forgotten = agent.seen.down.take().filter(|_| forgot_hold);
        agent.link.stream = Stream::Up { session, instance: hello.instance };
        agent.link.conflict = agent.link.conflict.filter(|rival| rival.instance != hello.instance);
        agent.link.interval = interval;
        let who = Arc::make_mut(&mut agent.who);
        (who.host, who.labels) = (hello.host, hello.labels);
        agent.policy = policy;
        agent.link.clock_ahead = hello.at.map(|at| at.0.saturating_sub(now.wall.0));
        agent.seen.shown = agent.seen.shown.union(hello.shown);
        agent.seen.down = hello.held.as_ref().map(ToString::to_string);
        let untreated = agent.treatment.trouble().is_none();
        if let Some(hold) = hello.held.filter(|hold| hold.crash_loop && untreated) {
            // A store that was wiped, or an event that was lost, makes it no less of a trouble.
            let trouble = trouble::crash_loop(agent, &hold.reason, now);
            agent.treat(Change::CrashLoop(Box::new(trouble)));
        }
        let report = hello.report.number;
        self.judged(index, now, out, |judge| judge.report(Arc::new(hello.report)));
        if let Some(held) = forgotten {
            self.judged(index, now, out, |judge| judge.hold_again(held_as, held));
        }
        let mut pending = Vec::new();
        self.judged(index, now, out, |judge| pending = judge.due_again(report));
        // What changes with a stream is remembered, whatever the mark says.
        out.push((index, Effect::Remember(Box::new(self.agent(index).record()))));
        Ok(Admitted { agent: index, interval, pending, spool })
    }

    /// What was heard of the spool that a sidecar goes on in. Numbers that went back belong to a
    /// state that was put back from a copy: told, and what comes under them counts again.
    fn seen_of(
        &mut self,
        index: AgentIndex,
        hello: &Hello,
        out: &mut Vec<(AgentIndex, Effect)>,
    ) -> SpoolSeen {
        let owner = self.spools.get(&hello.spool).copied().filter(|owner| *owner != index);
        if let Some(owner) = owner {
            let owner = &self.agent(owner).who.id;
            let text = format!(
                "its state directory is a copy of {owner}'s: its events are numbered as those of \
                 {owner}, so it is told to begin anew"
            );
            // One of an older version cannot begin anew, and comes with it again and again.
            if self.agent_mut(index).link.foreign.replace(hello.spool) != Some(hello.spool) {
                out.push((index, Effect::Note(text)));
            }
            return SpoolSeen { foreign: true, ..SpoolSeen::default() };
        }
        let before = self.agent_mut(index).link.spool.replace(hello.spool);
        before.map(|before| self.spools.remove(&before));
        self.spools.insert(hello.spool, index);
        let newest = self.agent_mut(index).link.went_back(hello.spool, hello.last_event);
        if newest > hello.last_event {
            let text = format!(
                "its events went back: {newest} were heard of its spool, and its sidecar knows of \
                 {}; its state directory was put back from a copy",
                hello.last_event
            );
            out.push((index, Effect::Note(text)));
        }
        SpoolSeen { newest, ..SpoolSeen::default() }
    }
}

fn fresh(hello: &Hello) -> AgentRecord {
    AgentRecord {
        id: hello.agent.clone(),
        host: String::new(),
        labels: BTreeMap::new(),
        life: None,
        started: None,
        lifecycle: Lifecycle::Starting,
        shown: hello.shown,
        left: false,
        applied: Vec::new(),
        held: None,
        treating: None,
        verifying: false,
    }
}

/// Another instance reports this agent, and was heard lately.
fn is_heard(agent: &Agent, instance: InstanceId, now: Mono) -> bool {
    let patience = 3 * agent.link.interval;
    matches!(agent.link.stream, Stream::Up { instance: own, .. } if own != instance)
        && now.since(agent.link.heard) < patience
}

fn note_rival(agent: &mut Agent, instance: InstanceId, now: Mono) {
    // One that is started again and again is a new instance each time, and the same trouble.
    let lately = agent.link.conflict.filter(|rival| now.since(rival.last) < CONFLICT_GONE);
    let first = lately.map_or(now, |rival| rival.first);
    agent.link.conflict = Some(ConflictingInstance { instance, first, last: now });
}

/// It knows of no life, or of an earlier one only: ordinals of lives never go back.
fn lost_its_memory(agent: &Agent, hello: &Hello) -> bool {
    let ordinal = |life: Option<Life>| life.map_or(0, |life| life.ordinal.get());
    match (agent.seen.life, hello.report.life) {
        (Some(before), Some(now)) if before.id == now.id => false,
        (before, now) => ordinal(before) > 0 && ordinal(now) <= ordinal(before),
    }
}
