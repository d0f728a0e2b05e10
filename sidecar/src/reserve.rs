//! A few descriptors that are kept for the sidecar's own needs. Whoever uses up the rest (an
//! agent's children at the HTTP door, a low limit) must not make it blind or unable to start its
//! agent.

use std::cell::RefCell;
use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// What a start needs: two pipes, a file of each group, a handle of the child.
const KEPT: usize = 8;
/// What the sidecar itself uses at one time, its reserve included.
const OWN: u64 = 40;
/// Connections at the HTTP door where descriptors are plenty; further ones wait at the socket.
const DOOR_MAX: usize = 128;

thread_local! {
    /// Of the thread that looks and starts: the others ask for little, and try again.
    static SPARE: RefCell<Vec<File>> = const { RefCell::new(Vec::new()) };
}

/// Sets them aside, on the thread that is to have them.
pub(crate) fn keep() {
    SPARE.with_borrow_mut(|spare| {
        while spare.len() < KEPT
            && let Ok(file) = File::open("/dev/null")
        {
            spare.push(file);
        }
    });
}

/// Does something with the reserve given up for its time.
pub(crate) fn with_room<T>(work: impl FnOnce() -> T) -> T {
    SPARE.with_borrow_mut(Vec::clear);
    let done = work();
    keep();
    done
}

/// Tries, and where descriptors are used up once more with the reserve.
pub(crate) fn try_with_room<T>(work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match work() {
        Err(error) if is_used_up(&error) => with_room(work),
        done => done,
    }
}

/// There is no descriptor, process or memory to be had: whose need that is has done nothing wrong.
pub(crate) fn is_used_up(error: &io::Error) -> bool {
    let used_up = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    error.raw_os_error().is_some_and(|code| used_up.iter().any(|e| e.raw_os_error() == code))
}

/// Connections that the HTTP door may hold: half of what is left beside our own needs.
pub(crate) fn door_share() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    share_of(limit)
}

fn share_of(limit: u64) -> usize {
    let half = limit.saturating_sub(OWN) / 2;
    usize::try_from(half).unwrap_or(DOOR_MAX).clamp(1, DOOR_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_gets_half_of_what_is_left() {
        for (limit, share) in [(0, 1), (40, 1), (64, 12), (256, 108), (1024, 128), (u64::MAX, 128)]
        {
            assert_eq!(share_of(limit), share, "{limit}");
        }
    }

    #[test]
    fn what_is_used_up_is_tried_again_with_the_reserve() {
        keep();
        let tries = std::cell::Cell::new(0);
        let done = try_with_room(|| {
            tries.set(tries.get() + 1);
            match tries.get() {
                1 => Err(io::Error::from(Errno::MFILE)),
                _ => Ok(SPARE.with_borrow(Vec::len)),
            }
        });
        assert_eq!(done.expect("the second time"), 0, "all of it was given up");
        assert_eq!(SPARE.with_borrow(Vec::len), KEPT, "and is there again");
        let refused = try_with_room(|| Err::<(), _>(io::Error::from(Errno::ACCESS)));
        assert!(refused.is_err());
    }
}
