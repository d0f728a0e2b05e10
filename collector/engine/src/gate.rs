//! May an act go now, and if not, why, and until when? The one answer for the ladder, for nudges
//! and for `explain`: no other code decides it.
//!
//! Each reason is a row of [`CHECKS`]; all that apply are asked in that order, the first one that
//! shuts the gate is the answer. What is to hold acts back in future (a brake, a storm, a hold, a
//! dependency) is one more variant of [`Why`] and one more row.

use std::fmt;

use lubdub_shared::command::CommandKind;
use lubdub_shared::incident::Cause;
use lubdub_shared::policy::Mode;
use lubdub_shared::time::Mono;

use crate::agent::{Agent, CONFLICT_GONE};
use crate::policy::fusion::{self, Weight};
use crate::restraint::Restraint;
use crate::slots::Slots;

/// Time that an agent has to take a nudge; as long as its sidecar lets one wait.
pub(crate) const NUDGE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What the engine would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) kind: CommandKind,
    pub(crate) cause: Cause,
}

/// What around an agent decides whether it may be acted on.
#[derive(Debug)]
pub(crate) struct Around<'f> {
    pub(crate) now: Mono,
    /// The engine was away until lately; until when it doubts what it did not hear.
    pub(crate) warm_at: Mono,
    /// Why the engine may not act at all.
    pub(crate) withheld: Option<&'f str>,
    pub(crate) slots: &'f Slots,
    /// How many agents there are.
    pub(crate) fleet: usize,
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

/// Asks one thing of an agent and what is around it.
type Check = fn(&Agent, &Around<'_>, Proposal) -> Option<Shut>;

/// Every reason, in the order in which they are asked.
const CHECKS: [Check; 11] = [
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
pub(crate) fn ask(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Gate {
    let shut = CHECKS.iter().find_map(|check| check(agent, around, proposal));
    match (shut, agent.who.policy.mode) {
        (Some(shut), _) => Gate::Shut(shut),
        (None, Mode::Shadow) => Gate::Open(Permit::Tell),
        (None, Mode::Enforce | Mode::Observe) => Gate::Open(Permit::Send),
    }
}

fn shut(why: Why, until: Option<Mono>) -> Option<Shut> {
    Some(Shut { why, until })
}

/// Shut until a moment, if that is still to come.
fn shut_until(why: Why, until: Mono, around: &Around<'_>) -> Option<Shut> {
    (around.now < until).then_some(Shut { why, until: Some(until) })
}

fn is_nudge(proposal: Proposal) -> bool {
    proposal.kind == CommandKind::Nudge
}

fn no_link(agent: &Agent, _: &Around<'_>, _: Proposal) -> Option<Shut> {
    if agent.is_connected() { None } else { shut(Why::NoLink, None) }
}

fn contested(agent: &Agent, around: &Around<'_>, _: Proposal) -> Option<Shut> {
    let gone = agent.link.conflict?.last.after(CONFLICT_GONE);
    shut_until(Why::Contested, gone, around)
}

fn act_under_way(agent: &Agent, _: &Around<'_>, _: Proposal) -> Option<Shut> {
    let act = agent.act()?;
    shut(Why::ActUnderWay(act.command.kind), Some(act.due))
}

fn refused(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let until = agent.restraint.no_act_before;
    if is_nudge(proposal) { None } else { shut_until(Why::Refused, until, around) }
}

/// Who is alive and was just told gets its time to think.
fn just_nudged(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let thinks = agent.restraint.untaken == 0 && fusion::weigh(proposal.cause) == Weight::Frozen;
    let until = agent.restraint.nudged.filter(|_| thinks && !is_nudge(proposal))?;
    shut_until(Why::JustNudged, until.after(NUDGE_PATIENCE), around)
}

fn not_taken(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let Restraint { untaken, .. } = agent.restraint;
    let until = agent.restraint.no_nudge_before();
    if is_nudge(proposal) { shut_until(Why::NotTaken(untaken), until, around) } else { None }
}

/// A restart is held for a while; what calls for one after that is a quarantine.
fn flapping(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let since = agent.seen.flaps.since().filter(|_| proposal.kind == CommandKind::Restart)?;
    let hold_max = agent.who.policy.limits.flapping.hold_max;
    shut_until(Why::Flapping, since.after(hold_max), around)
}

fn mode(agent: &Agent, _: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let told = agent.restraint.shadowed == Some(proposal.cause) && !is_nudge(proposal);
    match agent.who.policy.mode {
        Mode::Observe => shut(Why::Observing, None),
        Mode::Shadow if told => shut(Why::Shadowed, None),
        Mode::Shadow | Mode::Enforce => None,
    }
}

/// What mode `shadow` tells does nothing: no brake holds it.
fn acts(agent: &Agent) -> bool {
    agent.who.policy.mode == Mode::Enforce
}

/// One automatic act at a time; a nudge ends nothing, and waits for no slot.
fn slot_taken(agent: &Agent, around: &Around<'_>, proposal: Proposal) -> Option<Shut> {
    let asks = acts(agent) && !is_nudge(proposal);
    let until = around.slots.taken_until(around.fleet, around.now).filter(|_| asks)?;
    shut_until(Why::SlotTaken, until, around)
}

fn withheld(agent: &Agent, around: &Around<'_>, _: Proposal) -> Option<Shut> {
    let why = around.withheld.filter(|_| acts(agent))?;
    shut(Why::Withheld(why.to_owned()), None)
}

fn warming_up(agent: &Agent, around: &Around<'_>, _: Proposal) -> Option<Shut> {
    if acts(agent) { shut_until(Why::WarmingUp, around.warm_at, around) } else { None }
}

#[cfg(test)]
mod tests;
