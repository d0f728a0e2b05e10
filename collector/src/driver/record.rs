//! The inputs of the engine go to the recorder, where one is wanted, before they are applied.

use lubdub_engine::trace::Input;
use lubdub_engine::{AgentIndex, Event};
use lubdub_shared::time::Now;

use super::Driver;

impl Driver {
    /// Records an input that concerns an agent; `input` is asked only where somebody records.
    pub(super) fn record(&mut self, agent: AgentIndex, now: Now, input: impl FnOnce() -> Input) {
        if let Some(recorder) = &mut self.recorder {
            let id = &self.fleet.agent(agent).who.id;
            recorder.note(&self.fleet, Some(id), input(), now);
        }
    }

    pub(super) fn record_event(&mut self, agent: AgentIndex, event: &Event, now: Now) {
        self.record(agent, now, || match event.clone() {
            Event::Report(report) => Input::Report(report),
            Event::Happened(spool, fact) => Input::Happened(spool, fact),
            Event::Detached(how) => Input::Detached(how),
            Event::Asked(request) => Input::Asked(Box::new(request)),
        });
    }

    /// Takes away, or gives back, the right to act; recorded when it changes.
    pub(super) fn set_authority(&mut self, withheld: Option<String>, now: Now) {
        if let Some(recorder) = &mut self.recorder
            && self.withheld != withheld
        {
            recorder.note(&self.fleet, None, Input::Authority(withheld.clone()), now);
        }
        self.withheld.clone_from(&withheld);
        self.fleet.set_authority(withheld);
    }
}
