//! May an act go now, and if not, why, and until when? The one answer for the ladder, for nudges
//! and for `explain`: no other code decides it.
//!
//! Each reason is a row of [`CHECKS`]; all that apply are asked in that order, the first one that
//! shuts the gate is the answer. What is to hold acts back in future (a brake, a storm, a hold, a
//! dependency) is one more variant of [`Why`] and one more row.

use std::fmt;

use lubdub_shared::cause::{Cause, Weight};
use lubdub_shared::command::CommandKind;
use lubdub_shared::policy::Mode;
use lubdub_shared::time::Mono;

use crate::agent::{Agent, CONFLICT_GONE};
use crate::restraint::Restraint;
use crate::surroundings::Surroundings;

/// Time that an agent has to take a nudge; as long as its sidecar lets one wait.
pub(crate) const NUDGE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What the engine would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) kind: CommandKind,
    pub(crate) cause: Cause,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It may go.
    Open(Permit),
    /// It may not.
    Shut(Shut),
}

/// How it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    /// As a command.
    Send,
    /// As a word: mode `shadow`.
    Tell,
}

/// Why it may not go, and until when; `None` where no moment is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shut {
    pub(crate) why: Why,
    pub(crate) until: Option<Mono>,
}

/// Why an act may not go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The stream to its sidecar does not stand.
    NoLink,
    /// Another sidecar reports the agent too: whose process would be meant?
    Contested,
    /// A command is under way already.
    ActUnderWay(CommandKind),
    /// The sidecar refused the last act, or could not do it.
    Refused,
    /// The agent was told a moment ago, and has its time to think.
    JustNudged,
    /// Nobody took the last nudges.
    NotTaken(u32),
    /// Its status comes and goes: a restart would help as little as the one before.
    Flapping,
    /// Mode `observe`.
    Observing,
    /// Mode `shadow`, which has told it in this life.
    Shadowed,
    /// Another agent is being acted on.
    SlotTaken,
    /// The collector may not act; why.
    Withheld(String),
    /// The collector was away, or has just started.
    WarmingUp,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLink => f.write_str("its sidecar is not connected"),
            Self::Contested => f.write_str("another sidecar reports it too"),
            Self::ActUnderWay(kind) => write!(f, "a {kind} is under way"),
            Self::Refused => f.write_str("the last act was refused"),
            Self::JustNudged => f.write_str("it was nudged a moment ago"),
            Self::NotTaken(times) => write!(f, "nobody took the last {times} nudges"),
            Self::Flapping => f.write_str("held while its status flaps"),
            Self::Observing => f.write_str("mode observe"),
            Self::Shadowed => f.write_str("mode shadow, told already"),
            Self::SlotTaken => f.write_str("another agent is being acted on"),
            Self::Withheld(why) => f.write_str(why),
            Self::WarmingUp => f.write_str("the collector is warming up"),
        }
    }
}

/// What is asked, of whom, and when.
struct Question<'a> {
    agent: &'a Agent,
    around: &'a Surroundings,
    now: Mono,
    proposal: Proposal,
}

impl Question<'_> {
    /// Shut until a moment, if that is still to come.
    fn until(&self, why: Why, until: Mono) -> Option<Shut> {
        (self.now < until).then_some(Shut { why, until: Some(until) })
    }

    fn is_nudge(&self) -> bool {
        self.proposal.kind == CommandKind::Nudge
    }

    /// What mode `shadow` tells does nothing: no brake holds it.
    fn would_act(&self) -> bool {
        self.agent.policy.mode == Mode::Enforce
    }
}

/// Every reason, in the order in which they are asked.
const CHECKS: [fn(&Question<'_>) -> Option<Shut>; 11] = [
    no_link,
    contested,
    act_under_way,
    refused,
    just_nudged,
    not_taken,
    flapping,
    mode,
    slot_taken,
    withheld,
    warming_up,
];

/// Whether the engine may do that now.
pub(crate) fn ask(agent: &Agent, around: &Surroundings, now: Mono, proposal: Proposal) -> Gate {
    let question = Question { agent, around, now, proposal };
    let shut = CHECKS.iter().find_map(|check| check(&question));
    match (shut, agent.policy.mode) {
        (Some(shut), _) => Gate::Shut(shut),
        (None, Mode::Shadow) => Gate::Open(Permit::Tell),
        (None, Mode::Enforce | Mode::Observe) => Gate::Open(Permit::Send),
    }
}

/// Shut, and no moment is known at which it opens.
fn shut(why: Why) -> Option<Shut> {
    Some(Shut { why, until: None })
}

fn no_link(q: &Question<'_>) -> Option<Shut> {
    if q.agent.is_connected() { None } else { shut(Why::NoLink) }
}

fn contested(q: &Question<'_>) -> Option<Shut> {
    q.until(Why::Contested, q.agent.link.conflict?.last.after(CONFLICT_GONE))
}

fn act_under_way(q: &Question<'_>) -> Option<Shut> {
    let act = q.agent.act()?;
    Some(Shut { why: Why::ActUnderWay(act.command.kind), until: Some(act.due) })
}

fn refused(q: &Question<'_>) -> Option<Shut> {
    if q.is_nudge() { None } else { q.until(Why::Refused, q.agent.restraint.no_act_before) }
}

/// Who is alive and was just told gets its time to think.
fn just_nudged(q: &Question<'_>) -> Option<Shut> {
    let Restraint { untaken, nudged, .. } = q.agent.restraint;
    let thinks = untaken == 0 && q.proposal.cause.row().weight == Weight::Frozen;
    let at = nudged.filter(|_| thinks && !q.is_nudge())?;
    q.until(Why::JustNudged, at.after(NUDGE_PATIENCE))
}

fn not_taken(q: &Question<'_>) -> Option<Shut> {
    let restraint = &q.agent.restraint;
    let why = Why::NotTaken(restraint.untaken);
    if q.is_nudge() { q.until(why, restraint.no_nudge_before()) } else { None }
}

/// A restart is held for a while; what calls for one after that is a quarantine.
fn flapping(q: &Question<'_>) -> Option<Shut> {
    let restarts = q.proposal.kind == CommandKind::Restart;
    let since = q.agent.seen.flaps.since().filter(|_| restarts)?;
    q.until(Why::Flapping, since.after(q.agent.policy.limits.flapping.hold_max))
}

fn mode(q: &Question<'_>) -> Option<Shut> {
    let told = q.agent.restraint.shadowed == Some(q.proposal.cause) && !q.is_nudge();
    match q.agent.policy.mode {
        Mode::Observe => shut(Why::Observing),
        Mode::Shadow if told => shut(Why::Shadowed),
        Mode::Shadow | Mode::Enforce => None,
    }
}

/// One automatic act at a time; a nudge ends nothing, and waits for no slot.
fn slot_taken(q: &Question<'_>) -> Option<Shut> {
    let until = q.around.slots.taken_until(q.around.agents, q.now);
    q.until(Why::SlotTaken, until.filter(|_| q.would_act() && !q.is_nudge())?)
}

fn withheld(q: &Question<'_>) -> Option<Shut> {
    let why = q.around.withheld.as_ref().filter(|_| q.would_act())?;
    shut(Why::Withheld(why.clone()))
}

fn warming_up(q: &Question<'_>) -> Option<Shut> {
    if q.would_act() { q.until(Why::WarmingUp, q.around.warm_at) } else { None }
}

#[cfg(test)]
mod tests;
