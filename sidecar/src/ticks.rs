//! The tick, by a timer of the kernel's. One of the runtime's own wakes the process twice for each:
//! its wheel has slots of 64 ms, and a deadline beyond is found in two steps.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Comes again and again. Ticks that were missed come as one.
#[derive(Debug)]
pub(crate) struct Ticks(AsyncFd<OwnedFd>);

impl Ticks {
    /// The first comes at once.
    ///
    /// # Errors
    /// The system gives no timer.
    pub(crate) fn every(interval: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let interval = interval.try_into().map_err(io::Error::other)?;
        // No time at all would disarm it.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 1 };
        let pace = Itimerspec { it_interval: interval, it_value: at_once };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &pace)?;
        // SAFETY: an `OwnedFd` stays open, and the same, for as long as it is owned.
        #[expect(unsafe_code, reason = "tokio takes the word of whoever knows the type")]
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self(timer))
    }

    /// Waits for the next one. Safe to cancel.
    ///
    /// # Errors
    /// The timer is broken.
    pub(crate) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut expirations = [0; size_of::<u64>()];
            let mut ready = self.0.readable().await?;
            let read = |timer: &AsyncFd<OwnedFd>| Ok(rustix::io::read(timer, &mut expirations)?);
            if let Ok(done) = ready.try_io(read) {
                return done.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lubdub_shared::time::{now, pause};

    #[tokio::test]
    async fn the_first_comes_at_once_and_those_that_were_missed_as_one() {
        let hour = Ticks::every(Duration::from_secs(3600)).expect("a timer");
        hour.tick().await.expect("at once");
        let began = now().mono;
        let ticks = Ticks::every(Duration::from_millis(20)).expect("a timer");
        for number in 0..=3 {
            ticks.tick().await.expect("a tick");
            let passed = now().mono.since(began);
            assert!(passed >= Duration::from_millis(20 * number), "tick {number}: {passed:?}");
        }
        pause(Duration::from_millis(100));
        let late = now().mono;
        ticks.tick().await.expect("those that were missed");
        ticks.tick().await.expect("the next");
        ticks.tick().await.expect("and the next");
        assert!(now().mono.since(late) >= Duration::from_millis(20), "not five at once");
    }
}
