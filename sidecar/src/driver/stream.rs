//! The driver's end of the stream: who may greet it, what it takes, what goes out.

use lubdub_shared::id::SpoolId;
use lubdub_shared::session::{FromSidecar, Happening, Hello, ToSidecar, Welcome};
use lubdub_shared::time::Now;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{DRAIN_BEFORE_COMMAND, Driver};
use crate::link::FromLink;
use crate::state::Home;
use crate::supervisor::Event;

/// Where messages to the collector can go.
#[derive(Debug)]
pub(super) enum LinkState {
    Down {
        was_up: bool,
    },
    /// Hello is sent, Welcome is not there.
    Greeting(mpsc::Sender<FromSidecar>, String),
    Up(mpsc::Sender<FromSidecar>),
}

impl Driver {
    pub(super) fn on_link(&mut self, heard: Option<FromLink>, now: Now) {
        match heard {
            Some(FromLink::Up(sender, address)) => {
                let hello = Box::new(self.hello(now));
                let size = hello.wire_len();
                if sender.try_send(FromSidecar::Hello(hello)).is_ok() {
                    self.outbox.hello(size, now.mono);
                    self.link = LinkState::Greeting(sender, address);
                }
            }
            Some(FromLink::Unreachable) => self.events.push_back(Event::Unreachable),
            Some(FromLink::Message(ToSidecar::Welcome(welcome))) => {
                self.on_welcome(welcome, now);
            }
            Some(FromLink::Message(ToSidecar::Ack { spool, number })) => {
                self.acked_at = now.mono;
                self.outbox.ack(spool, number, now.mono);
            }
            Some(FromLink::Message(ToSidecar::Command(command))) => {
                info!(id = %command.id, kind = %command.kind, by = %command.requested_by,
                    reason = command.reason, "command");
                self.look_closely(now);
                self.events.push_back(Event::Command(command));
            }
            Some(FromLink::Message(ToSidecar::Policy { policy, mark })) => {
                info!(policy = policy.name, "another policy");
                self.events.push_back(Event::Policy(policy, mark));
            }
            Some(FromLink::Message(ToSidecar::GoAway { .. } | ToSidecar::Other)) => {}
            Some(FromLink::Down) | None => {
                self.link = LinkState::Down { was_up: true };
                self.events.push_back(Event::LinkLost);
            }
        }
    }

    /// The last word on a command is spoken on what is true now.
    pub(super) fn look_closely(&mut self, now: Now) {
        self.hear(DRAIN_BEFORE_COMMAND, now);
        self.look(now);
    }

    /// A collector answered Hello: it is accepted, or its stream ends for want of a sender.
    fn on_welcome(&mut self, welcome: Box<Welcome>, now: Now) {
        let state = LinkState::Down { was_up: true };
        let before = std::mem::replace(&mut self.link, state);
        let LinkState::Greeting(sender, address) = before else { return };
        let memory = self.supervisor.memory();
        let seen = memory.epochs.get(&welcome.store).copied();
        if seen.is_some_and(|seen| welcome.epoch < seen) {
            return warn!(epoch = welcome.epoch, seen, "refused a collector of an old epoch");
        }
        if let Some(home) = memory.home.clone()
            && home.store != welcome.store
            && is_elsewhere(&home, &address, &self.config.collectors)
        {
            return warn!(
                address, store = %welcome.store, home = home.address, own = %home.store,
                "refused: the addresses lead to different stores"
            );
        }
        if memory.home.as_ref().is_none_or(|home| home.store != welcome.store) {
            self.outbox.forget_kept();
        }
        self.outbox.welcomed(now.mono);
        self.outbox.resume();
        if let Some(seen) = &welcome.spool {
            let fresh = SpoolId::random(&mut self.rng);
            if self.outbox.compare(seen, fresh) {
                let text = "its state directory is an older copy, or another agent's: what \
                            happens from here on is numbered in a new spool";
                warn!("{text}");
                let what = Happening::Note { text: text.to_owned() };
                self.outbox.push(now.wall, None, what);
            }
        }
        self.acked_at = now.mono;
        self.link = LinkState::Up(sender);
        self.events.push_back(Event::Welcome(welcome, address));
    }

    fn hello(&mut self, now: Now) -> Hello {
        Hello {
            agent: self.config.agent.clone(),
            instance: self.instance,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            labels: self.config.labels.clone(),
            spool: self.outbox.spool(),
            last_event: self.outbox.last(),
            report: self.supervisor.report(now.mono),
            epochs: self.supervisor.memory().epochs.clone(),
            shown: self.supervisor.memory().shown,
            held: self.supervisor.memory().hold.clone(),
            at: Some(now.wall),
        }
    }

    pub(super) fn send(&mut self, now: Now) {
        let LinkState::Up(sender) = &self.link else { return };
        while let Ok(place) = sender.try_reserve() {
            match self.outbox.next(now.mono) {
                Some(message) => place.send(message),
                None => return,
            }
        }
    }
}

/// Another of the sidecar's addresses leads to the store that its agent belongs to.
fn is_elsewhere(home: &Home, address: &str, addresses: &[String]) -> bool {
    home.address != address && addresses.contains(&home.address)
}
