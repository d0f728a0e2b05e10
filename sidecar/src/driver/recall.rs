//! What is left of an agent when its sidecar starts: memory, a life that goes on, leftovers.

use std::io;
use std::path::PathBuf;

use lubdub_shared::heartbeat_file::Kept;
use lubdub_shared::id::{Life, LifeId, ProcessId};
use lubdub_shared::session::Happening;
use lubdub_shared::time::{self, Now, Wall};
use rustix::io::Errno;
use tracing::{info, warn};

use super::begin::{LOCK_PAUSE, LOCK_TRIES};
use super::{Config, Driver};
use crate::BeginError;
use crate::link::spool;
use crate::place::Place;
use crate::process::{
    Kind, Marked, Selector, door_of, find_marked, main_of, owner_of, sweep_leftovers,
};
use crate::state::{Found, Memory, buried};
use crate::transcript::Transcript;
use crate::vitals;

impl Driver {
    /// Goes on with a life that an earlier sidecar started.
    ///
    /// # Errors
    /// The kernel does not let us hold it: no other life may be started beside it.
    pub(super) fn adopt(&mut self, process: ProcessId, now: Now) -> io::Result<()> {
        let Some(life) = self.supervisor.life() else { return Ok(()) };
        if let Err(error) = self.process.adopt(life, process, &self.supervisor.memory().orphans) {
            if error.raw_os_error() != Some(Errno::SRCH.raw_os_error()) {
                return Err(error);
            }
            // It ended this moment: its end is seen as one that nobody saw.
            warn!(pid = process.pid, "the agent ended while it was taken over");
            let orphans = &self.supervisor.memory().orphans;
            let owns = |door: &_| self.place.owns(door);
            drop(sweep_leftovers(&self.config.agent, &[life.id], None, orphans, owns));
            let unseen = Some(Unseen { life, counts: true });
            self.tell_what_was_missed(unseen, Vec::new(), now.wall);
            return Ok(());
        }
        self.config.attach = None;
        self.awaited.before = Some(process);
        self.transcript = self.config.transcript.clone().and_then(Transcript::follow);
        info!(pid = process.pid, life = life.ordinal, "took over an agent that lived on");
        let file = std::fs::read(&self.config.heartbeat_file).unwrap_or_default();
        let kept = Kept::parse(&file).filter(|kept| kept.life == life.id);
        let age = vitals::age(process.start_time).unwrap_or_default();
        self.supervisor.adopt(process, age, kept, now, &mut self.actions);
        Ok(())
    }
}

/// The main process of the life that goes on, if one does. What the state file could not be told
/// any more (a full disk), or was told and lost, the agent's environment still says.
fn still_runs(memory: &mut Memory, marked: &[Marked], kind: &Kind) -> Option<ProcessId> {
    let newest = marked.iter().map(|marked| marked.life).max_by_key(|life| life.ordinal);
    let known = memory.life;
    if let Some(newer) =
        newest.filter(|newest| known.is_none_or(|known| newest.ordinal > known.ordinal))
        && let Some(process) = main_of(marked, newer.id)
    {
        // That it began may not have been told.
        (memory.life, memory.starting) = (Some(newer), true);
        return Some(process);
    }
    let life = known?;
    if memory.starting {
        // The sidecar was killed between the start and the note of its pid.
        return main_of(marked, life.id);
    }
    let process = memory.process?;
    let lives = vitals::stat(process.pid.get())
        .is_some_and(|stat| stat.start_time == process.start_time && stat.is_alive());
    match kind {
        _ if lives => Some(process),
        Kind::Simple => None,
        // Its launcher may have ended while nobody was there to look for the daemon.
        Kind::Forking(_) => main_of(marked, life.id),
    }
}

/// The end of a life that nobody saw.
pub(super) struct Unseen {
    life: Life,
    /// It may have failed: it neither went with its sidecar nor with the machine.
    counts: bool,
}

/// What an earlier sidecar of this agent left.
pub(super) struct Recalled {
    pub(super) memory: Memory,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// A life that ended while no sidecar was there.
    pub(super) unseen: Option<Unseen>,
    /// The main process of a life that goes on.
    pub(super) lives: Option<ProcessId>,
    /// Where that one was told to speak.
    pub(super) door: Option<PathBuf>,
    /// The process that is to be attached to may be the one that is meant.
    pub(super) attaches: bool,
}

impl Driver {
    /// What happened while no sidecar was there, and what a person should know of this start.
    pub(super) fn tell_what_was_missed(
        &mut self,
        unseen: Option<Unseen>,
        notes: Vec<String>,
        at: Wall,
    ) {
        for text in notes {
            warn!("{text}");
            self.outbox.push(at, None, Happening::Note { text });
        }
        // It may have been seen, and the sidecar killed before it could note that.
        if let Some(unseen) = unseen.filter(|unseen| !self.outbox.holds_the_end_of(unseen.life)) {
            self.supervisor.ended_unseen(unseen.counts, &mut self.actions);
        }
    }
}

/// What is remembered, and no leftovers of an earlier life but one that goes on.
///
/// # Errors
/// The state directory cannot be read or written, or another sidecar lives whose agent it is.
pub(super) fn recall(config: &Config, place: &Place) -> Result<Recalled, BeginError> {
    let state_error = |source| BeginError::State { path: config.state.clone(), source };
    let boot_id = vitals::boot_id();
    let mut notes = Vec::new();
    let mut memory = remembered(config, &boot_id, &mut notes).map_err(state_error)?;
    let (mut lives, mut attaches) = (None, true);
    let before = memory.life.filter(|_| memory.process.is_some() || memory.starting);
    if memory.boot_id == boot_id || memory.life.is_none() {
        let marked = find_marked(|door| place.owns(door));
        let runs = still_runs(&mut memory, &marked, &config.kind);
        if let Some(process) = runs {
            nobodys(config, process)?;
        }
        lives = runs.filter(|_| !config.die_with_sidecar && memory.hold.is_none());
        sweep(config, place, &mut memory, lives, &marked, &mut notes);
    }
    if let Some(Selector::Pid(pid)) = config.attach {
        // A pid means one process: after a reboot, or when that one is gone, it is a stranger's.
        let started = vitals::stat(pid.get()).map(|stat| stat.start_time);
        let known = memory.process.filter(|known| known.pid == pid);
        let same = known.is_none_or(|known| started == Some(known.start_time));
        attaches = memory.life.is_none() || memory.boot_id == boot_id && same;
    }
    memory.process = lives;
    memory.starting &= lives.is_some();
    let counts = memory.boot_id == boot_id && !config.die_with_sidecar;
    memory.boot_id = boot_id;
    // A life that the state file was not told of has no end that was missed, but for its own.
    let unseen = before.filter(|_| lives.is_none()).map(|life| Unseen { life, counts });
    let door = lives.and_then(door_of).filter(|door| place.owns(door));
    Ok(Recalled { memory, notes, unseen, lives, door, attaches })
}

/// Ends what earlier lives left, but for the one that goes on.
fn sweep(
    config: &Config,
    place: &Place,
    memory: &mut Memory,
    lives: Option<ProcessId>,
    marked: &[Marked],
    notes: &mut Vec<String>,
) {
    let goes_on = memory.life.filter(|_| lives.is_some()).map(|life| life.id);
    let ended = memory.life.map(|life| life.id).into_iter();
    let mut over: Vec<LifeId> = ended.chain(marked.iter().map(|marked| marked.life.id)).collect();
    over.retain(|life| Some(*life) != goes_on);
    over.sort_unstable();
    over.dedup();
    let orphans = std::mem::take(&mut memory.orphans);
    if over.is_empty() {
        memory.orphans = orphans;
        return;
    }
    let theirs = if goes_on.is_some() { &[][..] } else { &orphans };
    let owns = |door: &_| place.owns(door);
    let (count, stuck) = sweep_leftovers(&config.agent, &over, goes_on, theirs, owns);
    if goes_on.is_some() {
        memory.orphans = orphans;
    }
    if count > 0 {
        notes.push(format!("ended {count} processes that an earlier life left behind"));
    }
    if !stuck.is_empty() {
        notes.push(format!("of an earlier life these do not die: {stuck:?}"));
    }
}

/// A process whose sidecar lives is nobody's to take over. One that was killed just now may still
/// be about to go.
fn nobodys(config: &Config, process: ProcessId) -> Result<(), BeginError> {
    let mut tries = 0..LOCK_TRIES;
    while let Some(owner) = owner_of(process) {
        if tries.next().is_none() {
            let owner = owner.to_string();
            return Err(BeginError::Owned { agent: config.agent.clone(), owner });
        }
        time::pause(LOCK_PAUSE);
    }
    Ok(())
}

fn remembered(config: &Config, boot_id: &str, notes: &mut Vec<String>) -> io::Result<Memory> {
    let empty = || Memory {
        hold: buried(&config.state),
        ..Memory::empty(config.agent.clone(), boot_id.to_owned())
    };
    Ok(match Memory::load(&config.state)? {
        Found::Whole(memory) if memory.agent == config.agent => *memory,
        Found::Whole(other) => {
            let aside = format!("{}.of-{}", spool::FILE_NAME, other.agent);
            let (from, to) = (config.state.join(spool::FILE_NAME), config.state.join(&aside));
            match std::fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            notes.push(format!(
                "the state directory belongs to {}; starting anew, its spool is kept as {aside}",
                other.agent
            ));
            empty()
        }
        Found::Nothing => empty(),
        Found::Corrupt(why) => {
            notes.push(format!("the state file cannot be read: {why}"));
            empty()
        }
    })
}
