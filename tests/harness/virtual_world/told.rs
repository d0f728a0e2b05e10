//! What the sidecar does and what the engine decides, done to the scripted agent and written down.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lubdub_engine::{AgentInput, Effect};
use lubdub_shared::beat::ExitHow;
use lubdub_shared::id::ProcessId;
use lubdub_shared::session;
use lubdub_shared::status::Status;
use lubdub_shared::time::words;
use lubdub_sidecar::supervisor::{Action, Event as Told};
use lubdub_sidecar::vitals::activity::Counters;

use super::VirtualWorld;
use crate::sample::gathered;

impl VirtualWorld {
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(life) => {
                    self.note(&format!("starts life {}", life.ordinal));
                    self.pids += 1;
                    (self.alive, self.paused, self.life_began) = (true, false, self.now.mono);
                    (self.counters, self.counted) = (Counters::default(), 0);
                    let pid = NonZeroU32::new(self.pids).expect("not 0");
                    self.tell(Told::Started(ProcessId { pid, start_time: 1 }));
                }
                Action::Tell(notice) => {
                    self.note(&format!("the agent is told: {}, {}", notice.kind, notice.reason));
                    let taken = Ok("the agent took it".to_owned());
                    self.tell(Told::Noticed(notice.id, taken));
                }
                Action::Gather(order) => {
                    self.tell(Told::Gathered(Box::new(gathered(&order))));
                }
                Action::RestartElsewhere => self.note("restarted elsewhere"),
                Action::Checkpoint => self.tell(Told::Checkpointed(Ok(String::new()))),
                Action::SignalMain(signal) if self.alive && !self.stubborn => {
                    self.note(&format!("signal {signal}"));
                    self.ends(ExitHow::Signal(signal));
                }
                Action::SignalMain(signal) => self.note(&format!("signal {signal}, ignored")),
                Action::SignalTree(_) => self.sweeping = true,
                Action::KillTree => {
                    self.note("kills the tree");
                    self.sweeping = true;
                    if self.alive && !self.undying {
                        self.ends(ExitHow::Signal(9));
                    }
                }
                Action::Emit(life, what) => {
                    if let session::Happening::Note { text } = &what {
                        self.note(text);
                    }
                    self.numbered += 1;
                    let number = self.numbered;
                    let event = session::Event { number, at: self.now.wall, life, what };
                    if self.linked {
                        self.feed(AgentInput::Event(self.hello.spool, Box::new(event)));
                    } else {
                        self.spool.push(event);
                    }
                }
                Action::Report => {
                    let report = self.supervisor.report(self.now.mono);
                    self.feed(AgentInput::Report(Arc::new(report)));
                }
                Action::Tombstone(hold) => {
                    let words = if hold.is_some() { "writes" } else { "takes away" };
                    self.note(&format!("{words} tombstone.json"));
                }
                Action::Persist | Action::Untell(_) => {}
                // The virtual disk takes everything at once.
                Action::Intend => self.tell(Told::Intended(Ok(()))),
                Action::End(code) => self.note(&format!("the sidecar ends with {code}")),
            }
        }
    }

    pub(super) fn dispatch(&mut self) {
        for (_, effect) in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send(command) => {
                    self.note(&format!("-> {} by {}", command.kind, command.requested_by));
                    if self.holding {
                        self.held.push(*command);
                    } else if self.linked {
                        self.tell(Told::Command(command));
                    }
                }
                Effect::Transition(transition) => {
                    self.note(&transition.to_string());
                }
                Effect::Incident(incident) => {
                    let state = if incident.resolved.is_some() { "resolved" } else { "open" };
                    let level = if incident.level == Status::Unknown {
                        ""
                    } else {
                        incident.level.as_str()
                    };
                    let act = incident.actions.last().filter(|_| incident.resolved.is_none());
                    let act = act.map(|act| format!(", {} {}", act.kind, act.outcome));
                    let act = act.unwrap_or_default();
                    self.note(&format!("incident {} {level} {state}{act}", incident.cause));
                }
                Effect::Policy(policy) => {
                    self.note("another policy");
                    self.tell(Told::Policy(Box::new((*policy).clone()), policy.version()));
                }
                Effect::Remember(_) | Effect::Forget | Effect::Restarted { .. } => {}
                Effect::Defer(command, _) => self.note(&format!("waits: {}", command.kind)),
                Effect::Note(text) => self.note(&text),
                Effect::Answered { outcome, detail, .. } => {
                    self.note(&format!("<- {outcome}: {detail}"));
                }
                Effect::WouldHave { kind, .. } => self.note(&format!("would have: {kind}")),
            }
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        let since = self.now.mono.since(self.began);
        let at = if since < Duration::from_secs(7200) {
            format!("{:.2}s", since.as_secs_f64())
        } else {
            words(since)
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(self.said, "{at} {text}").expect("a string takes it");
    }
}
