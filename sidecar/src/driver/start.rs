//! Starts: the command is run, or somebody else starts the agent and it is found.

use std::net::TcpListener;
use std::time::Duration;

use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::session::Happening;
use lubdub_shared::telemetry::chain;
use lubdub_shared::time::{Mono, Now};
use tracing::{error, info, warn};

use super::ailments::Work;
use super::notices::News;
use super::{Driver, LOOK_EVERY};
use crate::CANNOT_BEGIN;
use crate::config::Starts;
use crate::process::Selector;
use crate::supervisor::Event;
use crate::transcript::Transcript;

/// How long a start waits for the port of the life before to be free.
const PORT_PATIENCE: Duration = Duration::from_secs(30);

/// How soon a start is tried again that the sidecar could not make.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A start that waits for something.
#[derive(Debug)]
pub(super) struct Begun {
    life: Life,
    since: Mono,
    /// When a process was last looked for, or a start was last tried: both cost something.
    looked: Option<Mono>,
    told: bool,
}

/// What the start of the life that is to come rests on.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    begun: Option<Begun>,
    /// The local restart command was run for it already.
    commanded: bool,
    /// Why that failed.
    failed: Option<String>,
    /// Of the life before: it is not the next one.
    pub(super) before: Option<ProcessId>,
}

impl Driver {
    pub(super) fn start(&mut self, life: Life, now: Now) {
        if self.asked_to_end {
            let why = "the sidecar was told to end".to_owned();
            return self.events.push_back(Event::StartFailed(0, why));
        }
        info!(life = life.ordinal, "starting");
        self.move_door();
        self.pace.reset();
        self.forget_notices();
        self.disk.write(crate::worker::Job::NoHeartbeat(self.config.heartbeat_file.clone()));
        self.process.expect_beats(self.supervisor.policy());
        self.transcript = self.config.transcript.clone().and_then(Transcript::follow);
        self.awaited.begun = Some(Begun { life, since: now.mono, looked: None, told: false });
        if let Some(selector) = self.config.attach.take() {
            // What is to be supervised runs already, or there is a mistake.
            self.awaited.begun = None;
            let event = self.find(life, &selector, false);
            return self.events.extend(event);
        }
        if matches!(self.config.starts, Starts::ByCommand { .. }) {
            if !self.awaited.commanded {
                self.run_restart_command();
            }
            self.awaited.commanded = false;
        }
        self.go_on_starting(now);
    }

    /// Looks again whether what a start waits for has come.
    pub(super) fn go_on_starting(&mut self, now: Now) {
        let Some(Begun { life, since, .. }) = self.awaited.begun else { return };
        let waited = now.mono.since(since);
        let event = match self.config.starts.clone() {
            Starts::Own => match self.port_is_taken() {
                true if waited < PORT_PATIENCE => return,
                taken => {
                    let Some(begun) = &mut self.awaited.begun else { return };
                    if begun.looked.is_some_and(|tried| now.mono.since(tried) < RETRY_AFTER) {
                        return;
                    }
                    begun.looked = Some(now.mono);
                    if taken {
                        let text = "its port is still taken; it starts all the same".to_owned();
                        self.note(life, text, now);
                    }
                    match self.spawn(life, now) {
                        Some(event) => event,
                        None => return,
                    }
                }
            },
            Starts::ByCommand { selector, within, .. }
            | Starts::ByPlatform { selector, within } => {
                let Some(begun) = &mut self.awaited.begun else { return };
                if begun.looked.is_some_and(|looked| now.mono.since(looked) < LOOK_EVERY) {
                    return;
                }
                begun.looked = Some(now.mono);
                let patient = waited < within && self.awaited.failed.is_none();
                match self.find(life, &selector, patient) {
                    Some(event) => event,
                    None => return,
                }
            }
        };
        self.awaited.begun = None;
        self.events.push_back(event);
    }

    /// A start that waits is given up.
    pub(super) fn abandon_start(&mut self) {
        if let Some(begun) = self.awaited.begun.take() {
            self.ailments.note(Work::Start, None, begun.since);
            let why = "the sidecar was told to end".to_owned();
            self.events.push_back(Event::StartFailed(0, why));
        }
    }

    /// `None` where the sidecar itself has not what it takes: that is no failure of the agent's,
    /// and is tried again. Who asked for one run waits for no other try.
    fn spawn(&mut self, life: Life, now: Now) -> Option<Event> {
        let started = self.process.start(life, now.mono);
        let (why, code) = match started {
            Ok((process, complaints)) => {
                self.ailments.note(Work::Start, None, now.mono);
                self.complain(life, complaints, now);
                return Some(Event::Started(process));
            }
            Err(failed) if failed.is_ours() && self.config.local.once.is_none() => {
                self.ailments.note(Work::Start, Some(chain(&failed)), now.mono);
                return None;
            }
            Err(failed) if failed.is_ours() => (chain(&failed), CANNOT_BEGIN),
            Err(failed) => (chain(&failed), failed.exit_code()),
        };
        error!("{why}");
        Some(Event::StartFailed(code, why))
    }

    /// Somebody else starts it: exactly one process must fit, and not the one before.
    fn find(&mut self, life: Life, selector: &Selector, patient: bool) -> Option<Event> {
        let found = selector.resolve();
        let why = match found {
            Ok(process) if Some(process) == self.awaited.before => {
                "it is the one before".to_owned()
            }
            Ok(process) => match self.process.attach(life, process) {
                Ok(()) => {
                    self.awaited.before = Some(process);
                    self.awaited.failed = None;
                    return Some(Event::Started(process));
                }
                Err(error) => format!("pid {}: {error}", process.pid),
            },
            Err(why) => why.to_string(),
        };
        if patient {
            return None;
        }
        let why = match self.awaited.failed.take() {
            Some(failed) => format!("the restart command failed: {failed}; {why}"),
            None => why,
        };
        error!("{why}");
        Some(Event::StartFailed(1, why))
    }

    /// Listening there would fail now: the life before has left something behind.
    fn port_is_taken(&mut self) -> bool {
        let Some(port) = self.config.stop_port else { return false };
        let taken = TcpListener::bind(port)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        if let Some(begun) = self.awaited.begun.as_mut().filter(|begun| taken && !begun.told) {
            begun.told = true;
            info!(%port, "the start waits for the port to be free");
        }
        taken
    }

    /// The local command that stops and starts the agent.
    pub(super) fn run_restart_command(&mut self) {
        let Starts::ByCommand { argv, within, .. } = &self.config.starts else { return };
        self.awaited.commanded = true;
        self.awaited.failed = None;
        let hook = self.hook(argv, *within);
        self.report_back(async move { News::Restarted(hook.run().await) });
    }

    /// It ended; whether it did its work is seen by the process that follows. One that failed is
    /// not waited for.
    pub(super) fn restarted(&mut self, done: Result<String, String>, now: Now) {
        if let (Err(why), Some(life)) = (done, self.supervisor.life()) {
            self.note(life, format!("the restart command failed: {why}"), now);
            self.awaited.failed = Some(why);
        }
    }

    /// What the life must do without; told once, though each life lacks it.
    fn complain(&mut self, life: Life, complaints: Vec<String>, now: Now) {
        for text in complaints.iter().filter(|text| !self.complaints.contains(text)) {
            warn!("{text}");
            self.outbox.push(now.wall, Some(life), Happening::Note { text: text.clone() });
        }
        self.complaints = complaints;
    }

    /// What the agent wrote into its transcript, as if it had said it to us; no beats.
    pub(super) fn read_transcript(&mut self, now: Now) {
        let Some(transcript) = &mut self.transcript else { return };
        for message in transcript.take() {
            self.supervisor.say(message, now, &mut self.actions);
        }
    }

    /// Captured output is passed on, and bounded, by threads of its own.
    pub(super) fn tell_dropped_output(&mut self, now: Now) {
        let dropped = self.process.dropped_output(now.mono);
        if let (Some(dropped), Some(life)) = (dropped, self.supervisor.life()) {
            let text = format!(
                "nobody takes its output, or not fast enough: {dropped} bytes were dropped"
            );
            self.note(life, text, now);
        }
    }

    fn note(&mut self, life: Life, text: String, now: Now) {
        warn!("{text}");
        self.outbox.push(now.wall, Some(life), Happening::Note { text });
    }

    /// Who lives on because the agent keeps it.
    pub(super) fn name_the_kept(&mut self, now: Now) {
        let kept = self.process.kept();
        let (false, Some(life)) = (kept.is_empty(), self.supervisor.life()) else { return };
        let names: Vec<String> =
            kept.iter().map(|kept| format!("{} ({})", kept.pid, kept.comm)).collect();
        self.note(life, format!("kept on purpose (LUBDUB_DETACH=1): {}", names.join(", ")), now);
    }
}
