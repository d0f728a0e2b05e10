//! How the collector itself fares: a store that takes nothing, an epoch that is behind, an agent
//! that is to be forgotten.

use lubdub_engine::{AgentIndex, AgentInput, Input};
use lubdub_shared::id::IncidentId;
use lubdub_shared::incident::{Cause, Incident};
use lubdub_shared::status::Status;
use lubdub_shared::time::Now;
use tracing::{error, info, warn};

use super::{Driver, Forgetting, Forgot, NotForgotten};
use crate::store::{FromStore, Op, Then};
use crate::waiters::Acted;

/// Agents that are written again at one time, after writes were lost.
const REWRITTEN_AT_ONCE: usize = 1000;
/// A sidecar that claims to have seen more starts of a store than this is wrong.
const STARTS_MAX: u64 = 1_000_000;

impl Driver {
    /// The store has written something, or cannot.
    pub(super) fn hear_store(&mut self, told: FromStore, now: Now) {
        match told {
            FromStore::Durable(then) => then.into_iter().for_each(|then| self.durable(then, now)),
            FromStore::Sick(why) => {
                self.fell_sick(&why, now);
                self.route.journal.set_sick(Some(why));
            }
            FromStore::Well => {
                self.is_well(now);
                self.route.journal.set_sick(None);
            }
            // The loop ends by it.
            FromStore::Broken(_) => {}
        }
        self.route.journal.catch_up();
        if self.route.journal.take_lost() {
            info!("writes were lost: everything that is known is written again");
            self.rewriting = Some(None);
            // What was pushed is among what was lost: whoever waits is told so.
            self.coming.clear();
        }
        self.rewrite_some();
    }

    /// What waited for the disk is done.
    fn durable(&mut self, then: Then, now: Now) {
        match then {
            Then::Epoch(epoch) => {
                self.engine.applied(Input::Epoch(epoch), now);
                self.identity.epoch = self.identity.epoch.max(epoch);
            }
            Then::Policy => self.policies_are_durable(now),
            Then::Forgotten(index) => self.engine.applied(Input::Released(index), now),
            Then::Ack { agent, session, spool, number } => {
                self.route.streams.ack(agent, session, spool, number);
            }
            Then::Send(index, command, decided) => {
                self.route.send(index, command, decided, now.mono);
            }
            Then::Waiting(command) => self.route.waiters.tell(command, Acted::Pending),
        }
    }

    /// A page of what is known is written again, when nothing else waits.
    fn rewrite_some(&mut self) {
        if self.route.journal.waiting() > 0 {
            return;
        }
        let Some(after) = self.rewriting.take() else { return };
        let last = self.engine.remember_after(after.as_ref(), REWRITTEN_AT_ONCE);
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
        self.route.journal.write(Op::Incident(None, Box::new(incident)));
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
        self.route.journal.write(Op::Note(None, text, now.wall));
        self.route.journal.write_then(Op::Epoch(raised), Then::Epoch(raised));
    }

    pub(super) fn forget(&mut self, index: AgentIndex, asked: &Forgetting, now: Now) -> Forgot {
        if let Some(why) = self.route.journal.behind() {
            return Err(NotForgotten::Unrecorded(why));
        }
        let id = self.engine.fleet.agent(index).who.id.clone();
        let forgotten = self.engine.apply(Input::Agent(index, AgentInput::Forgotten), now);
        drop(forgotten.map_err(|_connected| NotForgotten::StillConnected)?);
        let text = format!("forgotten by {}: {}", asked.requested_by, asked.reason);
        self.route.journal.write(Op::Note(Some(id), text, now.wall));
        Ok(())
    }
}
