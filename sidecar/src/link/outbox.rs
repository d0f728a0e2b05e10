//! PURE: what waits for the collector. Reports are soft: the newest replaces the one before.
//! Events are hard: numbered, on disk before they are sent, kept until acked, sent in batches, in
//! order, again after a reconnect.
//!
//! ```text
//!  front ──────▶ sent ──────▶ safe ──────▶ handed ──────▶ back
//!        unacked      may go       on its way     to be
//!                                  to the disk    written
//! ```
//!
//! A disk that does not take them: what was not safe yet is numbered anew in a new spool, kept in
//! memory only and sent from there, until the whole of it could be written again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lubdub_shared::beat::Report;
use lubdub_shared::id::{CommandId, Life, SpoolId};
use lubdub_shared::session::{EVENT_BATCH_MAX, Event, FromSidecar, Happening};
use lubdub_shared::time::{Mono, Wall};

use super::pace::{Answer, Pace};
use super::spool::{Contents, Line};

mod again;

/// Waiting events that carry a bundle of evidence.
const BUNDLES_MAX: usize = 4;
/// Events that are kept.
const EVENTS_MAX: usize = 4096;
/// Events that are dropped at one time when there are as many: one rewrite of the file for all.
const DROP_BATCH: usize = 256;
/// The file is written anew when it has grown by this much.
const GROWTH_MAX: usize = 256 * 1024;

/// How long a report waits for the events before it.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// What must be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Behind what is there. `ticket` is `None` where nobody waits for it.
    Append {
        /// Comes back in [`Outbox::written`].
        ticket: Option<u64>,
        /// Whole lines.
        bytes: Vec<u8>,
    },
    /// In place of what is there.
    Rewrite {
        /// Comes back in [`Outbox::written`].
        ticket: u64,
        /// Whole lines.
        bytes: Vec<u8>,
    },
}

impl Write {
    /// What somebody waits for.
    pub(crate) fn ticket(&self) -> Option<u64> {
        match self {
            Self::Append { ticket, .. } => *ticket,
            Self::Rewrite { ticket, .. } => Some(*ticket),
        }
    }
}

/// What waits for the collector.
#[derive(Debug)]
pub(crate) struct Outbox {
    spool: SpoolId,
    last: u64,
    events: VecDeque<(SpoolId, Event)>,
    sent: usize,
    safe: usize,
    handed: usize,
    /// Writes on their way, and how many of the events they make safe.
    writes: VecDeque<(u64, usize)>,
    tickets: u64,
    /// The file has to be written anew.
    stale: bool,
    grown: usize,
    acked: Option<(SpoolId, u64)>,
    /// The disk does not take events: they are kept here alone.
    in_memory: bool,
    /// It was asked once more: nothing goes until it has answered.
    probing: bool,
    dropped: u64,
    untold: u64,
    /// Since when the oldest event that may not go waits for the disk.
    waiting_since: Option<Mono>,
    /// Acked, and kept for a collector that loses them.
    kept: VecDeque<(SpoolId, Event)>,
    /// The newest number that was read from the disk.
    read_upto: u64,
    /// The newest that was acked.
    told: Option<(SpoolId, u64)>,
    report: Option<Arc<Report>>,
    pace: Pace,
}

impl Outbox {
    /// What an earlier sidecar left; `fresh` names a new spool where there is none to go on in.
    pub(crate) fn new(contents: Contents, fresh: SpoolId) -> Self {
        // What was read is on disk, and may have been sent: it keeps its numbers for ever.
        let safe = contents.events.len();
        Self {
            spool: contents.spool.unwrap_or(fresh),
            last: contents.last,
            events: contents.events.into(),
            sent: 0,
            safe,
            handed: 0,
            writes: VecDeque::new(),
            tickets: 0,
            stale: true,
            grown: 0,
            acked: None,
            in_memory: false,
            probing: false,
            dropped: 0,
            untold: 0,
            waiting_since: None,
            kept: VecDeque::new(),
            read_upto: contents.last,
            told: None,
            report: None,
            pace: Pace::default(),
        }
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

    /// The end of a life is among what waits.
    pub(crate) fn holds_the_end_of(&self, life: Life) -> bool {
        let ends = |event: &Event| matches!(event.what, Happening::Exited { .. });
        self.events.iter().any(|(_, event)| event.life == Some(life) && ends(event))
    }

    /// The answer to a command is among what waits.
    pub(crate) fn holds_the_outcome_of(&self, id: CommandId) -> bool {
        let own = |event: &Event| match &event.what {
            Happening::Outcome(outcome) => outcome.command == id,
            Happening::Started { .. }
            | Happening::Exited { .. }
            | Happening::Held(_)
            | Happening::Evidence(_)
            | Happening::Note { .. }
            | Happening::Other => false,
        };
        self.events.iter().any(|(_, event)| own(event))
    }

    /// The disk did not take what was last to be written.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Every event was acked.
    pub(crate) fn is_settled(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds a hard fact.
    pub(crate) fn push(&mut self, at: Wall, life: Option<Life>, what: Happening) {
        if self.events.len() >= EVENTS_MAX {
            self.drop_some(life);
        } else if self.untold > 0 && self.events.len() + DROP_BATCH < EVENTS_MAX {
            let count = std::mem::take(&mut self.untold);
            let text = format!("the spool was full: {count} events were dropped");
            self.add(at, life, Happening::Note { text });
        }
        self.add(at, life, what);
    }

    fn add(&mut self, at: Wall, life: Option<Life>, what: Happening) {
        if matches!(what, Happening::Evidence(_)) {
            self.lighten();
        }
        self.last += 1;
        self.events.push_back((self.spool, Event { number: self.last, at, life, what }));
    }

    /// Bundles are large: only the newest few that wait carry theirs, the others stay on the host.
    fn lighten(&mut self) {
        let bundles = self.events.iter_mut().rev().filter_map(|(_, event)| match &mut event.what {
            Happening::Evidence(bundle) if !bundle.sent.is_empty() => Some(bundle),
            Happening::Evidence(_)
            | Happening::Started { .. }
            | Happening::Exited { .. }
            | Happening::Outcome(_)
            | Happening::Held(_)
            | Happening::Note { .. }
            | Happening::Other => None,
        });
        bundles.skip(BUNDLES_MAX - 1).for_each(|bundle| bundle.sent = Vec::new());
    }

    /// Full: the oldest go, those of earlier lives first, and of the life that runs the notes and
    /// answers before its start and its end.
    fn drop_some(&mut self, life: Option<Life>) {
        let ranks: [fn(&Event, Option<Life>) -> bool; 3] = [
            |event, life| event.life != life,
            |event, _| {
                matches!(
                    event.what,
                    Happening::Note { .. } | Happening::Outcome(_) | Happening::Evidence(_)
                )
            },
            |_, _| true,
        ];
        let mut left = DROP_BATCH;
        for may_go in ranks {
            let mut at = 0;
            while left > 0 && at < self.events.len() {
                if !may_go(&self.events[at].1, life) {
                    at += 1;
                    continue;
                }
                self.events.remove(at);
                left -= 1;
                self.sent -= usize::from(at < self.sent);
                self.safe -= usize::from(at < self.safe);
            }
        }
        let gone = (DROP_BATCH - left) as u64;
        self.dropped += gone;
        self.untold += gone;
        // What is on its way counted positions that are others now.
        self.writes.clear();
        self.rewrite();
    }

    /// Replaces the report that waits.
    pub(crate) fn report(&mut self, report: Report) {
        self.report = Some(Arc::new(report));
    }

    /// A stream begins with a Hello of so many bytes.
    pub(crate) fn hello(&mut self, bytes: usize, now: Mono) {
        self.pace.begin();
        self.pace.sent(bytes, Answer::Welcome, now);
    }

    /// It was answered.
    pub(crate) fn welcomed(&mut self, now: Mono) {
        self.pace.answered(Answer::Welcome, now);
    }

    /// Events of a spool up to this number are durable at the collector.
    pub(crate) fn ack(&mut self, spool: SpoolId, number: u64, now: Mono) {
        self.pace.answered(Answer::Ack(spool, number), now);
        let before = self.events.len();
        while self.events.front().is_some_and(|(own, e)| *own == spool && e.number <= number) {
            if let Some((spool, event)) = self.events.pop_front() {
                self.keep(spool, event);
            }
        }
        let gone = before - self.events.len();
        if gone > 0 {
            self.sent = self.sent.saturating_sub(gone);
            self.safe = self.safe.saturating_sub(gone);
            self.handed = self.handed.saturating_sub(gone);
            for (_, upto) in &mut self.writes {
                *upto = upto.saturating_sub(gone);
            }
            self.acked = Some((spool, number));
            self.told = self.acked;
        }
    }

    /// A stream begins: what was not acked goes again. A bundle that did not get through stays on
    /// the host: it may be what ended the stream before.
    pub(crate) fn resume(&mut self) {
        for (_, event) in self.events.range_mut(..self.sent) {
            if let Happening::Evidence(bundle) = &mut event.what {
                bundle.sent = Vec::new();
            }
        }
        self.sent = 0;
    }

    /// The next event carries a bundle: it goes when nothing else is on its way, and without the
    /// bundle where the link cannot carry that in a moment. False while it waits.
    fn fit_bundle(&mut self) -> bool {
        let on_its_way = self.sent > 0;
        let Some((_, event)) = self.events.get_mut(self.sent) else { return true };
        let Happening::Evidence(bundle) = &mut event.what else { return true };
        if self.pace.carries(bundle.sent.len()) {
            return bundle.sent.is_empty() || !on_its_way;
        }
        bundle.sent = Vec::new();
        true
    }

    /// The next message: events before the report that may rest on them. A report waits for events
    /// that wait for the disk, but not for long: a slow disk delays no report.
    pub(crate) fn next(&mut self, now: Mono) -> Option<FromSidecar> {
        let end = match (self.in_memory, self.probing) {
            (true, false) => self.events.len(),
            (true, true) => self.sent,
            (false, _) => self.safe,
        };
        if self.sent < end && self.fit_bundle() {
            let spool = self.events[self.sent].0;
            let run = self.events.range(self.sent..end).take_while(|(own, _)| *own == spool);
            // A bundle goes alone: with others the message might be too large.
            let alone = |event: &Event| matches!(event.what, Happening::Evidence(_));
            let mut run = run.map(|(_, event)| event);
            let first = run.next().cloned();
            let alone_first = first.as_ref().is_some_and(alone);
            let rest = run.take_while(|event| !alone_first && !alone(event));
            let rest = rest.take(EVENT_BATCH_MAX - 1).cloned();
            let events: Vec<Event> = first.into_iter().chain(rest).collect();
            self.sent += events.len();
            let last = events.last().map_or(0, |event| event.number);
            self.pace.sent(events.iter().map(len).sum(), Answer::Ack(spool, last), now);
            return Some(FromSidecar::Events { spool, events });
        }
        if self.sent == self.events.len() || self.sent < end {
            self.waiting_since = None;
        } else if now.since(*self.waiting_since.get_or_insert(now)) < REPORT_PATIENCE {
            return None;
        }
        self.report.take().map(FromSidecar::Report)
    }

    /// The whole file has to be written: it was lost, has grown, or the disk is well again.
    pub(crate) fn rewrite(&mut self) {
        self.stale = true;
    }

    /// What must be written now.
    pub(crate) fn next_write(&mut self) -> Option<Write> {
        if self.stale || (self.grown > GROWTH_MAX && !self.in_memory) {
            return Some(self.whole());
        }
        let mut bytes = Vec::new();
        if let Some((spool, number)) = self.acked.take() {
            Line::Acked { spool, number }.render(&mut bytes);
        }
        let events = self.handed..self.events.len();
        if self.in_memory || events.is_empty() && bytes.is_empty() {
            return None;
        }
        for (_, event) in self.events.range(events.clone()) {
            Line::Event(event.clone()).render(&mut bytes);
        }
        self.grown += bytes.len();
        let ticket = (!events.is_empty()).then(|| self.ticket());
        Some(Write::Append { ticket, bytes })
    }

    fn whole(&mut self) -> Write {
        let (mut bytes, mut head) = (Vec::new(), None);
        for (spool, event) in &self.events {
            if head != Some(*spool) {
                head = Some(*spool);
                Line::Head { spool: *spool, last: event.number - 1 }.render(&mut bytes);
            }
            Line::Event(event.clone()).render(&mut bytes);
        }
        Line::Head { spool: self.spool, last: self.last }.render(&mut bytes);
        (self.stale, self.grown, self.acked) = (false, 0, None);
        self.probing = self.in_memory;
        Write::Rewrite { ticket: self.ticket(), bytes }
    }

    fn ticket(&mut self) -> u64 {
        self.handed = self.events.len();
        self.tickets += 1;
        self.writes.push_back((self.tickets, self.handed));
        self.tickets
    }

    /// Writes up to this ticket are on disk.
    pub(crate) fn written(&mut self, ticket: u64) {
        while let Some((own, upto)) = self.writes.front().copied()
            && own <= ticket
        {
            self.writes.pop_front();
            self.safe = self.safe.max(upto);
            (self.in_memory, self.probing) = (false, false);
        }
    }

    /// The disk does not take events: what was not safe yet goes on in memory, in a new spool.
    pub(crate) fn fail(&mut self, fresh: SpoolId) {
        self.writes.clear();
        self.stale = false;
        // A write that failed may still have reached the disk, numbers and all: what was not sent
        // gets others. Of what was sent nothing changes any more.
        let from = if self.in_memory { self.sent } else { self.safe };
        (self.in_memory, self.probing) = (true, false);
        if self.last == 0 {
            return;
        }
        self.spool = fresh;
        self.last = 0;
        for (spool, event) in self.events.range_mut(from..) {
            self.last += 1;
            (*spool, event.number) = (fresh, self.last);
        }
    }
}

/// About how large it is on the wire, bytes.
fn len(event: &Event) -> usize {
    const REST: usize = 100;
    let carried = if let Happening::Evidence(bundle) = &event.what { bundle.sent.len() } else { 0 };
    REST + carried
}

#[cfg(test)]
mod tests;
