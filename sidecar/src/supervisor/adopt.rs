//! PURE: a life goes on that an earlier sidecar started.

use std::time::Duration;

use lubdub_shared::heartbeat_file::Kept;
use lubdub_shared::id::ProcessId;
use lubdub_shared::session::Happening;
use lubdub_shared::time::{Now, words};

use super::{Action, LifeClocks, State, Supervisor};

impl Supervisor {
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

    /// The process that was to be taken over is gone after all.
    pub fn forget_process(&mut self) {
        self.memory.process = None;
    }
}
