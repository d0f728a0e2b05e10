//! What readers see: the newest of each agent, put here by the driver. Readers never enter its
//! inbox, and hold it up for no longer than it takes to copy a pointer.
//!
//! ```text
//!  driver ── Publisher::put ──▶ slot of the agent ◀── Views::each, find, page ── status, explain,
//!                                                                               HTTP, /metrics
//! ```
//!
//! An agent is published whole, as the engine holds it, and never changes afterwards: what a reader
//! took stays as it was. What takes time (a forecast, a filter, an order) is done by the reader.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lubdub_engine::{Agent, AgentIndex, Fleet, Surroundings};
use lubdub_shared::id::AgentId;
use lubdub_shared::incident::Incident;
use lubdub_shared::time::{Now, Wall};
use lubdub_shared::view::CollectorView;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod choice;

pub(crate) use choice::{Choice, Page};

/// Slots that are made at one time.
const CHUNK: usize = 1024;
/// Names that are read at one time: a new agent waits for no more than that.
const NAMES_AT_ONCE: usize = 256;

/// Readers that work at one time.
const AT_ONCE: usize = 2;
/// Bodies that are written at one time, for each takes a thread; who comes then is refused.
pub(crate) const WALKS_MAX: usize = 64;

/// The newest of one agent; locked to copy or replace the pointer, and never longer.
type Slot = Mutex<Option<Arc<Agent>>>;
type Chunk = Arc<[Slot]>;

/// How the collector itself fares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Collector {
    pub(crate) started: Wall,
    pub(crate) surroundings: Surroundings,
    /// Why nothing can be written down now.
    pub(crate) store: Option<String>,
    /// Its own open incident.
    pub(crate) incident: Option<Incident>,
    pub(crate) streams: usize,
    pub(crate) writes_waiting: usize,
}

/// The same, as it is told: nothing of it is copied unless it is news.
#[derive(Debug)]
pub(crate) struct Fares<'a> {
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) store: Option<String>,
    pub(crate) incident: Option<&'a Incident>,
    pub(crate) streams: usize,
    pub(crate) writes_waiting: usize,
}

impl Collector {
    fn says(&self, fares: &Fares<'_>) -> bool {
        self.surroundings.are_still(fares.surroundings)
            && self.store == fares.store
            && self.incident.as_ref() == fares.incident
            && (self.streams, self.writes_waiting) == (fares.streams, fares.writes_waiting)
    }

    /// As people see it.
    pub(crate) fn view(&self, now: Now) -> CollectorView {
        CollectorView {
            now: Some(now.wall),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            degraded: self.surroundings.degraded(now.mono).unwrap_or_default(),
        }
    }
}

/// There is no such agent; the nearest ids.
#[derive(Debug, Clone)]
pub(crate) struct Unknown {
    pub(crate) agent: String,
    pub(crate) near: Vec<String>,
}

/// The readers' side.
#[derive(Debug, Clone)]
pub(crate) struct Views(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Grows, and never shrinks; locked for writing by one chunk in 1,024 agents.
    chunks: RwLock<Vec<Chunk>>,
    /// Locked for writing when an agent comes or goes.
    names: RwLock<BTreeMap<AgentId, AgentIndex>>,
    /// Locked to copy or replace the pointer.
    collector: Mutex<Arc<Collector>>,
    /// Who may work at one time.
    places: Arc<Semaphore>,
    walks: Arc<Semaphore>,
}

/// A place among those who work, given up while its owner waits for somebody.
#[derive(Debug)]
pub(crate) struct Turn {
    places: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    runtime: Handle,
    _walk: Walk,
}

/// One of those who may go through the fleet at the pace of their readers.
#[derive(Debug)]
pub(crate) struct Walk(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Turn {
    /// Waits without the place, so that whoever reads slowly holds up nobody.
    pub(crate) fn wait<T>(&mut self, wait: impl Future<Output = T>) -> T {
        self.held = None;
        let waited = self.runtime.block_on(wait);
        let place = Arc::clone(&self.places).acquire_owned();
        self.held = self.runtime.block_on(place).ok();
        waited
    }
}

/// The driver's side.
#[derive(Debug)]
pub(crate) struct Publisher {
    views: Views,
    /// Its own copy, so that it locks nothing but a slot.
    chunks: Vec<Chunk>,
    newest: Arc<Collector>,
    /// Whom something happened to since that was published.
    touched: Vec<AgentIndex>,
}

impl Publisher {
    /// Publishes everything that is known at the start.
    pub(crate) fn new(fleet: &Fleet, started: Wall) -> Self {
        let newest = Arc::new(Collector {
            started,
            surroundings: fleet.surroundings().clone(),
            store: None,
            incident: None,
            streams: 0,
            writes_waiting: 0,
        });
        let shared = Shared {
            chunks: RwLock::default(),
            names: RwLock::default(),
            collector: Mutex::new(Arc::clone(&newest)),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            walks: Arc::new(Semaphore::new(WALKS_MAX)),
        };
        let mut publisher = Self {
            views: Views(Arc::new(shared)),
            chunks: Vec::new(),
            newest,
            touched: Vec::new(),
        };
        for (_, index) in fleet.ids_after(None) {
            publisher.put(fleet.agent(index));
        }
        publisher
    }

    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// Something happened to an agent.
    pub(crate) fn touch(&mut self, agent: AgentIndex) {
        self.touched.push(agent);
    }

    /// Readers see what became of whoever was touched.
    pub(crate) fn publish(&mut self, fleet: &Fleet) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for index in touched.drain(..) {
            let agent = fleet.agent(index);
            if fleet.find(&agent.who.id) == Some(index) {
                self.put(agent);
            } else {
                self.remove(agent);
            }
        }
        self.touched = touched;
    }

    /// Puts what is known of an agent in place of what was.
    fn put(&mut self, agent: &Agent) {
        let number = agent.index().number();
        while self.chunks.len() <= number / CHUNK {
            let chunk: Chunk = (0..CHUNK).map(|_| Slot::default()).collect();
            self.chunks.push(Arc::clone(&chunk));
            written(&self.views.0.chunks).push(chunk);
        }
        let new = Some(Arc::new(agent.clone()));
        let before = std::mem::replace(&mut *locked(self.slot(number)), new);
        if before.is_none_or(|before| before.who.id != agent.who.id) {
            written(&self.views.0.names).insert(agent.who.id.clone(), agent.index());
        }
    }

    /// Takes an agent out of sight.
    fn remove(&mut self, agent: &Agent) {
        written(&self.views.0.names).remove(&agent.who.id);
        if let Some(chunk) = self.chunks.get(agent.index().number() / CHUNK) {
            *locked(&chunk[agent.index().number() % CHUNK]) = None;
        }
    }

    /// Tells how the collector fares, when that has changed; and each second that it looks.
    pub(crate) fn tell(&mut self, fares: Fares<'_>) {
        if self.newest.says(&fares) {
            return;
        }
        self.newest = Arc::new(Collector {
            started: self.newest.started,
            surroundings: fares.surroundings.clone(),
            store: fares.store,
            incident: fares.incident.cloned(),
            streams: fares.streams,
            writes_waiting: fares.writes_waiting,
        });
        *locked(&self.views.0.collector) = Arc::clone(&self.newest);
    }

    fn slot(&self, number: usize) -> &Slot {
        &self.chunks[number / CHUNK][number % CHUNK]
    }
}

impl Views {
    /// How the collector fares.
    pub(crate) fn collector(&self) -> Arc<Collector> {
        Arc::clone(&locked(&self.0.collector))
    }

    /// One agent.
    ///
    /// # Errors
    /// Nobody goes by that name; who is nearest.
    pub(crate) fn find(&self, agent: &AgentId) -> Result<Arc<Agent>, Unknown> {
        let index = read(&self.0.names).get(agent).copied();
        index.and_then(|index| self.at(index)).ok_or_else(|| {
            let names = read(&self.0.names);
            let known = names.keys().map(AgentId::as_str);
            let near = lubdub_shared::names::nearest(agent.as_str(), known);
            let near = near.into_iter().map(str::to_owned).collect();
            Unknown { agent: agent.to_string(), near }
        })
    }

    /// Every agent behind one, by id.
    pub(crate) fn each(&self, after: Option<AgentId>) -> impl Iterator<Item = Arc<Agent>> {
        let mut last = after;
        let mut some = Vec::new().into_iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(index) = some.next() {
                    // Who was forgotten meanwhile is passed over.
                    match self.at(index) {
                        Some(agent) => return Some(agent),
                        None => continue,
                    }
                }
                let names = read(&self.0.names);
                let from = last.clone().map_or(Unbounded, Excluded);
                let mut next = Vec::with_capacity(NAMES_AT_ONCE);
                for (id, index) in names.range((from, Unbounded)).take(NAMES_AT_ONCE) {
                    next.push(*index);
                    last = Some(id.clone());
                }
                if next.is_empty() {
                    return None;
                }
                some = next.into_iter();
            }
        })
    }

    /// Does on a thread of its own what takes time. Only so many do at once; the next waits.
    /// `None`: it panicked.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.0.places).acquire_owned().await;
        let (views, place) = (self.clone(), place.expect("it is never closed"));
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&views);
            drop(place);
            done
        });
        done.await.ok()
    }

    /// May do what waits for somebody now and then; `None`: as many do as may at one time.
    pub(crate) fn begin_walk(&self) -> Option<Walk> {
        Arc::clone(&self.0.walks).try_acquire_owned().ok().map(Walk)
    }

    /// Does that, on a thread of its own. `None`: it panicked.
    pub(crate) async fn walk<T: Send + 'static>(
        &self,
        walk: Walk,
        work: impl FnOnce(&Self, Turn) -> T + Send + 'static,
    ) -> Option<T> {
        let places = Arc::clone(&self.0.places);
        let held = Arc::clone(&places).acquire_owned().await.ok();
        let turn = Turn { places, held, runtime: Handle::current(), _walk: walk };
        let views = self.clone();
        tokio::task::spawn_blocking(move || work(&views, turn)).await.ok()
    }

    fn at(&self, index: AgentIndex) -> Option<Arc<Agent>> {
        let number = index.number();
        let chunk = read(&self.0.chunks).get(number / CHUNK).cloned()?;
        locked(&chunk[number % CHUNK]).clone()
    }
}

// Whoever panicked while it held one of these had only a pointer in its hand.

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn written<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
