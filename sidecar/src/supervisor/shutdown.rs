//! PURE: the sidecar itself is told to end, in whatever state that finds it.

use lubdub_shared::command::CommandKind;
use lubdub_shared::status::Lifecycle;

use super::{Action, State, Supervisor, Then, killed};

const SIGINT: i32 = 2;

impl Supervisor {
    /// The sidecar ends in the middle of a stop: what was to hold the agent down still does at the
    /// next start.
    fn keep_hold(&mut self, then: &Then, out: &mut Vec<Action>) {
        let Then::Hold(hold) = then else { return };
        if hold.lifecycle == Lifecycle::Terminated {
            out.push(Action::Tombstone(Some(hold.clone())));
        }
        self.memory.hold = Some(hold.clone());
        out.push(Action::Persist);
        if let Some(intent) = self.memory.intent.take_if(|intent| intent.begun) {
            self.finish(intent.outcome, out);
        }
    }

    pub(super) fn shutdown(&mut self, signal: i32, out: &mut Vec<Action>) {
        match self.state.clone() {
            State::Running(process) => {
                let why = "the sidecar was told to end".to_owned();
                self.tell_of_the_end(CommandKind::Stop, why, out);
                let kill_at = self.ticks.after(self.grace());
                self.state = State::Stopping { process, kill_at, then: Then::End };
                out.push(passed_on(signal));
            }
            State::Preparing { process, then, .. } => {
                self.keep_hold(&then, out);
                let kill_at = self.ticks.after(self.grace());
                self.state = State::Stopping { process, kill_at, then: Then::End };
                out.push(passed_on(signal));
            }
            // A second Ctrl-C is a person who does not wait; a second TERM is the same wish again.
            State::Stopping { then: Then::End, .. } if signal != SIGINT => {}
            State::Stopping { then: Then::End, .. } => {
                self.state = killed(Then::End);
                out.push(Action::KillTree);
            }
            State::Stopping { process, kill_at, then } => {
                self.keep_hold(&then, out);
                let mut kill_at = kill_at;
                if self.local.restarted_by_command.is_some() {
                    // Nobody asked it to end yet: a local command was to.
                    kill_at = self.ticks.after(self.grace());
                    out.push(passed_on(signal));
                }
                self.state = State::Stopping { process, kill_at, then: Then::End };
            }
            State::Sweeping { exit, kill_at: Some(_), asked, left, then: Then::End }
                if signal == SIGINT =>
            {
                self.state = State::Sweeping { exit, kill_at: None, asked, left, then: Then::End };
                out.push(Action::KillTree);
            }
            State::Sweeping { exit, kill_at, asked, left, then } => {
                self.keep_hold(&then, out);
                self.state = State::Sweeping { exit, kill_at, asked, left, then: Then::End };
                if !self.health.unkillable.is_empty() {
                    let plight = self.health.unkillable.clone();
                    let survivors = self.stuck.clone();
                    self.unkillable(survivors, plight, out);
                }
            }
            State::Starting { .. } => self.state = State::Starting { shutdown: Some(signal) },
            State::Unborn { .. } | State::Resting { .. } => self.leave(Lifecycle::Stopped, out),
            // What ended it stays true.
            State::Held(hold) => self.leave(hold.lifecycle, out),
            State::Ended(_) => {}
        }
    }

    fn leave(&mut self, last: Lifecycle, out: &mut Vec<Action>) {
        self.fail_all(out);
        self.state = State::Ended(last);
        out.push(Action::End(0));
    }
}

/// A terminal's Ctrl-C reaches every process of the job: shells wait for it.
fn passed_on(signal: i32) -> Action {
    match signal {
        SIGINT => Action::SignalTree(signal),
        _ => Action::SignalMain(signal),
    }
}
