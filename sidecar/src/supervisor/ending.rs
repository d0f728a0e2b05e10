//! PURE: how a life ends, and what follows by the sidecar's own schedule.

use std::time::Duration;

use lubdub_shared::beat::{Exit, ExitHow};
use lubdub_shared::command::{CommandKind, Ending, Outcome, Survivor};
use lubdub_shared::id::ProcessId;
use lubdub_shared::policy::{Exhausted, Mode, RestartOn, UnknownExit};
use lubdub_shared::schedule::Next;
use lubdub_shared::session::{Happening, Hold};
use lubdub_shared::status::Lifecycle;
use lubdub_shared::text::clip;
use lubdub_shared::time::words;

use super::command::hold_of;
use super::{Action, PATIENCE, Purpose, State, Step, Supervisor, Then};

/// Between a clean exit and the next start under `restart.on = "always"`.
const RESPAWN_MIN: Duration = Duration::from_secs(1);

/// As timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// A life that is over, tree and all.
struct Ended {
    exit: Exit,
    /// What a shell would say, where it never ran.
    code: Option<u8>,
    asked: bool,
    /// Who still ran when the main process had ended by itself.
    left: Vec<Survivor>,
    then: Then,
}

impl Supervisor {
    /// The life that is remembered ended while no sidecar was there. `counts`: not by the end of
    /// the sidecar itself, nor by a reboot.
    pub fn ended_unseen(&mut self, counts: bool, out: &mut Vec<Action>) {
        let exit = Exit::of(ExitHow::Unknown("it ended while no sidecar was there".to_owned()));
        let begun = self.memory.intent.as_ref().filter(|intent| intent.begun);
        let (asked, then) = match begun.map(|intent| &intent.command) {
            Some(command) if matches!(command.kind, CommandKind::Stop | CommandKind::Apoptosis) => {
                (true, Then::Hold(hold_of(command)))
            }
            Some(_) => (true, Then::Start { after: Duration::ZERO }),
            None if counts && !self.is_success(&exit) => (false, self.after_failure()),
            // Whoever starts a sidecar wants its agent to run.
            None => (false, Then::Start { after: Duration::ZERO }),
        };
        let then = self.memory.hold.clone().map_or(then, Then::Hold);
        let at_once = then == Then::Start { after: Duration::ZERO };
        let left = Vec::new();
        self.ended_with(Ended { exit, code: None, asked, left, then }, Vec::new(), out);
        if at_once {
            // As any first start: what waited for this sidecar, a stop perhaps, comes before it.
            self.state = State::Unborn { patience: self.ticks.after(PATIENCE) };
        }
    }

    /// Between asking and killing.
    pub(super) fn grace(&self) -> Duration {
        self.local.once.map_or_else(|| self.policy().restart.term_grace, |once| once.grace)
    }

    /// The only life has had its time.
    pub(super) fn end_in_time(&mut self, process: ProcessId, out: &mut Vec<Action>) {
        let Some(once) = self.local.once.filter(|once| self.clocks.up(self.ticks) >= once.timeout)
        else {
            return;
        };
        self.timed_out = true;
        let kill_at = self.ticks.after(once.grace);
        self.state = State::Stopping { process, kill_at, then: Then::End };
        out.push(Action::SignalTree(self.policy().restart.stop_signal));
    }

    /// A command that never ran is a mistake of whoever wrote it; one that ran before is a failure.
    pub(super) fn start_failed(&mut self, code: u8, why: &str, out: &mut Vec<Action>) {
        let State::Starting { shutdown } = self.state else { return };
        let first = !std::mem::replace(&mut self.ran, true);
        let exit = Exit::of(ExitHow::Unknown(why.to_owned()));
        let then = if first || shutdown.is_some() { Then::End } else { self.after_failure() };
        let code = Some(code);
        let asked = shutdown.is_some();
        let left = Vec::new();
        self.ended_with(Ended { exit, code, asked, left, then }, Vec::new(), out);
    }

    /// For how long it has said STOPPING, where that is too long.
    pub(super) fn stopping_too_long(&self) -> Option<Duration> {
        let most = self.policy().restart.stopping_max;
        let over = self.clocks.stopping_for(self.ticks).filter(|age| *age >= most);
        over.filter(|_| matches!(self.state, State::Running(_)))
    }

    /// It said STOPPING itself, and does not end: that has a bound of its own, then it is stopped
    /// as by anybody. Where nothing may be done to living agents it is told.
    pub(super) fn judge_stopping(&mut self, out: &mut Vec<Action>) {
        let Some(age) = self.stopping_too_long() else { return };
        if !std::mem::replace(&mut self.told_of_stopping, true) {
            let text = format!("it said STOPPING {} ago, and has not ended", words(age));
            out.push(Action::Emit(self.memory.life, Happening::Note { text }));
        }
        if !self.condemned && self.never_stops().is_some() {
            self.condemned = true;
            out.push(Action::Persist);
            out.push(Action::Intend);
        }
    }

    /// Why it must be stopped, as far as that may be done.
    pub(super) fn never_stops(&self) -> Option<String> {
        let may = self.policy().mode == Mode::Enforce && self.memory.intent.is_none();
        let over = may && self.stopping_too_long().is_some();
        over.then(|| "it said STOPPING and did not end within stopping_max".to_owned())
    }

    /// A start that left nobody is one that failed, whatever its launcher's exit code.
    pub(super) fn nobody_launched(&mut self, why: String, out: &mut Vec<Action>) {
        self.main_exited(Exit::of(ExitHow::Unknown(why)), Vec::new(), out);
    }

    pub(super) fn main_exited(&mut self, exit: Exit, left: Vec<Survivor>, out: &mut Vec<Action>) {
        match self.state.clone() {
            State::Running(_) => {
                let then = self.after_exit(&exit);
                let kill_at = Some(self.ticks.after(self.grace()));
                if !self.is_success(&exit) {
                    self.gather(Purpose::AfterEnd, &format!("it ended: {exit}"), out);
                }
                let exit = Some(exit);
                self.state = State::Sweeping { exit, kill_at, asked: false, left, then };
                out.push(Action::SignalTree(15));
            }
            // It ended before it was asked to: what was to follow does.
            State::Preparing { then, counts, step, .. } => {
                if counts && step == Step::Evidence {
                    self.memory.ledger.record();
                }
                let kill_at = Some(self.ticks.after(self.grace()));
                let (exit, left) = (Some(exit), Vec::new());
                self.state = State::Sweeping { exit, kill_at, asked: false, left, then };
                out.push(Action::SignalTree(15));
            }
            State::Stopping { kill_at, then, .. } => {
                let exit = Exit { by_us: matches!(exit.how, ExitHow::Signal(_)), ..exit };
                let (exit, kill_at, left) = (Some(exit), Some(kill_at), Vec::new());
                self.state = State::Sweeping { exit, kill_at, asked: true, left, then };
                out.push(Action::SignalTree(15));
            }
            State::Sweeping { exit: None, kill_at, asked, left, then } => {
                let exit = Exit { by_us: matches!(exit.how, ExitHow::Signal(_)), ..exit };
                self.state = State::Sweeping { exit: Some(exit), kill_at, asked, left, then };
            }
            State::Unborn { .. }
            | State::Resting { .. }
            | State::Starting { .. }
            | State::Sweeping { exit: Some(_), .. }
            | State::Held(_)
            | State::Ended(_) => {}
        }
    }

    pub(super) fn tree_gone(&mut self, survivors: Vec<Survivor>, out: &mut Vec<Action>) {
        let State::Sweeping { exit: Some(exit), asked, left, then, .. } = self.state.clone() else {
            return;
        };
        self.ended_with(Ended { exit, code: None, asked, left, then }, survivors, out);
    }

    pub(super) fn unkillable(
        &mut self,
        survivors: Vec<Survivor>,
        plight: String,
        out: &mut Vec<Action>,
    ) {
        let State::Sweeping { exit, asked, left, then, .. } = self.state.clone() else { return };
        if then == Then::End {
            // The sidecar itself is to end: it names what it leaves behind.
            let how = || ExitHow::Unknown(format!("killed, and still there: {plight}"));
            let exit = exit.unwrap_or_else(|| Exit::of(how()));
            let ended = Ended { exit, code: None, asked, left, then };
            // The next sidecar finds it, and starts nothing beside it.
            let process = self.memory.process;
            self.ended_with(ended, survivors, out);
            self.memory.process = process;
            return;
        }
        let text = format!("killed, and still there: {plight}");
        self.gather(Purpose::Unkillable, &text, out);
        self.health.unkillable = clip(plight.into());
        self.stuck.clone_from(&survivors);
        if let Some(intent) = self.memory.intent.take_if(|intent| intent.begun) {
            let (ending, detail) = (Ending::Failed, text.clone());
            self.finish(Outcome { ending, detail, survivors, ..intent.outcome }, out);
        }
        out.push(Action::Emit(self.memory.life, Happening::Note { text }));
    }

    /// The main process is gone and its tree was swept.
    fn ended_with(&mut self, ended: Ended, survivors: Vec<Survivor>, out: &mut Vec<Action>) {
        let Ended { exit, code, asked, left, then } = ended;
        let ran = code.is_none();
        let code = match code {
            Some(code) => code,
            None if self.timed_out => TIMED_OUT,
            None => exit_code(&exit),
        };
        let life = self.memory.life;
        self.memory.process = None;
        self.memory.starting = false;
        self.health.unkillable.clear();
        let clean = asked || ran && self.is_success(&exit);
        let next = match &then {
            Then::Start { .. } => Lifecycle::Restarting,
            Then::Hold(hold) => hold.lifecycle,
            Then::End if clean => Lifecycle::Stopped,
            Then::End => Lifecycle::Failed,
        };
        if let Some(intent) = self.memory.intent.as_mut().filter(|intent| intent.begun) {
            intent.outcome.survivors.clone_from(&survivors);
        }
        out.push(Action::Emit(life, Happening::Exited { exit, clean, next, survivors, left }));
        match then {
            Then::Start { after } => {
                self.state = State::Resting { start_at: self.ticks.after(after) };
            }
            Then::Hold(hold) => self.hold(hold, out),
            Then::End => {
                self.fail_all(out);
                self.state = State::Ended(next);
                out.push(Action::End(code));
            }
        }
        out.push(Action::Persist);
    }

    /// The sidecar ends: whoever waits for an answer gets one.
    pub(super) fn fail_all(&mut self, out: &mut Vec<Action>) {
        let why = "the sidecar was told to end";
        if let Some(intent) = self.memory.intent.take() {
            self.fail(intent, why, out);
        }
        self.end_nudge(why, out);
        if let Some(asked) = self.capturing.take() {
            let (ending, detail) = (Ending::Failed, why.to_owned());
            self.finish(Outcome { ending, detail, ..asked }, out);
        }
    }

    pub(super) fn hold(&mut self, hold: Hold, out: &mut Vec<Action>) {
        if hold.lifecycle == Lifecycle::Terminated {
            out.push(Action::Tombstone(Some(hold.clone())));
        }
        let crash_loop = hold.crash_loop;
        out.push(Action::Emit(self.memory.life, Happening::Held(hold.clone())));
        self.memory.hold = Some(hold.clone());
        self.state = State::Held(hold);
        out.push(Action::Persist);
        match self.memory.intent.take_if(|intent| intent.begun) {
            Some(intent) if crash_loop => {
                self.fail(intent, "the schedule was spent on failed exits", out);
            }
            Some(intent) => self.finish(intent.outcome, out),
            None => {}
        }
    }

    fn is_success(&self, exit: &Exit) -> bool {
        let restart = &self.policy().restart;
        match exit.how {
            // The person at the terminal wanted that.
            _ if self.local.interactive && is_interrupt(exit) => true,
            ExitHow::Code(code) => restart.success_exit.contains(&code),
            ExitHow::Signal(_) => false,
            ExitHow::Unknown(_) => restart.unknown_exit == UnknownExit::Success,
        }
    }

    /// What follows an exit that nobody asked for.
    fn after_exit(&mut self, exit: &Exit) -> Then {
        if self.local.once.is_some() || self.local.interactive && is_interrupt(exit) {
            return Then::End;
        }
        if let ExitHow::Code(code) = exit.how
            && self.policy().restart.permanent_exit.contains(&code)
        {
            return Then::Hold(Hold {
                lifecycle: Lifecycle::Quarantined,
                reason: format!("exit code {code} is a permanent failure: no restart mends it"),
                requested_by: "permanent_exit".to_owned(),
                crash_loop: false,
            });
        }
        let clean = self.is_success(exit);
        match self.policy().restart.on {
            RestartOn::Always if clean => {
                // Never sooner than after a second, as s6 has it: this one has no schedule.
                let after = self.policy().restart.delay.initial.max(RESPAWN_MIN);
                Then::Start { after }
            }
            RestartOn::Failure | RestartOn::Always if !clean => self.after_failure(),
            RestartOn::Failure | RestartOn::Always | RestartOn::Never => Then::End,
        }
    }

    fn after_failure(&mut self) -> Then {
        match self.memory.ledger.next(&self.policy().restart) {
            Next::After(delay) => {
                self.memory.ledger.record();
                Then::Start { after: self.spread(delay) }
            }
            Next::Spent(why) => Then::Hold(self.exhausted(why)),
        }
    }

    pub(super) fn exhausted(&self, reason: String) -> Hold {
        let lifecycle = match self.policy().restart.exhausted {
            Exhausted::Apoptosis => Lifecycle::Terminated,
            Exhausted::Quarantine => Lifecycle::Quarantined,
        };
        Hold { lifecycle, reason, requested_by: "schedule".to_owned(), crash_loop: true }
    }
}

/// What Ctrl-C or Ctrl-\ in a terminal ends, by itself or through a shell.
fn is_interrupt(exit: &Exit) -> bool {
    matches!(exit.how, ExitHow::Signal(2 | 3) | ExitHow::Code(130 | 131))
}

/// The code with which a shell would pass this end on.
fn exit_code(exit: &Exit) -> u8 {
    match exit.how {
        ExitHow::Code(code) => code,
        ExitHow::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        ExitHow::Unknown(_) => 1,
    }
}
