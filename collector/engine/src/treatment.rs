//! What is being done about an agent's trouble: the machine that ends living agents.
//!
//! ```text
//!             order                  a new life                 proven
//!  Watching ─────────▶ Ordered ───────────────────▶ Proving ────────────▶ Watching
//!    │  ▲               ▲ │ │                        ▲  │ │
//!    │  │  refused,     │ │ │ done, failed           │  │ └─ order ──▶ Ordered
//!    │  └─ unanswered ──┼─┘ ▼                        │  │
//!    │                  └─ AwaitingLife ─────────────┘  │
//!    │   failed exit            ▲     a new life        │ failed exit
//!    └──────────────────────────┴───────────────────────┘
//! ```
//!
//! It holds what is true of the treatment and nothing else: what keeps the engine from the next act
//! is [`crate::restraint::Restraint`], and what people asked for is [`crate::asks::Asks`]. Every
//! cell of state × change stands in `treatment/table.txt`.

use lubdub_shared::id::Life;
use lubdub_shared::time::Mono;

use crate::asks::InFlight;
use crate::finding::ActiveFinding;

/// A life that has yet to show what earlier lives showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// The life.
    pub life: Life,
    /// When it has failed.
    pub due: Mono,
}

/// What is being done about an agent's trouble.
#[derive(Debug, Clone, Default)]
pub enum Treatment {
    /// Nothing was done that has not been proven to help.
    #[default]
    Watching,
    /// A command of the engine is under way.
    Ordered {
        /// What it treats.
        trouble: Box<ActiveFinding>,
        /// The command.
        act: Box<InFlight>,
        /// The life that it was ordered against had yet to be proven.
        proof: Option<Verification>,
    },
    /// The trouble stands, and nothing of the engine is under way: the sidecar's schedule starts
    /// the next life, or a person does.
    AwaitingLife {
        /// The trouble.
        trouble: Box<ActiveFinding>,
    },
    /// A new life has yet to be proven.
    Proving {
        /// What it is to have cured; `None` where a person's command began this life.
        trouble: Option<Box<ActiveFinding>>,
        /// The life, and until when.
        proof: Verification,
    },
}

/// What may happen to a treatment.
#[derive(Debug)]
pub(crate) enum Change {
    /// An act is sent.
    Ordered { trouble: Box<ActiveFinding>, act: Box<InFlight> },
    /// The act was answered, or will not be any more.
    Answered(Answer),
    /// A life began. `owed`: a command is under way whose life this is.
    LifeBegan { proof: Verification, owed: bool },
    /// A report speaks of a life whose beginning was not told, or not yet.
    AnotherLife,
    /// A report of a running life; nothing else is under way.
    Running(Verification),
    /// The life ended as it should.
    EndedWell,
    /// The life ended, and failed.
    Failed(Box<ActiveFinding>),
    /// The schedule was spent on failed exits.
    CrashLoop(Box<ActiveFinding>),
    /// The life under proof showed what earlier ones did.
    Proven,
    /// It did not; what that is called where nothing else is known to be wrong.
    NotShown(Box<ActiveFinding>),
    /// The life under proof moved when it was to be ended: it has its time once more.
    Saved { due: Mono },
    /// A person ended the agent: what was wrong before is no trouble any more.
    EndedByPerson,
}

/// How the act under way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was carried out.
    Done,
    /// Nothing was done.
    Undone,
    /// It was tried, and did not work.
    Failed,
    /// Nobody answered in time. `running`: the agent runs as if nothing had been asked.
    Silence { running: bool },
}

impl Treatment {
    /// As a store knows it.
    pub(crate) fn restored(
        trouble: Option<Box<ActiveFinding>>,
        proof: Option<Verification>,
    ) -> Self {
        match (trouble, proof) {
            (trouble, Some(proof)) => Self::Proving { trouble, proof },
            (Some(trouble), None) => Self::AwaitingLife { trouble },
            (None, None) => Self::Watching,
        }
    }

    /// What is treated: it stands until the treatment is proven to have helped.
    pub fn trouble(&self) -> Option<&ActiveFinding> {
        match self {
            Self::Watching => None,
            Self::Ordered { trouble, .. } | Self::AwaitingLife { trouble } => Some(trouble),
            Self::Proving { trouble, .. } => trouble.as_deref(),
        }
    }

    /// The command of the engine that is under way.
    pub fn act(&self) -> Option<&InFlight> {
        match self {
            Self::Ordered { act, .. } => Some(act),
            Self::Watching | Self::AwaitingLife { .. } | Self::Proving { .. } => None,
        }
    }

    /// The same, for its age to be told anew.
    pub(crate) fn act_mut(&mut self) -> Option<&mut InFlight> {
        match self {
            Self::Ordered { act, .. } => Some(act),
            Self::Watching | Self::AwaitingLife { .. } | Self::Proving { .. } => None,
        }
    }

    /// The life that has yet to be proven.
    pub fn proof(&self) -> Option<Verification> {
        match self {
            Self::Proving { proof, .. } => Some(*proof),
            Self::Ordered { proof, .. } => *proof,
            Self::Watching | Self::AwaitingLife { .. } => None,
        }
    }

    /// Applies a change. What comes back is a command that the treatment does not wait for any
    /// more, though nobody has answered it yet.
    #[must_use]
    pub(crate) fn apply(&mut self, change: Change) -> Option<Box<InFlight>> {
        let (next, released) = std::mem::take(self).changed(change);
        *self = next;
        released
    }

    fn changed(self, change: Change) -> (Self, Option<Box<InFlight>>) {
        match self {
            Self::Watching => (watching(change), None),
            Self::Ordered { trouble, act, proof } => ordered(trouble, act, proof, change),
            Self::AwaitingLife { trouble } => (awaiting_life(trouble, change), None),
            Self::Proving { trouble, proof } => (proving(trouble, proof, change), None),
        }
    }
}

fn watching(change: Change) -> Treatment {
    match change {
        Change::Ordered { trouble, act } => Treatment::Ordered { trouble, act, proof: None },
        Change::LifeBegan { proof, owed: true } => Treatment::Proving { trouble: None, proof },
        Change::Failed(trouble) | Change::CrashLoop(trouble) => Treatment::AwaitingLife { trouble },
        Change::LifeBegan { owed: false, .. }
        | Change::Answered(_)
        | Change::AnotherLife
        | Change::Running(_)
        | Change::EndedWell
        | Change::Proven
        | Change::NotShown(_)
        | Change::Saved { .. }
        | Change::EndedByPerson => Treatment::Watching,
    }
}

fn ordered(
    trouble: Box<ActiveFinding>,
    act: Box<InFlight>,
    proof: Option<Verification>,
    change: Change,
) -> (Treatment, Option<Box<InFlight>>) {
    let next = match change {
        Change::Ordered { trouble, act: newer } => {
            return (Treatment::Ordered { trouble, act: newer, proof }, Some(act));
        }
        Change::Answered(answer) => answered(trouble, proof, answer),
        // That a life began says what was done: the answer is only for the record then.
        Change::LifeBegan { proof, .. } => {
            return (Treatment::Proving { trouble: Some(trouble), proof }, Some(act));
        }
        Change::Proven => return (Treatment::Watching, Some(act)),
        Change::AnotherLife | Change::EndedWell => Treatment::Ordered { trouble, act, proof: None },
        Change::Failed(trouble) => Treatment::Ordered { trouble, act, proof: None },
        Change::CrashLoop(trouble) => Treatment::Ordered { trouble, act, proof },
        Change::Saved { due } => {
            let proof = proof.map(|proof| Verification { due, ..proof });
            Treatment::Ordered { trouble, act, proof }
        }
        // A person's command is the sidecar's next; ours is refused then, or done already.
        Change::EndedByPerson | Change::Running(_) | Change::NotShown(_) => {
            Treatment::Ordered { trouble, act, proof }
        }
    };
    (next, None)
}

/// The act is over. Where nothing was done nothing is treated, unless a life was being proven: the
/// next report judges afresh. What was tried and failed stays in sight.
fn answered(trouble: Box<ActiveFinding>, proof: Option<Verification>, answer: Answer) -> Treatment {
    match (proof, answer) {
        (Some(proof), _) => Treatment::Proving { trouble: Some(trouble), proof },
        (None, Answer::Done | Answer::Failed | Answer::Silence { running: false }) => {
            Treatment::AwaitingLife { trouble }
        }
        (None, Answer::Undone | Answer::Silence { running: true }) => Treatment::Watching,
    }
}

fn awaiting_life(trouble: Box<ActiveFinding>, change: Change) -> Treatment {
    match change {
        Change::Ordered { trouble, act } => Treatment::Ordered { trouble, act, proof: None },
        Change::LifeBegan { proof, .. } | Change::Running(proof) => {
            Treatment::Proving { trouble: Some(trouble), proof }
        }
        Change::Failed(trouble) | Change::CrashLoop(trouble) => Treatment::AwaitingLife { trouble },
        // The first is of a command that a person asked for.
        Change::Answered(Answer::Silence { running: true }) | Change::EndedByPerson => {
            Treatment::Watching
        }
        Change::Answered(_)
        | Change::AnotherLife
        | Change::EndedWell
        | Change::Proven
        | Change::NotShown(_)
        | Change::Saved { .. } => Treatment::AwaitingLife { trouble },
    }
}

fn proving(trouble: Option<Box<ActiveFinding>>, proof: Verification, change: Change) -> Treatment {
    match change {
        Change::Ordered { trouble, act } => Treatment::Ordered { trouble, act, proof: Some(proof) },
        Change::LifeBegan { owed: false, .. } if trouble.is_none() => Treatment::Watching,
        Change::LifeBegan { proof, .. } => Treatment::Proving { trouble, proof },
        Change::AnotherLife | Change::EndedWell => Treatment::restored(trouble, None),
        Change::Failed(trouble) => Treatment::AwaitingLife { trouble },
        Change::CrashLoop(trouble) => Treatment::Proving { trouble: Some(trouble), proof },
        Change::Proven => Treatment::Watching,
        Change::NotShown(new) => Treatment::Proving { trouble: trouble.or(Some(new)), proof },
        Change::Saved { due } => {
            Treatment::Proving { trouble, proof: Verification { due, ..proof } }
        }
        Change::EndedByPerson => Treatment::Proving { trouble: None, proof },
        Change::Answered(_) | Change::Running(_) => Treatment::Proving { trouble, proof },
    }
}

#[cfg(test)]
mod tests;
