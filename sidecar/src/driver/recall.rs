//! What is left of an agent when its sidecar starts: memory, a life that goes on, leftovers.

use std::io;
use std::path::Path;

use lubdub_shared::heartbeat_file::Kept;
use lubdub_shared::id::{Life, ProcessId};
use lubdub_shared::session::Happening;
use lubdub_shared::time::{Now, Wall};
use rustix::io::Errno;
use tracing::{info, warn};

use super::{Config, Driver};
use crate::process::{Kind, Selector, find_agent, find_main, sweep_leftovers};
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
            drop(sweep_leftovers(&self.config.agent, life.id, orphans));
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

/// The main process of the life that is remembered, if it lives on.
fn still_runs(memory: &mut Memory, door: &Path, kind: &Kind) -> Option<ProcessId> {
    if memory.life.is_none() {
        // A memory that is lost knows of no life; its agent may live on all the same.
        let process = find_agent(door)?;
        memory.life = life_of(process);
        return memory.life.map(|_| process);
    }
    if memory.starting {
        // The sidecar was killed between the start and the note of its pid.
        return memory.life.and_then(|life| find_main(life.id));
    }
    let process = memory.process?;
    let lives = vitals::stat(process.pid.get())
        .is_some_and(|stat| stat.start_time == process.start_time && stat.is_alive());
    match kind {
        _ if lives => Some(process),
        Kind::Simple => None,
        // Its launcher may have ended while nobody was there to look for the daemon.
        Kind::Forking(_) => memory.life.and_then(|life| find_main(life.id)),
    }
}

/// The life that a process was started as, by its environment.
fn life_of(process: ProcessId) -> Option<Life> {
    let environ = vitals::read(process.pid.get(), "environ")?;
    let value = |key: &str| environ.split('\0').find_map(|entry| entry.strip_prefix(key));
    let id = value("LUBDUB_LIFE=")?.parse().ok()?;
    let ordinal = value("LUBDUB_INCARNATION=")?.parse().ok()?;
    Some(Life { id, ordinal })
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
/// The state directory cannot be read or written.
pub(super) fn recall(config: &Config) -> io::Result<Recalled> {
    let boot_id = vitals::boot_id();
    let mut notes = Vec::new();
    let mut memory = remembered(config, &boot_id, &mut notes)?;
    let (mut lives, mut attaches) = (None, true);
    if memory.boot_id == boot_id {
        lives = still_runs(&mut memory, &config.socket, &config.kind)
            .filter(|_| !config.die_with_sidecar && memory.hold.is_none());
        let ended = memory.life.filter(|_| lives.is_none());
        let orphans = std::mem::take(&mut memory.orphans);
        let swept = ended.map(|life| sweep_leftovers(&config.agent, life.id, &orphans));
        if lives.is_some() {
            memory.orphans = orphans;
        }
        let (count, stuck) = swept.unwrap_or_default();
        if count > 0 {
            notes.push(format!("ended {count} processes that an earlier life left behind"));
        }
        if !stuck.is_empty() {
            notes.push(format!("of an earlier life these do not die: {stuck:?}"));
        }
    }
    if let Some(Selector::Pid(pid)) = config.attach {
        // A pid means one process: after a reboot, or when that one is gone, it is a stranger's.
        let started = vitals::stat(pid.get()).map(|stat| stat.start_time);
        let known = memory.process.filter(|known| known.pid == pid);
        let same = known.is_none_or(|known| started == Some(known.start_time));
        attaches = memory.life.is_none() || memory.boot_id == boot_id && same;
    }
    let went = memory.life.filter(|_| memory.process.is_some() || memory.starting);
    memory.process = lives;
    memory.starting &= lives.is_some();
    let counts = memory.boot_id == boot_id && !config.die_with_sidecar;
    memory.boot_id = boot_id;
    let unseen = went.filter(|_| lives.is_none()).map(|life| Unseen { life, counts });
    Ok(Recalled { memory, notes, unseen, lives, attaches })
}

fn remembered(config: &Config, boot_id: &str, notes: &mut Vec<String>) -> io::Result<Memory> {
    let empty = || Memory {
        hold: buried(&config.state),
        ..Memory::empty(config.agent.clone(), boot_id.to_owned())
    };
    Ok(match Memory::load(&config.state)? {
        Found::Whole(memory) if memory.agent == config.agent => *memory,
        Found::Whole(other) => {
            notes.push(format!("the state directory belongs to {}; starting anew", other.agent));
            empty()
        }
        Found::Nothing => empty(),
        Found::Corrupt(why) => {
            notes.push(format!("the state file cannot be read: {why}"));
            empty()
        }
    })
}
