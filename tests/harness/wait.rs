//! Waiting for an outcome, never for a time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something, and fails after `within`.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks all the time, and fails as soon as there is something.
#[track_caller]
pub fn never_within<T: Debug>(what: &str, span: Duration, mut look: impl FnMut() -> Option<T>) {
    let start = Instant::now();
    while start.elapsed() < span {
        if let Some(found) = look() {
            panic!("after {:?}: {what}: {found:?}", start.elapsed());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Lets a load run for a while.
pub fn pass(span: Duration) {
    std::thread::sleep(span);
}

/// A number that no other call gave.
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
