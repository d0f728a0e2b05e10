//! What comes next for an agent if nothing changes: what is wrong goes on, and nothing else goes
//! wrong. It is no second rule: the same judge gets the same report as its sidecar will make it
//! then, at each moment at which that may change anything, and what it does first is the answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::command::CommandKind;
use lubdub_shared::incident::Cause;
use lubdub_shared::status::Status;
use lubdub_shared::time::{Mono, Now};
use lubdub_shared::view::{Next, Rung};

use crate::Effect;
use crate::agent::Agent;
use crate::asks::InFlight;
use crate::fleet::Judge;
use crate::gate::Why;
use crate::policy::verify;
use crate::surroundings::Surroundings;

/// Moments that are looked at; beyond them nothing is foretold.
const MOMENTS_MAX: usize = 128;

/// The next step of the ladder, as it comes if nothing changes.
pub fn next_rung(agent: &Agent, around: &Surroundings, now: Now) -> Option<Next> {
    if let Some(act) = agent.act() {
        return Some(Next::due(under_way(act), Duration::ZERO));
    }
    let report = agent.seen.report.as_deref();
    if let Some(starts_in) = report.and_then(|report| report.starts_in) {
        let passed = now.mono.since(agent.link.heard);
        return Some(Next::due(Rung::Start, starts_in.saturating_sub(passed)));
    }
    if let Some(missing_in) = missing_in(agent, now.mono) {
        return missing_in.map(|within| Next::due(Rung::Notify, within));
    }
    let proof = agent.treatment.proof();
    let living = agent.living().filter(|_| agent.seen.status != Status::Ok || proof.is_some());
    let mut run = Run::of(agent, around);
    let act = living.and_then(|report| run.find(report, now));
    let verify = proof.map(|proof| Next::due(Rung::Verify, proof.due.since(now.mono)));
    act.or(verify).or_else(|| run.without_act(agent.seen.status))
}

/// Of an agent that is not heard: until a person is told that it is missing, where that is still to
/// come.
fn missing_in(agent: &Agent, now: Mono) -> Option<Option<Duration>> {
    let worst = agent.seen.findings.first()?.finding.cause;
    if worst == Cause::Missing {
        return Some(None);
    }
    let missing = agent.unreachable_at()?.after(agent.policy.missing_after);
    (worst == Cause::Unreachable).then(|| Some(missing.since(now)))
}

/// One agent, apart from the fleet, in a time that is not yet.
struct Run {
    agent: Agent,
    around: Surroundings,
    /// Moments that are still to be looked at.
    moments: BTreeSet<Mono>,
    /// What was due at the newest moment, and might not go.
    held: Vec<(CommandKind, Why)>,
    /// When a person is told of something worse.
    told: Option<Duration>,
}

impl Run {
    fn of(agent: &Agent, around: &Surroundings) -> Self {
        Self {
            agent: agent.clone(),
            around: around.clone(),
            moments: BTreeSet::new(),
            held: Vec::new(),
            told: None,
        }
    }

    /// The first act, and what held it back until then.
    fn find(&mut self, report: &Report, now: Now) -> Option<Next> {
        let policy = self.agent.policy.clone();
        let heard = self.agent.link.heard;
        self.moments = moments(&self.agent, report);
        self.moments.insert(now.mono);
        for _ in 0..MOMENTS_MAX {
            let at = self.moments.pop_first()?;
            if at < now.mono {
                continue;
            }
            let within = at.since(now.mono);
            let then = Now { mono: at, wall: now.wall.after(within) };
            if let Some(rung) = self.hear(report.going_on(at.since(heard), &policy), then) {
                return Some(Next { rung, within: Some(within), why: self.why(rung) });
            }
            let is_worse = self.agent.seen.status == Status::Critical;
            if is_worse && self.told.is_none() {
                self.told = Some(within);
            }
        }
        None
    }

    /// What the judge does with a report.
    fn hear(&mut self, report: Report, then: Now) -> Option<Rung> {
        let mut effects = Vec::new();
        let mut judge = Judge {
            agent: &mut self.agent,
            around: &mut self.around,
            // Nobody sees the ids of a time that is not yet.
            rng: &mut fastrand::Rng::with_seed(0),
            held: Vec::new(),
            now: then,
            out: &mut effects,
        };
        judge.expire_asked();
        judge.report(Arc::new(report));
        let held = judge.held;
        self.moments.extend(held.iter().filter_map(|(_, shut)| shut.until));
        let limits = &self.agent.policy.limits.flapping;
        self.moments.extend(self.agent.seen.flaps.moments(limits));
        let act = effects.iter().find_map(|(_, effect)| act_of(effect));
        if act.is_none() {
            self.held = held.into_iter().map(|(what, shut)| (what.kind, shut.why)).collect();
        }
        act
    }

    /// What held an act back until now.
    fn why(&self, rung: Rung) -> Option<String> {
        let held = self.held.iter().find(|(kind, _)| Rung::of(*kind) == rung);
        held.or_else(|| self.held.last()).map(|(_, why)| why.to_string())
    }

    /// Where nothing is done: when a person is told, or what holds back what is due.
    fn without_act(self, was: Status) -> Option<Next> {
        let told = self.told.filter(|_| was != Status::Critical);
        match (told, self.held.last()) {
            (Some(within), _) => Some(Next::due(Rung::Notify, within)),
            (None, Some((kind, why))) => {
                Some(Next { rung: Rung::of(*kind), within: None, why: Some(why.to_string()) })
            }
            (None, None) => None,
        }
    }
}

/// What of the ladder an effect is.
pub(crate) fn act_of(effect: &Effect) -> Option<Rung> {
    if let Effect::Send(command) = effect {
        return Some(Rung::of(command.kind));
    }
    matches!(effect, Effect::WouldHave { .. }).then_some(Rung::Shadow)
}

/// By its own word: a person's stop is no quarantine.
fn under_way(act: &InFlight) -> Rung {
    match act.cause() {
        None if act.command.kind == CommandKind::Stop => Rung::Stop,
        None | Some(_) => Rung::of(act.command.kind),
    }
}

/// Every moment at which time alone may change what is found, proven or held.
fn moments(agent: &Agent, report: &Report) -> BTreeSet<Mono> {
    let policy = &agent.policy;
    let clocks = report.ages.changes(policy).into_iter().chain(verify::changes(report, policy));
    let mut moments: BTreeSet<Mono> = clocks.map(|by| agent.link.heard.after(by)).collect();
    moments.extend(agent.treatment.proof().map(|proof| proof.due));
    // Nobody answers either.
    moments.extend(agent.asks.next_due());
    moments
}
