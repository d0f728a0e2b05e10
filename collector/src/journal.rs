//! What goes to the store: written together where it belongs together, kept in order while the
//! store is behind, and lost loudly when that lasts.

use std::collections::VecDeque;

use tracing::error;

use crate::store::{Op, Queue, Then, Write};

/// Writes that wait while the store's queue is full. Beyond it the oldest is lost, and said so.
const BACKLOG_MAX: usize = 65_536;

/// The driver's end of the store.
#[derive(Debug)]
pub(crate) struct Journal {
    store: Box<dyn Queue>,
    /// What one event led to so far.
    together: Write,
    backlog: VecDeque<Write>,
    /// Why the store takes nothing now.
    sick: Option<String>,
    /// A write was dropped.
    lost: bool,
}

impl Journal {
    pub(crate) fn new(store: Box<dyn Queue>) -> Self {
        let (together, backlog) = (Write::default(), VecDeque::new());
        Self { store, together, backlog, sick: None, lost: false }
    }

    /// Adds a write to what goes to the store at the next [`Journal::commit`].
    pub(crate) fn write(&mut self, op: Op) {
        self.together.ops.push(op);
    }

    /// The same; once it is durable the store gives back what is to be done then.
    pub(crate) fn write_then(&mut self, op: Op, then: Then) {
        if self.sick.is_some() && matches!(op, Op::Events { .. }) {
            // Not acked, so its sidecar sends them again: no need to keep them here as well.
            return;
        }
        self.together.ops.push(op);
        self.together.then.push(then);
    }

    /// Queues what was written since, to be stored whole or not at all. While the store is behind
    /// it waits here, in order.
    pub(crate) fn commit(&mut self) {
        if self.together.ops.is_empty() {
            return;
        }
        let write = std::mem::take(&mut self.together);
        self.catch_up();
        let refused =
            if self.backlog.is_empty() { self.store.queue(write).err() } else { Some(write) };
        let Some(write) = refused else { return };
        if self.backlog.len() == BACKLOG_MAX {
            if !std::mem::replace(&mut self.lost, true) {
                error!("the store is too far behind: writes are lost until it is not");
            }
            self.backlog.pop_front();
        }
        self.backlog.push_back(write);
    }

    /// Hands over what waits, as far as the store takes it.
    pub(crate) fn catch_up(&mut self) {
        while let Some(write) = self.backlog.pop_front() {
            if let Err(write) = self.store.queue(write) {
                return self.backlog.push_front(write);
            }
        }
    }

    /// The store takes nothing, and why; or takes everything again.
    pub(crate) fn set_sick(&mut self, why: Option<String>) {
        self.sick = why;
    }

    /// Why nothing may be acted on now: what is decided could not be written down.
    pub(crate) fn behind(&self) -> Option<String> {
        if let Some(why) = &self.sick {
            return Some(format!("the store takes nothing: {why}"));
        }
        let waiting = self.backlog.len();
        (waiting > 0).then(|| format!("the store is behind by {waiting} writes"))
    }

    /// Writes were lost, and everything that waited is written: what the engine knows is to be
    /// written whole.
    pub(crate) fn take_lost(&mut self) -> bool {
        self.sick.is_none() && self.backlog.is_empty() && std::mem::take(&mut self.lost)
    }

    /// Writes that wait for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.backlog.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use lubdub_shared::time::Wall;

    use super::*;

    fn note(number: usize) -> Op {
        Op::Note(None, number.to_string(), Wall(0))
    }

    /// The texts of one write.
    fn texts(write: Write) -> Vec<String> {
        let text = |op| {
            let Op::Note(_, text, _) = op else { panic!("no note: {op:?}") };
            text
        };
        write.ops.into_iter().map(text).collect()
    }

    fn journal(depth: usize) -> (Journal, Receiver<Write>) {
        let (queue, store) = sync_channel(depth);
        (Journal::new(Box::new(queue)), store)
    }

    #[test]
    fn what_one_event_led_to_is_written_as_one() {
        let (mut journal, store) = journal(4);
        journal.commit();
        journal.write(note(1));
        journal.write_then(note(2), Then::Policy);
        journal.commit();
        let write = store.try_recv().expect("one");
        assert!(matches!(write.then[..], [Then::Policy]), "{write:?}");
        assert_eq!(texts(write), ["1", "2"]);
        assert!(store.try_recv().is_err(), "nothing is no write");
    }

    #[test]
    fn a_store_that_is_full_is_waited_for_in_order() {
        let (mut journal, store) = journal(1);
        for number in 0..3 {
            journal.write(note(number));
            journal.commit();
        }
        assert_eq!((journal.waiting(), journal.take_lost()), (2, false));
        assert_eq!(journal.behind().as_deref(), Some("the store is behind by 2 writes"));
        for number in 0..3 {
            assert_eq!(texts(store.try_recv().expect("one")), [number.to_string()]);
            journal.catch_up();
        }
        assert_eq!(journal.behind(), None);
    }

    #[test]
    fn beyond_the_bound_the_oldest_is_lost_and_said_so() {
        let (mut journal, store) = journal(1);
        for number in 0..BACKLOG_MAX + 3 {
            journal.write(note(number));
            journal.commit();
        }
        assert_eq!(journal.waiting(), BACKLOG_MAX);
        assert!(!journal.take_lost(), "what waits is not written yet");
        let mut written = Vec::new();
        while let Ok(write) = store.try_recv() {
            written.extend(texts(write));
            journal.catch_up();
        }
        assert_eq!(written.len(), BACKLOG_MAX + 1);
        assert_eq!(written[..2], ["0", "3"], "the two oldest that waited");
        assert!(journal.take_lost() && !journal.take_lost(), "once");
    }

    #[test]
    fn a_sick_store_keeps_no_events_that_come_again() {
        let (mut journal, store) = journal(4);
        journal.set_sick(Some("no space".to_owned()));
        assert_eq!(journal.behind().as_deref(), Some("the store takes nothing: no space"));
        let rng = &mut fastrand::Rng::with_seed(1);
        let spool = lubdub_shared::id::SpoolId::random(rng);
        let agent = "a".parse().expect("an id");
        let (session, number) = (1, 1);
        let ack = Then::Ack { agent: lubdub_engine::AgentIndex::default(), session, spool, number };
        journal.write_then(Op::Events { agent, spool, events: Vec::new() }, ack);
        journal.commit();
        assert!(store.try_recv().is_err());
        journal.write(note(1));
        journal.commit();
        assert_eq!(texts(store.try_recv().expect("what else was decided")), ["1"]);
    }
}
