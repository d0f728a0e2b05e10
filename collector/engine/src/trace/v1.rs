//! The shapes of format 1, as they are written and read for ever. What the engine is given today is
//! made of them here, and nowhere else.

use lubdub_shared::beat::Report;
use lubdub_shared::id::{AgentId, InstanceId, SpoolId};
use lubdub_shared::policy::Policy;
use lubdub_shared::session::{Event as HardFact, Hello};
use lubdub_shared::time::Now;
use serde::{Deserialize, Serialize};

use crate::agent::Stream;
use crate::{ActRequest, Agent, AgentInput, AgentRecord, Detached, Fleet};

/// One input with its moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Monotonic, nanoseconds.
    pub m: u64,
    /// Wall clock, nanoseconds since 1970.
    pub w: i64,
    /// Which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a: Option<AgentId>,
    /// What.
    #[serde(rename = "in")]
    pub input: Input,
}

/// An input of the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// An agent that was known when the file was begun.
    Standing(Box<AgentState>),
    /// A stream began, under this policy.
    Hello(u64, Box<Hello>, Box<Policy>),
    /// A report.
    Report(Box<Report>),
    /// A hard fact.
    Happened(SpoolId, Box<HardFact>),
    /// A stream ended.
    Detached(Detached),
    /// A person asked.
    Asked(Box<ActRequest>),
    /// An agent was forgotten.
    Forgotten,
    /// Another policy.
    Policy(Box<Policy>),
    /// The right to act was withheld (why), or given back.
    Authority(Option<String>),
    /// So many inputs before this line were not recorded.
    Dropped(u64),
}

/// An agent as it stood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentState {
    /// What a store would know of it.
    pub record: AgentRecord,
    /// Its policy.
    pub policy: Policy,
    /// Its stream and sidecar, while connected.
    pub link: Option<(u64, InstanceId)>,
    /// Its newest report.
    pub report: Option<Report>,
}

impl AgentState {
    /// An agent as it stands now.
    pub fn of(agent: &Agent) -> Self {
        let link = match agent.link.stream {
            Stream::Up { session, instance } => Some((session, instance)),
            Stream::Lost | Stream::Left { .. } => None,
        };
        Self {
            record: agent.record(),
            policy: (*agent.policy).clone(),
            link,
            report: agent.seen.report.as_deref().cloned(),
        }
    }
}

impl Line {
    /// A line at a moment.
    pub fn new(now: Now, a: Option<AgentId>, input: Input) -> Self {
        Self { m: now.mono.0, w: now.wall.0, a, input }
    }

    /// What is written of an input that is about to be applied. `None`: a replay does without it,
    /// since it follows from others.
    pub fn of(fleet: &Fleet, input: &crate::Input, now: Now) -> Option<Self> {
        let (agent, input) = match input {
            crate::Input::Hello { session, hello, policy } => {
                let policy = Box::new((**policy).clone());
                (Some(hello.agent.clone()), Input::Hello(*session, hello.clone(), policy))
            }
            crate::Input::Agent(index, input) => {
                let input = match input {
                    AgentInput::Report(report) => Input::Report(Box::new((**report).clone())),
                    AgentInput::Event(spool, fact) => Input::Happened(*spool, fact.clone()),
                    AgentInput::Detached(how) => Input::Detached(how.clone()),
                    AgentInput::Asked(request) => Input::Asked(Box::new(request.clone())),
                    AgentInput::Policy(policy) => Input::Policy(Box::new((**policy).clone())),
                    AgentInput::Forgotten => Input::Forgotten,
                };
                (Some(fleet.agent(*index).who.id.clone()), input)
            }
            crate::Input::Authority(withheld) => (None, Input::Authority(withheld.clone())),
            // A file begins with all agents; time is on each line; numbers are a fleet's own.
            crate::Input::Restored(_)
            | crate::Input::Epoch(_)
            | crate::Input::Released(_)
            | crate::Input::Tick => return None,
        };
        Some(Self::new(now, agent, input))
    }
}
