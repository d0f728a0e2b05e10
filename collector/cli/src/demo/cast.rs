//! The five roles, what each must have shown at the end, and how that is told. Everything here is
//! read from the collector's answers.

use std::time::Duration;

use lubdub_shared::command::CommandKind;
use lubdub_shared::incident::{ActionOutcome, Cause};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::time::words;
use lubdub_shared::view::{AgentView, IncidentView};

/// Silent for so long inside its lease, the thinker has been left alone.
const LEFT_ALONE: Duration = Duration::from_secs(12);

/// Who plays what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Works, and nothing is wrong with it.
    Steady,
    /// Says nothing during a long model call that it leased.
    Thinker,
    /// Hangs in its first life.
    Sleeper,
    /// Beats in its first life, and gets nowhere.
    Dreamer,
    /// Fails again and again.
    Crasher,
}

impl Role {
    pub(super) const ALL: [Self; 5] =
        [Self::Steady, Self::Thinker, Self::Sleeper, Self::Dreamer, Self::Crasher];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Thinker => "thinker",
            Self::Sleeper => "sleeper",
            Self::Dreamer => "dreamer",
            Self::Crasher => "crasher",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Steady => "steady works on untouched",
            Self::Thinker => "thinker is silent inside its lease and left alone",
            Self::Sleeper => "sleeper is found silent, restarted and verified",
            Self::Dreamer => "dreamer is found without progress, restarted and verified",
            Self::Crasher => "crasher spends its schedule and is ended by apoptosis",
        }
    }

    /// What it is there to show was seen.
    fn was_seen(self, agent: &AgentView, incidents: &[&IncidentView]) -> bool {
        let untouched = agent.life.is_some_and(|life| life.ordinal.get() == 1);
        let calm = untouched && incidents.is_empty();
        match self {
            Self::Steady => calm && agent.pid.is_some(),
            Self::Thinker => {
                let beat = agent.report.as_ref().and_then(|report| report.ages.beat);
                calm && beat.is_some_and(|age| age >= LEFT_ALONE)
            }
            Self::Sleeper => incidents.iter().any(|view| was_healed(view, Cause::Silent)),
            Self::Dreamer => incidents.iter().any(|view| was_healed(view, Cause::NoProgress)),
            Self::Crasher => agent.lifecycle == Lifecycle::Terminated,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Found, restarted, and resolved by the proof that this helped.
fn was_healed(view: &IncidentView, cause: Cause) -> bool {
    let incident = &view.incident;
    let restarted = |a: &lubdub_shared::incident::Action| {
        a.kind == CommandKind::Restart && a.outcome == ActionOutcome::Done
    };
    incident.cause == cause && incident.resolved.is_some() && incident.actions.iter().any(restarted)
}

fn of(role: Role, incidents: &[IncidentView]) -> Vec<&IncidentView> {
    let own = |view: &&IncidentView| {
        view.agent.as_ref().is_some_and(|agent| agent.as_str() == role.as_str())
    };
    incidents.iter().filter(own).collect()
}

/// What was not seen yet, in words.
pub(super) fn missing(agents: &[AgentView], incidents: &[IncidentView]) -> Vec<&'static str> {
    let seen = |role: &Role| {
        let agent = agents.iter().find(|agent| agent.agent.as_str() == role.as_str());
        agent.is_some_and(|agent| role.was_seen(agent, &of(*role, incidents)))
    };
    Role::ALL.iter().filter(|role| !seen(role)).map(|role| role.expected()).collect()
}

/// What became of each, from its incidents.
pub(super) fn summary(agents: &[AgentView], incidents: &[IncidentView]) -> String {
    let mut lines = String::from("what was seen\n");
    for role in Role::ALL {
        let agent = agents.iter().find(|agent| agent.agent.as_str() == role.as_str());
        let own = of(role, incidents);
        if own.is_empty() {
            let life = agent.and_then(|agent| agent.life).map_or(0, |life| life.ordinal.get());
            let beat = agent.and_then(|a| a.report.as_ref()).and_then(|report| report.ages.beat);
            let beat = beat.map_or_else(|| "never".to_owned(), |age| format!("{} ago", words(age)));
            lines += &format!("  {role}: no incident, life {life}, last beat {beat}\n");
        }
        for view in own {
            let incident = &view.incident;
            let acts = incident.actions.iter().map(|a| format!("{} {}", a.kind, a.outcome));
            let acts = acts.collect::<Vec<_>>().join(", ");
            let end = match incident.resolved {
                Some(at) => format!("resolved after {}", words(incident.opened.until(at))),
                None => format!("now {}", agent.map_or(Lifecycle::Failed, |a| a.lifecycle)),
            };
            let (cause, level) = (incident.cause, incident.level);
            lines += &format!("  {role}: {cause} ({level}); {acts}; {end}\n");
        }
    }
    lines
}
