//! PURE: how a life begins: started, or taken over from an earlier sidecar.

use std::time::Duration;

use lubdub_shared::command::Outcome;
use lubdub_shared::heartbeat_file::Kept;
use lubdub_shared::id::{LifeId, ProcessId};
use lubdub_shared::session::Happening;
use lubdub_shared::time::{Now, words};

use super::{Action, LifeClocks, Recent, State, Supervisor};

impl Supervisor {
    pub(super) fn start(&mut self, out: &mut Vec<Action>) {
        let life = self.memory.next_life(LifeId::random(&mut self.rng));
        self.state = State::Starting { shutdown: None };
        self.clocks = LifeClocks::new(self.ticks);
        self.growth.begin(self.ticks, self.policy().limits.memory.window);
        self.recent = Recent::default();
        self.sample = None;
        self.unproven_until = Duration::ZERO;
        self.told_of_stopping = false;
        self.memory.starting = true;
        out.push(Action::Persist);
        out.push(Action::Start(life));
    }

    pub(super) fn started(&mut self, process: ProcessId, out: &mut Vec<Action>) {
        let State::Starting { shutdown } = self.state else { return };
        self.ran = true;
        self.state = State::Running(process);
        self.memory.process = Some(process);
        self.memory.starting = false;
        out.push(Action::Persist);
        let used = self.memory.ledger.used();
        out.push(Action::Emit(self.memory.life, Happening::Started { process, used }));
        if let Some(intent) = self.memory.intent.take_if(|intent| intent.begun) {
            self.finish(Outcome { to: self.memory.life, ..intent.outcome }, out);
        }
        if let Some(signal) = shutdown {
            self.shutdown(signal, out);
        }
    }

    pub(super) fn main_moved(&mut self, moved: ProcessId, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Running(process)
            | State::Preparing { process, .. }
            | State::Stopping { process, .. } => *process = moved,
            State::Unborn { .. }
            | State::Resting { .. }
            | State::Starting { .. }
            | State::Sweeping { .. }
            | State::Held(_)
            | State::Ended(_) => return,
        }
        self.memory.process = Some(moved);
        out.push(Action::Persist);
        let text = format!("its main process is {} from now on", moved.pid);
        out.push(Action::Emit(self.memory.life, Happening::Note { text }));
    }

    /// Takes a living process over, `age` old. `kept` is what its heartbeat file says.
    pub fn adopt(
        &mut self,
        process: ProcessId,
        age: Duration,
        kept: Option<Kept>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        self.advance(now.mono);
        self.ran = true;
        self.state = State::Running(process);
        self.memory.process = Some(process);
        self.clocks = LifeClocks::adopted(kept, age, now, self.ticks);
        self.growth.begin(self.ticks, self.policy().limits.memory.window);
        // What it showed before its sidecar was gone is no proof of what it is now.
        self.unproven_until = age;
        if std::mem::take(&mut self.memory.starting) {
            // The sidecar before was killed before it could tell of this start.
            let used = self.memory.ledger.used();
            out.push(Action::Emit(self.memory.life, Happening::Started { process, used }));
        }
        let text = format!(
            "a new sidecar took it over as pid {}, {} after its start",
            process.pid,
            words(age)
        );
        out.push(Action::Emit(self.memory.life, Happening::Note { text }));
        out.push(Action::Persist);
    }
}
