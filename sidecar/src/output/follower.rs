//! The thread that copies: it may block wherever the sidecar's own output goes.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use lubdub_shared::time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::stdio::{stderr, stdout};

use super::Stream;

/// Copied at once.
const PIECE: usize = 64 * 1024;
/// How often it looks though nothing was told.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How soon a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long the end waits for somebody to take something.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Follower {
    done: mpsc::Receiver<()>,
}

impl Follower {
    pub(super) fn start(
        streams: Arc<[Stream; 2]>,
        ending: Arc<AtomicBool>,
        positions: File,
    ) -> io::Result<Self> {
        let news = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        for stream in streams.iter() {
            let path = format!("/proc/self/fd/{}", stream.memory.as_raw_fd());
            inotify::add_watch(&news, path, inotify::WatchFlags::MODIFY)?;
        }
        let (finished, done) = mpsc::sync_channel(1);
        let thread = Thread { streams, ending, positions, news, broken: [false; 2] };
        std::thread::Builder::new().name("lubdub-output".to_owned()).spawn(move || {
            thread.run();
            // Whoever waited may be gone.
            let (Ok(()) | Err(_)) = finished.send(());
        })?;
        Ok(Self { done })
    }

    /// Waits a while for the rest to be copied.
    pub(super) fn is_done_soon(&self) -> bool {
        self.done.recv_timeout(PATIENCE).is_ok()
    }
}

struct Thread {
    streams: Arc<[Stream; 2]>,
    ending: Arc<AtomicBool>,
    positions: File,
    news: OwnedFd,
    /// Nobody will ever read it again.
    broken: [bool; 2],
}

impl Thread {
    fn run(mut self) {
        let mut piece = vec![0; PIECE];
        loop {
            // Looked at before the last round: what was written until then is in it.
            let ending = self.ending.load(Ordering::Acquire);
            let mut copied = false;
            for index in 0..self.streams.len() {
                copied |= self.copy(index, &mut piece);
            }
            match (copied, ending) {
                (true, _) => {}
                (false, true) => return,
                (false, false) => self.wait(),
            }
        }
    }

    /// Copies a piece of one stream; false when there was none.
    fn copy(&mut self, index: usize, piece: &mut [u8]) -> bool {
        let stream = &self.streams[index];
        let mut at = stream.at.load(Ordering::Relaxed);
        let floor = stream.floor.load(Ordering::Acquire);
        if at < floor {
            stream.dropped.fetch_add(floor - at, Ordering::Relaxed);
            at = floor;
        }
        if stream.len() < at {
            // Somebody opened it anew and emptied it, as `> /dev/stderr` does.
            at = 0;
            stream.floor.store(0, Ordering::Release);
            stream.at.store(0, Ordering::Release);
        }
        let Ok(count @ 1..) = stream.memory.read_at(piece, at) else { return false };
        if stream.floor.load(Ordering::Acquire) > at {
            // It was dropped while it was read: what was read may be holes.
            return true;
        }
        let target = [stdout(), stderr()][index];
        if !self.broken[index] {
            self.broken[index] = !write_all(target, &piece[..count], &self.ending);
        }
        let at = at + count as u64;
        stream.at.store(at, Ordering::Release);
        // A sidecar that is killed right here says this piece again, and loses none.
        let place = (index * 8) as u64;
        let (Ok(()) | Err(_)) = self.positions.write_all_at(&at.to_le_bytes(), place);
        true
    }

    fn wait(&self) {
        let mut news = [PollFd::new(&self.news, PollFlags::IN)];
        let (Ok(_) | Err(_)) = poll(&mut news, Some(&LOOK_EVERY));
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(self.news.as_fd(), &mut buffer);
        while reader.next().is_ok() {}
    }
}

/// Writes everything; false when nobody will ever read it. A full disk is waited for.
fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8], ending: &AtomicBool) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::BADF) => return false,
            Err(_) if ending.load(Ordering::Acquire) => return false,
            Err(_) => {
                let mut full = [PollFd::new(&target, PollFlags::OUT)];
                let (Ok(_) | Err(_)) = poll(&mut full, Some(&LOOK_EVERY));
                time::pause(RETRY_AFTER);
            }
        }
    }
    true
}
