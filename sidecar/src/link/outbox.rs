//! PURE: what waits for the collector. Reports are soft: the newest replaces the one before.
//! Events are hard: numbered, kept until acked, sent in batches, in order, again after a
//! reconnect.

use std::collections::VecDeque;

use lubdub_shared::beat::Report;
use lubdub_shared::id::{Life, SpoolId};
use lubdub_shared::session::{EVENT_BATCH_MAX, Event, FromSidecar, Happening};
use lubdub_shared::time::Wall;

/// Events that are kept; beyond it the oldest is dropped and counted.
const EVENTS_MAX: usize = 4096;

/// What waits for the collector.
#[derive(Debug)]
pub(crate) struct Outbox {
    spool: SpoolId,
    events: VecDeque<Event>,
    last: u64,
    sent: u64,
    dropped: u64,
    report: Option<Box<Report>>,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new(spool: SpoolId) -> Self {
        Self { spool, events: VecDeque::new(), last: 0, sent: 0, dropped: 0, report: None }
    }

    /// Its identity.
    pub(crate) fn spool(&self) -> SpoolId {
        self.spool
    }

    /// Number of the newest event.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Events that were dropped because nobody took them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Every event was acked.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds a hard fact.
    pub(crate) fn push(&mut self, at: Wall, life: Option<Life>, what: Happening) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.last += 1;
        self.events.push_back(Event { number: self.last, at, life, what });
    }

    /// Replaces the report that waits.
    pub(crate) fn report(&mut self, report: Report) {
        self.report = Some(Box::new(report));
    }

    /// Events up to this number are durable.
    pub(crate) fn ack(&mut self, number: u64) {
        while self.events.front().is_some_and(|event| event.number <= number) {
            self.events.pop_front();
        }
    }

    /// A stream begins: what was not acked goes again.
    pub(crate) fn resume(&mut self, acked: u64) {
        self.ack(acked);
        self.sent = acked;
    }

    /// The next message: events before the report that may rest on them.
    pub(crate) fn next(&mut self) -> Option<FromSidecar> {
        let sent = self.sent;
        let unsent = self.events.iter().filter(|event| event.number > sent);
        let events: Vec<Event> = unsent.take(EVENT_BATCH_MAX).cloned().collect();
        if let Some(newest) = events.last() {
            self.sent = newest.number;
            return Some(FromSidecar::Events { spool: self.spool, events });
        }
        self.report.take().map(FromSidecar::Report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(events: u64) -> Outbox {
        let mut outbox = Outbox::new(SpoolId::random(&mut fastrand::Rng::with_seed(1)));
        for number in 0..events {
            outbox.push(Wall(0), None, Happening::Note { text: number.to_string() });
        }
        outbox
    }

    fn numbers(message: Option<FromSidecar>) -> Option<(u64, u64)> {
        let Some(FromSidecar::Events { events, .. }) = message else { return None };
        let consecutive = events.windows(2).all(|pair| pair[1].number == pair[0].number + 1);
        assert!(consecutive, "a batch has gaps");
        Some((events.first()?.number, events.last()?.number))
    }

    #[test]
    fn events_go_once_in_order_in_batches() {
        let mut outbox = outbox(300);
        assert_eq!(numbers(outbox.next()), Some((1, 256)));
        assert_eq!(numbers(outbox.next()), Some((257, 300)));
        assert_eq!(outbox.next(), None);
        outbox.ack(260);
        assert_eq!(outbox.next(), None, "sent and not acked is not sent again");
        outbox.resume(260);
        assert_eq!(numbers(outbox.next()), Some((261, 300)));
        outbox.ack(300);
        assert!(outbox.is_settled());
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_and_counts() {
        let mut outbox = outbox(4100);
        assert_eq!(outbox.dropped(), 4);
        assert_eq!(numbers(outbox.next()), Some((5, 260)));
        assert_eq!(outbox.last(), 4100);
    }
}
