//! How the collector itself fares: a store that takes nothing, an epoch that is behind, an agent
//! that is to be forgotten.

use lubdub_engine::{AgentIndex, AgentInput, Input};
use lubdub_shared::id::IncidentId;
use lubdub_shared::incident::{Cause, Incident};
use lubdub_shared::status::Status;
use lubdub_shared::time::Now;
use tracing::{error, info, warn};

use super::{Driver, Forgetting, Forgot, NotForgotten};
use crate::store::{Durable, Op};

/// Agents that are written again at one time, after writes were lost.
const REWRITTEN_AT_ONCE: usize = 1000;
/// A sidecar that claims to have seen more starts of a store than this is wrong.
const STARTS_MAX: u64 = 1_000_000;

impl Driver {
    /// The store has written something, or cannot.
    pub(super) fn written(&mut self, durable: Durable, now: Now) {
        match &durable {
            Durable::Sick(why) => self.fell_sick(why, now),
            Durable::Well => self.is_well(now),
            Durable::Epoch(epoch) => {
                self.applied(Input::Epoch(*epoch), now);
                self.identity.epoch = self.identity.epoch.max(*epoch);
            }
            Durable::Policy => self.policies_are_durable(now),
            Durable::Forgotten(index) => self.applied(Input::Released(*index), now),
            Durable::Events { .. }
            | Durable::Command(..)
            | Durable::Waiting(_)
            | Durable::Broken(_) => {}
        }
        self.dispatch.durable(durable, now.mono);
        if self.dispatch.take_lost() {
            info!("writes were lost: everything that is known is written again");
            self.rewriting = Some(None);
            // What was pushed is among what was lost: whoever waits is told so.
            self.coming.clear();
        }
        self.rewrite_some();
    }

    /// A page of what is known is written again, when nothing else waits.
    fn rewrite_some(&mut self) {
        if self.dispatch.waiting() > 0 {
            return;
        }
        let Some(after) = self.rewriting.take() else { return };
        let last = self.fleet.remember_after(after.as_ref(), REWRITTEN_AT_ONCE, &mut self.effects);
        self.rewriting = last.map(Some);
    }

    fn fell_sick(&mut self, why: &str, now: Now) {
        let incident = Incident {
            id: IncidentId::ordered(now.wall, &mut self.rng),
            cause: Cause::SickDisk,
            level: Status::Critical,
            opened: now.wall,
            resolved: None,
            incarnation: 0,
            summary: format!("the store takes nothing ({why}): nothing is acked or acted on"),
            actions: Vec::new(),
        };
        error!(incident = %incident.id, "incident: {}", incident.summary);
        self.incident = Some(incident);
    }

    fn is_well(&mut self, now: Now) {
        let Some(mut incident) = self.incident.take() else { return };
        incident.resolved = Some(now.wall.max(incident.opened));
        info!(incident = %incident.id, "the store takes everything again");
        self.dispatch.write(Op::Incident(None, Box::new(incident)));
    }

    /// A sidecar has seen a higher epoch of this store: it was restored from a backup. The epoch is
    /// raised above that, durably, before anybody is welcomed with it.
    pub(super) fn catch_up_with(&mut self, seen: u64, now: Now) {
        let (own, raised) = (self.identity.epoch, seen.saturating_add(1));
        if seen - own > STARTS_MAX {
            return error!(seen, own, "refused: no store was started so often");
        }
        let text = format!(
            "a sidecar has seen epoch {seen} of this store, which is at {own}: was it restored \
             from a backup? Its epoch is raised to {raised}"
        );
        warn!("{text}");
        self.dispatch.write(Op::Note(None, text, now.wall));
        self.dispatch.write(Op::Epoch(raised));
    }

    pub(super) fn forget(&mut self, index: AgentIndex, asked: &Forgetting, now: Now) -> Forgot {
        if let Some(why) = self.dispatch.behind() {
            return Err(NotForgotten::Unrecorded(why));
        }
        let id = self.fleet.agent(index).who.id.clone();
        let forgotten = self.apply_input(Input::Agent(index, AgentInput::Forgotten), now);
        drop(forgotten.map_err(|_connected| NotForgotten::StillConnected)?);
        let text = format!("forgotten by {}: {}", asked.requested_by, asked.reason);
        self.dispatch.write(Op::Note(Some(id), text, now.wall));
        Ok(())
    }
}
