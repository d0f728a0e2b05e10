//! What is told once more: acked events that the collector lost, and everything under new numbers
//! where the old ones prove to be used.

use std::collections::VecDeque;

use lubdub_shared::id::SpoolId;
use lubdub_shared::session::{Event, Happening, SpoolSeen};

use super::Outbox;
use crate::state::Reached;

/// Acked events that are kept in memory, without bundles: for a store that loses its newest.
const KEPT_MAX: usize = 256;

impl Outbox {
    /// How far the spool reaches, for the state file: a spool that is found shorter lost events.
    pub(crate) fn reached(&self) -> Reached {
        let acked = self.told.filter(|(spool, _)| *spool == self.spool);
        Reached { spool: self.spool, last: self.last, acked: acked.map_or(0, |(_, number)| number) }
    }

    /// A collector has these: they are kept for a while, should it lose them.
    pub(super) fn keep(&mut self, spool: SpoolId, mut event: Event) {
        if let Happening::Evidence(bundle) = &mut event.what {
            bundle.sent = Vec::new();
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((spool, event));
    }

    /// The collector that is spoken to has another store: it never had what the old one acked.
    pub(crate) fn forget_kept(&mut self) {
        self.kept.clear();
    }

    /// A collector said what it has of the spool. True when the spool is given up for a new one:
    /// its numbers are used already, by a later state of this agent or by another agent.
    pub(crate) fn compare(&mut self, seen: &SpoolSeen, fresh: SpoolId) -> bool {
        if seen.foreign || seen.newest > self.last {
            self.begin_anew(seen, fresh);
            return true;
        }
        self.bring_back(seen);
        false
    }

    /// What waits has no number that counts: all of it gets others. What a copy still held may be
    /// told twice by that; nothing is lost. What was read from another agent's spool is its own.
    fn begin_anew(&mut self, seen: &SpoolSeen, fresh: SpoolId) {
        let (old, read) = (self.spool, self.read_upto);
        let theirs = |event: &Event| seen.foreign && event.number <= read;
        self.events.retain(|(spool, event)| *spool != old || !theirs(event));
        (self.spool, self.last, self.read_upto, self.told) = (fresh, 0, 0, None);
        let from = self.events.iter().position(|(spool, _)| *spool == old);
        let from = from.unwrap_or(self.events.len());
        for (spool, event) in self.events.range_mut(from..) {
            self.last += 1;
            (*spool, event.number) = (fresh, self.last);
        }
        self.kept.clear();
        self.writes.clear();
        (self.sent, self.safe, self.handed) = (0, from, from);
        self.rewrite();
    }

    /// What the collector lost goes again, before everything that waits.
    fn bring_back(&mut self, seen: &SpoolSeen) {
        let own = self.spool;
        let wanted = |spool: SpoolId, event: &Event| {
            let lost = || seen.lost.iter().any(|range| range.contains(&event.number));
            spool == own && (event.number > seen.newest || lost())
        };
        let kept = std::mem::take(&mut self.kept).into_iter();
        let (again, kept): (VecDeque<_>, _) =
            kept.partition(|(spool, event)| wanted(*spool, event));
        self.kept = kept;
        if again.is_empty() {
            return;
        }
        let at = self.events.iter().position(|(spool, _)| *spool == own);
        let at = at.unwrap_or(self.events.len());
        let count = again.len();
        for (index, event) in again.into_iter().enumerate() {
            self.events.insert(at + index, event);
        }
        // They were on disk once, and are written anew with the rest.
        self.safe += if at <= self.safe { count } else { 0 };
        self.handed += if at <= self.handed { count } else { 0 };
        self.writes.clear();
        self.sent = 0;
        self.rewrite();
    }
}
