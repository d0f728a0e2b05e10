//! PURE: leases of a life. A lease is a bound that the agent puts on its phase; the sum of them
//! since the last progress is capped, so that who renews for ever is not leased for ever.

use std::time::Duration;

use lubdub_shared::beat::{Lease, Phase};
use lubdub_shared::line::{Message, Until};
use lubdub_shared::policy::Policy;
use lubdub_shared::time::{Mono, Wall};

/// Longest wait for a rate limit that suspends the clock.
const RATE_LIMIT_MAX: Duration = Duration::from_secs(8 * 24 * 60 * 60);

#[derive(Debug, Clone, Copy)]
struct Granted {
    number: u64,
    ends: Mono,
    slack: Duration,
    /// It counts against the cap; a wait for a rate limit does not.
    counts: bool,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    newest: Option<Granted>,
    granted: u64,
    /// Leased time since the last progress.
    used: Duration,
    /// Waits for a rate limit since the last progress, and their time in sum.
    waits: u32,
    waited: Duration,
    /// A wait was asked for that is longer than any may be.
    capped: bool,
}

impl Leases {
    /// Time passes. True while a lease or its slack runs: nothing is charged then.
    pub(super) fn charge(&mut self, passed: Duration, now: Mono) -> bool {
        let Some(lease) = self.newest.filter(|lease| now <= lease.ends.after(lease.slack)) else {
            return false;
        };
        if lease.counts {
            self.used += passed;
        } else {
            self.waited += passed;
        }
        true
    }

    /// Time passes while the process is stopped: the lease waits with it.
    pub(super) fn pause(&mut self, passed: Duration) {
        if let Some(lease) = &mut self.newest {
            lease.ends = lease.ends.after(passed);
        }
    }

    pub(super) fn end(&mut self) {
        self.newest = None;
    }

    /// What the lease was for is over; one that still runs goes on.
    pub(super) fn end_if_over(&mut self, now: Mono) {
        self.newest.take_if(|lease| now > lease.ends);
    }

    pub(super) fn is_some(&self) -> bool {
        self.newest.is_some()
    }

    /// All of the cap is there again.
    pub(super) fn refill(&mut self) {
        self.used = Duration::ZERO;
        (self.waits, self.waited) = (0, Duration::ZERO);
    }

    /// Of waits that were renewed: their sum.
    pub(super) fn waited(&self) -> Duration {
        if self.waits > 1 { self.waited } else { Duration::ZERO }
    }

    /// Whether a wait was cut since this was last asked.
    pub(super) fn take_capped(&mut self) -> bool {
        std::mem::take(&mut self.capped)
    }

    pub(super) fn view(&self, now: Mono) -> Option<Lease> {
        self.newest.map(|lease| Lease {
            number: lease.number,
            left: lease.ends.since(now),
            over: Some(now.since(lease.ends)).filter(|over| *over > lease.slack),
        })
    }

    /// What was left of a lease that an earlier sidecar granted.
    pub(super) fn resume(&mut self, left: Duration, now: Mono) {
        let (left, counts) = (left.min(RATE_LIMIT_MAX), true);
        self.put(left, counts, now);
    }

    fn put(&mut self, left: Duration, counts: bool, now: Mono) {
        self.granted += 1;
        self.newest = Some(Granted {
            number: self.granted,
            ends: now.after(left),
            slack: (left / 10).max(Duration::from_secs(5)),
            counts,
        });
    }

    /// Grants what a message asks for. `entered` is true when it entered its phase.
    pub(super) fn grant(
        &mut self,
        message: &Message,
        (phase, entered): (Option<Phase>, bool),
        now: Mono,
        wall: Wall,
        policy: &Policy,
    ) {
        let waits = phase == Some(Phase::WaitingRateLimit);
        let rate_limit = match message.until.filter(|_| waits) {
            Some(Until::In(wait)) => Some(wait),
            Some(Until::At(end)) => Some(wall.until(end)),
            // Until when is not known: as long as any lease may be.
            None if waits && entered && message.lease.is_none() => Some(policy.lease_max),
            None => None,
        };
        // What is left of the cap, slack included. A renewal beyond it changes nothing.
        let left = policy.lease_max.saturating_sub(self.used);
        let (granted, counts) = match (rate_limit, message.lease) {
            (Some(wait), _) => {
                self.waits = self.waits.saturating_add(1);
                self.capped |= wait > RATE_LIMIT_MAX && entered;
                (wait.min(RATE_LIMIT_MAX), false)
            }
            (None, Some(Duration::ZERO)) => return self.end(),
            (None, Some(asked)) if !left.is_zero() => (asked.min(left), true),
            (None, Some(_) | None) => return,
        };
        self.put(granted, counts, now);
    }
}
