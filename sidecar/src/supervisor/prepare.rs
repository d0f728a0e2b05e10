//! PURE: before a living tree is ended: evidence, then the checkpoint hook, then the signal.

use std::time::Duration;

use lubdub_shared::command::{Ending, Outcome, Refusal};
use lubdub_shared::id::{CommandId, Life, ProcessId};
use lubdub_shared::session::{Bundle, Happening};
use lubdub_shared::text::clip;

use super::recent::History;
use super::{Action, State, Supervisor, Then};

/// Longest that evidence may take, its hook included.
pub const EVIDENCE_PATIENCE: Duration = Duration::from_secs(5);
/// The driver has this much longer before it is no longer waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// What comes before the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Evidence,
    Checkpoint,
}

/// What evidence is gathered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The tree is about to be ended.
    BeforeStop,
    /// It ended by itself.
    AfterEnd,
    /// It does not end, though it was killed.
    Unkillable,
    /// Somebody asked.
    Asked(CommandId),
}

/// An order to gather evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Gather {
    /// What for.
    pub purpose: Purpose,
    /// The life that it is about.
    pub life: Option<Life>,
    /// Why, in words.
    pub reason: String,
    /// What the supervisor itself knows.
    pub history: History,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// As it was ordered.
    pub purpose: Purpose,
    /// The life that it is about.
    pub life: Option<Life>,
    /// The bundle, or why there is none.
    pub bundle: Result<Bundle, String>,
}

impl Supervisor {
    pub(super) fn gather(&self, purpose: Purpose, reason: &str, out: &mut Vec<Action>) {
        let history = self.recent.history(self.ticks);
        let reason = clip(reason.into());
        out.push(Action::Gather(Gather { purpose, life: self.memory.life, reason, history }));
    }

    /// A living tree is to be ended. `counts`: by the schedule.
    pub(super) fn prepare(
        &mut self,
        reason: &str,
        then: Then,
        counts: bool,
        out: &mut Vec<Action>,
    ) {
        let State::Running(process) = self.state else { return };
        let until = self.ticks.after(EVIDENCE_PATIENCE + MARGIN);
        self.state = State::Preparing { process, until, then, counts, step: Step::Evidence };
        self.gather(Purpose::BeforeStop, reason, out);
    }

    /// A step before the signal is done, or took too long.
    pub(super) fn prepared(&mut self, done: Step, out: &mut Vec<Action>) {
        let State::Preparing { process, then, counts, step, .. } = self.state.clone() else {
            return;
        };
        match step {
            _ if step != done => {}
            Step::Evidence => {
                self.state = State::Running(process);
                if let Err((ending, detail)) = self.still_to_be_ended() {
                    self.condemned = false;
                    if let Some(intent) = self.memory.intent.take() {
                        self.finish(Outcome { ending, detail, ..intent.outcome }, out);
                    }
                    return;
                }
                if counts {
                    self.memory.ledger.record();
                    out.push(Action::Persist);
                }
                let Some(patience) = self.local.checkpoint else {
                    return self.signal(process, then, out);
                };
                let until = self.ticks.after(patience + MARGIN);
                let step = Step::Checkpoint;
                self.state = State::Preparing { process, until, then, counts, step };
                out.push(Action::Checkpoint);
            }
            Step::Checkpoint => self.signal(process, then, out),
        }
    }

    /// Evidence took its time: an agent that moved on meanwhile is left alone.
    fn still_to_be_ended(&self) -> Result<(), (Ending, String)> {
        match &self.memory.intent {
            Some(intent) => self.still_true(&intent.command),
            None if self.condemned_for().is_some() => Ok(()),
            None => Err((Ending::Refused(Refusal::PreconditionFailed), String::new())),
        }
    }

    /// An earlier sidecar was killed in the middle of this. Who was asked to end is not asked
    /// twice: many take that for "at once".
    pub(super) fn go_on_stopping(&mut self, then: Then, signalled: bool, out: &mut Vec<Action>) {
        let State::Running(process) = self.state else { return };
        if signalled {
            let kill_at = self.ticks.after(self.grace());
            self.state = State::Stopping { process, kill_at, then };
        } else {
            self.prepare("finished after a crash of the sidecar", then, false, out);
        }
    }

    fn signal(&mut self, process: ProcessId, then: Then, out: &mut Vec<Action>) {
        if let Some(intent) = &mut self.memory.intent {
            intent.signalled = true;
            out.push(Action::Persist);
        }
        let restart = &self.policy().restart;
        let (signal, grace) = (restart.stop_signal, restart.term_grace);
        // A local command stops it too, in its own time.
        let elsewhere = self.local.restarted_by_command;
        let elsewhere = elsewhere.filter(|_| matches!(then, Then::Start { .. }));
        let kill_at = self.ticks.after(elsewhere.unwrap_or(grace));
        self.state = State::Stopping { process, kill_at, then };
        out.push(match elsewhere {
            Some(_) => Action::RestartElsewhere,
            None => Action::SignalMain(signal),
        });
    }

    /// The checkpoint hook ended, well or not.
    pub(super) fn checkpointed(&mut self, done: Result<String, String>, out: &mut Vec<Action>) {
        if let Err(why) = &done {
            let text = format!("the checkpoint failed: {why}");
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
        }
        let word = if done.is_ok() { "done" } else { "failed" };
        self.add_to_answer(&format!(", checkpoint {word}"));
        self.prepared(Step::Checkpoint, out);
    }

    fn add_to_answer(&mut self, what: &str) {
        if let Some(intent) = self.memory.intent.as_mut().filter(|intent| intent.begun) {
            intent.outcome.detail.push_str(what);
        }
    }

    pub(super) fn gathered(&mut self, gathered: Gathered, out: &mut Vec<Action>) {
        let Gathered { purpose, life, bundle } = gathered;
        let kept = bundle.as_ref().map(|bundle| bundle.id.clone()).map_err(Clone::clone);
        let place = bundle.as_ref().map_or_else(|_| String::new(), |b| format!(" at {}", b.path));
        let intended = || self.memory.intent.as_ref().filter(|intent| intent.begun);
        let command = match purpose {
            Purpose::BeforeStop => intended().map(|intent| intent.outcome.command),
            Purpose::Asked(command) => Some(command),
            Purpose::AfterEnd | Purpose::Unkillable => None,
        };
        let what = match bundle {
            Ok(bundle) => Happening::Evidence(Bundle { command, ..bundle }),
            Err(why) => Happening::Note { text: format!("no evidence was kept: {why}") },
        };
        out.push(Action::Emit(life, what));
        match purpose {
            Purpose::BeforeStop => {
                if let Ok(id) = &kept {
                    self.add_to_answer(&format!(", evidence {id}"));
                    if let Some(intent) = self.memory.intent.as_mut().filter(|i| i.begun) {
                        intent.outcome.evidence = Some(id.clone());
                    }
                }
                self.prepared(Step::Evidence, out);
            }
            Purpose::Asked(command) => {
                let ours = |asked: &mut Outcome| asked.command == command;
                let Some(asked) = self.capturing.take_if(ours) else { return };
                let (ending, detail) = match &kept {
                    Ok(id) => (Ending::Done, format!("evidence {id}{place}")),
                    Err(why) => (Ending::Failed, why.clone()),
                };
                self.finish(Outcome { ending, detail, evidence: kept.ok(), ..asked }, out);
            }
            Purpose::AfterEnd | Purpose::Unkillable => {}
        }
    }
}
