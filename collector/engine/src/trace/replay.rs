//! The same engine on recorded inputs, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::command::CommandKind;
use lubdub_shared::id::{AgentId, LifeId, SpoolId};
use lubdub_shared::incident::{Cause, Transition};
use lubdub_shared::policy::{Mode, Policy, VersionedPolicy};
use lubdub_shared::session::Hello;
use lubdub_shared::time::{Mono, Now, Wall};

use super::Header;
use super::v1::{self, AgentState, Line};
use crate::{AgentIndex, AgentInput, Effect, Fleet, Identity, Input, Refused, StoredAgent};

/// What a replay makes of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When, on the wall clock of the recording.
    pub at: Wall,
    /// Whose.
    pub agent: AgentId,
    /// What.
    pub what: Told,
}

/// One thing that a replay tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A change of status or lifecycle.
    Transition(Transition),
    /// An act that would have been sent.
    Act(WouldAct),
}

/// An act that would have been sent.
#[derive(Debug, Clone, PartialEq)]
pub struct WouldAct {
    /// What.
    pub kind: CommandKind,
    /// Why.
    pub cause: Option<Cause>,
    /// In words.
    pub reason: String,
    /// The life went on by itself afterwards: it beat again, or got on.
    pub healthy: bool,
}

/// What a life had shown when an act would have been sent.
#[derive(Debug)]
struct Watched {
    change: usize,
    life: LifeId,
    beats: u64,
    progress: u64,
}

/// Which policy an agent gets, where it is not the one of the recording.
pub type Assign<'p> = &'p dyn Fn(&AgentId, &BTreeMap<String, String>) -> VersionedPolicy;

/// Longest time between two lines: the engine looks each second of it.
const GAP_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A line whose moment cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfTime {
    /// It is before the line before it.
    Back,
    /// It is more than 30 days after that.
    Ahead,
}

/// A fleet that is replayed.
pub struct Replay<'p> {
    fleet: Fleet,
    identity: Identity,
    instead: Option<Assign<'p>>,
    effects: Vec<(AgentIndex, Effect)>,
    watched: BTreeMap<AgentId, Vec<Watched>>,
    changes: Vec<Change>,
    /// Moment of the newest line.
    last: Option<Mono>,
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

impl<'p> Replay<'p> {
    /// An empty fleet, with the policies of the recording or others.
    pub fn new(header: &Header, instead: Option<Assign<'p>>) -> Self {
        Self {
            fleet: Fleet::new(header.identity.into(), 1, Mono::default()),
            identity: header.identity.into(),
            instead,
            effects: Vec::new(),
            watched: BTreeMap::new(),
            changes: Vec::new(),
            last: None,
        }
    }

    /// What was told, in the order of the recording.
    pub fn changes(self) -> Vec<Change> {
        self.changes
    }

    /// Applies an input, after what fell due before it.
    ///
    /// # Errors
    /// Its moment cannot follow the one before; nothing is applied then.
    pub fn apply(&mut self, line: Line) -> Result<(), OutOfTime> {
        let now = Now { mono: Mono(line.m), wall: Wall(line.w) };
        let since = self.last.map_or(Duration::ZERO, |last| now.mono.since(last));
        if self.last.is_some_and(|last| now.mono < last) {
            return Err(OutOfTime::Back);
        }
        if since > GAP_MAX {
            return Err(OutOfTime::Ahead);
        }
        if self.last.replace(now.mono).is_none() {
            // Nothing of a replay depends on the ids that it draws.
            self.fleet = Fleet::new(self.identity, 1, now.mono);
        }
        self.pass(now);
        let known = line.a.as_ref().and_then(|agent| self.fleet.find(agent));
        match (line.input, line.a, known) {
            (v1::Input::Standing(state), Some(agent), None) => self.stand(agent, *state, now),
            (v1::Input::Hello(session, hello, policy), Some(_), _) => {
                self.greet(session, hello, *policy, now);
            }
            (v1::Input::Authority(withheld), ..) => self.feed(Input::Authority(withheld), now),
            (input, Some(agent), Some(index)) => {
                if let Some(input) = self.of_agent(&agent, index, input) {
                    self.feed(Input::Agent(index, input), now);
                }
            }
            // Of an agent that the recording did not introduce; or what was not recorded.
            (_, _, None) | (_, None, _) => {}
        }
        Ok(())
    }

    /// What happens to an agent that is known; `None` where it stands already, or where another
    /// policy has taken the place of the recorded one.
    fn of_agent(
        &mut self,
        agent: &AgentId,
        index: AgentIndex,
        input: v1::Input,
    ) -> Option<AgentInput> {
        Some(match input {
            v1::Input::Report(report) => {
                let policy = self.fleet.agent(index).policy.clone();
                let report = self.held_to(*report, &policy);
                self.watch(agent, &report);
                AgentInput::Report(Arc::new(report))
            }
            v1::Input::Happened(spool, fact) => AgentInput::Event(spool, fact),
            v1::Input::Detached(how) => AgentInput::Detached(how),
            v1::Input::Asked(request) => AgentInput::Asked(*request),
            v1::Input::Forgotten => AgentInput::Forgotten,
            v1::Input::Policy(policy) if self.instead.is_none() => {
                AgentInput::Policy(shadowed(*policy).into())
            }
            v1::Input::Policy(_)
            | v1::Input::Standing(_)
            | v1::Input::Hello(..)
            | v1::Input::Authority(_)
            | v1::Input::Dropped(_) => return None,
        })
    }

    /// Lets time pass: what falls due before this moment happens at its own.
    fn pass(&mut self, now: Now) {
        while self.fleet.next_deadline() < now.mono {
            let mono = self.fleet.next_deadline();
            let due = Now { mono, wall: now.wall.before(now.mono.since(mono)) };
            self.feed(Input::Tick, due);
        }
    }

    fn feed(&mut self, input: Input, now: Now) {
        let mut forgotten = None;
        if let Input::Agent(index, AgentInput::Forgotten) = &input {
            forgotten = Some(*index);
        }
        let applied = self.fleet.apply(input, now, &mut self.effects);
        debug_assert!(!matches!(applied, Err(Refused::Behind { .. })), "a trace has one store");
        self.tell(now);
        if let (Some(index), Ok(_)) = (forgotten, applied) {
            self.feed(Input::Released(index), now);
        }
    }

    fn policy(
        &self,
        agent: &AgentId,
        labels: &BTreeMap<String, String>,
        recorded: Policy,
    ) -> VersionedPolicy {
        let policy = match self.instead {
            Some(assign) => (*assign(agent, labels)).clone(),
            None => recorded,
        };
        shadowed(policy).into()
    }

    fn stand(&mut self, agent: AgentId, state: AgentState, now: Now) {
        let AgentState { record, policy, link, report } = state;
        let (labels, host, shown) = (record.labels.clone(), record.host.clone(), record.shown);
        let newest = record.applied.last().copied();
        let policy = self.policy(&agent, &labels, policy);
        let (incidents, unanswered) = (Vec::new(), Vec::new());
        let stored = StoredAgent { record, policy: policy.clone(), incidents, unanswered };
        self.feed(Input::Restored(Box::new(stored)), now);
        if let (Some((session, instance)), Some(report)) = (link, report) {
            let unknown = || SpoolId::random(&mut fastrand::Rng::with_seed(1));
            let hello = Hello {
                agent,
                instance,
                version: String::new(),
                host,
                labels,
                spool: newest.map_or_else(unknown, |(spool, _)| spool),
                last_event: newest.map_or(0, |(_, number)| number),
                at: None,
                report,
                epochs: BTreeMap::new(),
                shown,
                held: None,
            };
            self.greet(session, Box::new(hello), (*policy).clone(), now);
        }
    }

    fn greet(&mut self, session: u64, mut hello: Box<Hello>, recorded: Policy, now: Now) {
        let policy = self.policy(&hello.agent, &hello.labels, recorded);
        hello.report = self.held_to(hello.report, &policy);
        self.feed(Input::Hello { session, hello, policy }, now);
    }

    /// The mark of a recorded report is that of a policy that may not hold here.
    fn held_to(&self, report: Report, policy: &Policy) -> Report {
        let ages = match self.instead {
            Some(_) => report.ages.held_to(policy),
            None => report.ages,
        };
        Report { ages, policy: 0, ..report }
    }

    /// Whoever would have been ended shows whether it was well.
    fn watch(&mut self, agent: &AgentId, report: &Report) {
        let Some(watched) = self.watched.get_mut(agent) else { return };
        let life = report.life.map(|life| life.id);
        watched.retain(|w| life.is_none_or(|life| life == w.life));
        for w in watched {
            let beats = report.ages.beats > w.beats;
            let moved = report.ages.progress.counter > w.progress;
            if let Told::Act(act) = &mut self.changes[w.change].what {
                // Whose progress is frozen is not well because it beats.
                let frozen = act.cause == Some(Cause::NoProgress);
                act.healthy |= moved || (beats && !frozen);
            }
        }
    }

    fn tell(&mut self, now: Now) {
        for (index, effect) in std::mem::take(&mut self.effects) {
            let agent = self.fleet.agent(index);
            let what = match effect {
                Effect::Transition(transition) => Told::Transition(transition),
                Effect::WouldHave { kind, cause, reason } => {
                    if let (Some(report), true) = (&agent.seen.report, kind.is_destructive())
                        && let Some(life) = report.life
                    {
                        let watched = Watched {
                            change: self.changes.len(),
                            life: life.id,
                            beats: report.ages.beats,
                            progress: report.ages.progress.counter,
                        };
                        self.watched.entry(agent.who.id.clone()).or_default().push(watched);
                    }
                    Told::Act(WouldAct { kind, cause: Some(cause), reason, healthy: false })
                }
                Effect::Send(_)
                | Effect::Defer(..)
                | Effect::Incident(_)
                | Effect::Remember(_)
                | Effect::Answered { .. }
                | Effect::Note(_)
                | Effect::Restarted { .. }
                | Effect::Policy(_)
                | Effect::Forget => continue,
            };
            self.changes.push(Change { at: now.wall, agent: agent.who.id.clone(), what });
        }
    }
}

/// Nobody is acted on in a replay.
fn shadowed(policy: Policy) -> Policy {
    let mode = match policy.mode {
        Mode::Enforce | Mode::Shadow => Mode::Shadow,
        Mode::Observe => Mode::Observe,
    };
    Policy { mode, ..policy }
}
