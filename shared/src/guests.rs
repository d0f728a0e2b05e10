//! Connections at a door: so many at a time, none that says nothing for long, and always a place
//! for who comes.
//!
//! ```text
//!            first request                 last one answered
//!  Stranger ───────────────▶ Busy ◀──────────────────────────▶ Idle
//!     │ first patience                                           │ idle patience
//!     └───────────────▶ gone ◀───────────────────────────────────┘
//! ```
//!
//! A request counts from its whole head to the end of its answer; at a door where none takes long,
//! a connection that is busy for longer than that ends as well. When all places are taken, who has
//! been idle longest makes room; who is busy never does. Whoever comes while all are busy gets no
//! place: the door says what becomes of them.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::time::{Mono, instant_at, now};

/// How long a connection may say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until its first request is there whole.
    pub first: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// From a request to the end of its answer; `None` where one may last for ever, as a stream.
    pub busy: Option<Duration>,
}

/// A door's connections.
#[derive(Debug)]
pub struct Guests {
    places: usize,
    patience: Patience,
    turned_away: AtomicU64,
    /// A lock, because connections live in tasks of their own; it is held for a look and a change.
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    here: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Requests that are not answered yet.
    busy: u32,
    /// It has asked something before.
    asked: bool,
    /// Since when it is busy, or is not.
    since: Mono,
    /// Dropped when it has to go.
    _stays: oneshot::Sender<()>,
}

impl Guests {
    /// A door with so many places.
    pub fn new(places: usize, patience: Patience) -> Arc<Self> {
        let (turned_away, list) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { places: places.max(1), patience, turned_away, list })
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection comes; `None` where all places are busy.
    pub fn enter(self: &Arc<Self>, now: Mono) -> Option<Guest> {
        let mut list = self.list();
        if list.here.len() >= self.places {
            let idle = list.here.iter().filter(|(_, entry)| entry.busy == 0);
            let longest = idle.min_by_key(|(_, entry)| entry.since).map(|(id, _)| *id);
            let Some(longest) = longest else {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            list.here.remove(&longest);
        }
        let (_stays, gone) = oneshot::channel();
        let id = list.next;
        list.next += 1;
        list.here.insert(id, Entry { busy: 0, asked: false, since: now, _stays });
        Some(Guest { place: Arc::new(Place { guests: Arc::clone(self), id }), gone })
    }

    /// Connections that were turned away since this was last asked.
    pub fn take_turned_away(&self) -> u64 {
        self.turned_away.swap(0, Ordering::Relaxed)
    }

    /// Connections that are here.
    pub fn count(&self) -> usize {
        self.list().here.len()
    }

    /// When a connection has said nothing for too long; `None` where it has gone already.
    fn due(&self, id: u64, now: Mono) -> Option<Mono> {
        let list = self.list();
        let entry = list.here.get(&id)?;
        let Patience { first, idle, busy } = self.patience;
        Some(match (entry.busy, entry.asked, busy) {
            (0, false, _) => entry.since.after(first),
            (0, true, _) => entry.since.after(idle),
            (1.., _, Some(busy)) => entry.since.after(busy),
            (1.., _, None) => now.after(idle),
        })
    }
}

#[derive(Debug)]
struct Place {
    guests: Arc<Guests>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.list().here.remove(&self.id);
    }
}

/// A connection that has a place.
#[derive(Debug)]
pub struct Guest {
    place: Arc<Place>,
    gone: oneshot::Receiver<()>,
}

impl Guest {
    /// For what serves its requests.
    pub fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.place))
    }
}

/// Says when a connection is busy.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Place>);

impl Requests {
    /// A request is there; it is answered when what is given is dropped.
    pub fn begin(&self) -> InFlight {
        if let Some(entry) = self.0.guests.list().here.get_mut(&self.0.id) {
            if entry.busy == 0 {
                entry.since = now().mono;
            }
            entry.busy += 1;
            entry.asked = true;
        }
        InFlight(Arc::clone(&self.0))
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub struct InFlight(Arc<Place>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(entry) = self.0.guests.list().here.get_mut(&self.0.id) {
            entry.busy = entry.busy.saturating_sub(1);
            if entry.busy == 0 {
                entry.since = now().mono;
            }
        }
    }
}

/// The body of an answer, which is on its way as long as this is there.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    _flight: Option<InFlight>,
}

impl<B> Answer<B> {
    /// Keeps the request in flight until the body has gone.
    pub fn new(body: B, flight: Option<InFlight>) -> Self {
        Self { body, _flight: flight }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that ends when its guest has to go.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    guest: Guest,
    look: Pin<Box<Sleep>>,
}

impl<S> Guarded<S> {
    /// Must be called within a runtime.
    pub fn new(stream: S, guest: Guest) -> Self {
        let look = Box::pin(tokio::time::sleep(guest.place.guests.patience.first));
        Self { stream, guest, look }
    }

    /// For what serves its requests.
    pub fn requests(&self) -> Requests {
        self.guest.requests()
    }

    /// Whether it may stay; asks again when that may have changed.
    fn may_stay(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if Pin::new(&mut self.guest.gone).poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it made room"));
        }
        while self.look.as_mut().poll(context).is_ready() {
            let (place, now) = (&self.guest.place, now().mono);
            match place.guests.due(place.id, now).filter(|due| *due > now) {
                Some(due) => self.look.as_mut().reset(instant_at(due).into()),
                None => return Err(io::Error::new(io::ErrorKind::TimedOut, "it said nothing")),
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_stay(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.may_stay(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.may_stay(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Patience =
        Patience { first: Duration::from_secs(10), idle: Duration::from_secs(60), busy: None };

    fn at(seconds: u64) -> Mono {
        Mono(0).after(Duration::from_secs(seconds))
    }

    fn is_here(guests: &Guests, guest: &Guest) -> bool {
        guests.list().here.contains_key(&guest.place.id)
    }

    #[test]
    fn who_is_idle_longest_makes_room_and_who_is_busy_never() {
        let guests = Guests::new(3, SHORT);
        let busy = guests.enter(at(0)).expect("room");
        let request = busy.requests().begin();
        let (first, second) = (guests.enter(at(1)), guests.enter(at(2)));
        let (first, second) = (first.expect("room"), second.expect("room"));
        let third = guests.enter(at(3)).expect("the first goes");
        assert!(!is_here(&guests, &first) && is_here(&guests, &second));
        let _more = [second.requests().begin(), third.requests().begin()];
        assert!(guests.enter(at(4)).is_none(), "all are busy");
        assert_eq!((guests.take_turned_away(), guests.count()), (1, 3));
        drop(request);
        assert!(guests.enter(at(5)).is_some(), "one is not any more");
        assert!(!is_here(&guests, &busy));
    }

    #[test]
    fn a_place_is_free_when_its_connection_ends() {
        let guests = Guests::new(1, SHORT);
        let guest = guests.enter(at(0)).expect("room");
        let request = guest.requests().begin();
        drop(guest);
        assert!(guests.enter(at(1)).is_none(), "its request is not answered yet");
        drop(request);
        assert!(guests.enter(at(2)).is_some());
    }

    #[test]
    fn silence_is_borne_for_so_long() {
        let guests = Guests::new(2, SHORT);
        let guest = guests.enter(at(100)).expect("room");
        let id = guest.place.id;
        assert_eq!(guests.due(id, at(105)), Some(at(110)), "nothing was asked yet");
        let request = guest.requests().begin();
        assert_eq!(guests.due(id, at(500)), Some(at(560)), "busy");
        drop(request);
        let since = guests.list().here[&id].since;
        assert_eq!(guests.due(id, at(9000)), Some(since.after(SHORT.idle)), "idle");
    }

    #[test]
    fn where_none_takes_long_who_does_has_to_go() {
        let patience = Patience { busy: Some(Duration::from_secs(120)), ..SHORT };
        let guests = Guests::new(1, patience);
        let guest = guests.enter(at(0)).expect("room");
        let _request = guest.requests().begin();
        let since = guests.list().here[&guest.place.id].since;
        let _second = guest.requests().begin();
        let due = guests.due(guest.place.id, at(500));
        assert_eq!(due, Some(since.after(Duration::from_secs(120))), "counted from the first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_to_go_ends() {
        use tokio::io::AsyncReadExt as _;
        let guests = Guests::new(1, SHORT);
        let (silent, _peer) = tokio::io::duplex(64);
        let mut silent = Guarded::new(silent, guests.enter(now().mono).expect("room"));
        let mut byte = [0];
        let reading = tokio::spawn(async move { silent.read(&mut byte).await });
        tokio::task::yield_now().await;
        let _newer = guests.enter(now().mono).expect("the silent one goes");
        let ended = reading.await.expect("no panic").expect_err("it made room");
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn who_does_not_read_its_answer_has_to_go() {
        use tokio::io::AsyncWriteExt as _;
        let brief = Duration::from_millis(20);
        let patience = Patience { first: brief, busy: Some(brief), ..SHORT };
        let guests = Guests::new(1, patience);
        let guest = guests.enter(now().mono).expect("room");
        let _request = guest.requests().begin();
        let (full, _peer) = tokio::io::duplex(8);
        let mut full = Guarded::new(full, guest);
        let ended = full.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}
