//! What of an agent is remembered over a restart of the collector.

use std::collections::BTreeMap;

use lubdub_shared::beat::Evidence;
use lubdub_shared::command::Command;
use lubdub_shared::id::{AgentId, Life, SpoolId};
use lubdub_shared::incident::Cause;
use lubdub_shared::status::{Lifecycle, Status};
use lubdub_shared::time::Wall;
use serde::{Deserialize, Serialize};

use super::{Agent, Stream};
use crate::words;

/// What must be known of an agent after a restart of the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its id.
    pub id: AgentId,
    /// Where it ran.
    pub host: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its last life.
    pub life: Option<Life>,
    /// When that began.
    pub started: Option<Wall>,
    /// Where its process was.
    pub lifecycle: Lifecycle,
    /// Evidence that its lives showed.
    pub shown: Evidence,
    /// Its sidecar had left on purpose, for good.
    pub left: bool,
    /// The newest event that was applied of each of its newest spools, the newest spool last.
    pub applied: Vec<(SpoolId, u64)>,
    /// Held down: how, by whom and why.
    pub held: Option<String>,
    /// The trouble that is being treated.
    pub treating: Option<Treated>,
    /// A life had yet to be proven.
    pub verifying: bool,
}

/// A trouble under treatment, as it survives the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treated {
    /// What it is.
    pub cause: Cause,
    /// How bad it is.
    pub level: Status,
    /// One line.
    pub detail: String,
    /// Since when.
    pub since: Wall,
}

/// A command that had no answer when the collector ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// What.
    pub command: Command,
    /// When it was decided.
    pub decided: Wall,
    /// It waits for a sidecar, until then; `None`: it was sent.
    pub expires: Option<Wall>,
}

/// What of an agent is remembered and changes: compared before and after each event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    life: Option<Life>,
    lifecycle: Lifecycle,
    shown: Evidence,
    left: bool,
    held: bool,
    applied: Option<(SpoolId, u64)>,
    treating: Option<(Cause, Wall)>,
    verifying: bool,
}

impl Agent {
    pub(crate) fn record(&self) -> AgentRecord {
        AgentRecord {
            id: self.who.id.clone(),
            host: self.who.host.clone(),
            labels: self.who.labels.clone(),
            life: self.seen.life,
            started: self.seen.started,
            lifecycle: self.seen.lifecycle,
            shown: self.seen.shown,
            left: matches!(self.link.stream, Stream::Left { back_by: None }),
            applied: self.link.applied.clone(),
            held: self.seen.down.clone(),
            treating: self.treatment.trouble().map(|standing| Treated {
                cause: standing.finding.cause,
                level: standing.finding.level,
                detail: words::detail(&standing.finding),
                since: standing.since.wall,
            }),
            verifying: self.treatment.proof().is_some(),
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        let treating = self.treatment.trouble();
        Mark {
            life: self.seen.life,
            lifecycle: self.seen.lifecycle,
            shown: self.seen.shown,
            left: matches!(self.link.stream, Stream::Left { back_by: None }),
            held: self.seen.down.is_some(),
            applied: self.link.applied.last().copied(),
            treating: treating.map(|standing| (standing.finding.cause, standing.since.wall)),
            verifying: self.treatment.proof().is_some(),
        }
    }
}
